"""Tables of runs that are renewed in place: of ``genraven status --watch``, and while runs are trained here."""

import time
from collections.abc import Callable, Collection, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from genraven.console import say

Row = tuple[str, ...]
Rows = Sequence[Row]
STYLES = {
    "running": "green",
    "finished": "blue",
    "failed": "red",
    "gone": "red",
    "queued": "yellow",
    "starting": "yellow",
    "waiting": "dim",
}
GAP, NAME, MESSAGE = 2, 16, 12
"""Columns of the terminal between two of the table, and those that a name and a message need at least."""
DISPENSABLE = ("prior", "puzzles/s", "message")
"""Columns that a narrow terminal has no place for, the first to go first; then go scores but the first, and states."""


def watch(
    rows: Callable[[], Rows],
    every_s: float,
    *,
    columns: Sequence[str],
    numbers: Collection[str],
    plain: Callable[[Rows], str],
) -> None:
    """Shows ``rows`` anew every ``every_s`` seconds, until it is interrupted, which is how it is meant to end.

    Args:
        rows: the cells of each run, its state in the second column.
        every_s: seconds.
        columns: their headings.
        numbers: those of them that have numbers, and stand to the right.
        plain: gives the table as text, for an output on which nothing can be drawn anew.
    """
    terminal = Console()

    def drawn() -> Group:
        found = rows()
        return table(found, terminal.width, columns=columns, numbers=numbers, heading=counts(found))

    try:
        if not terminal.is_terminal or terminal.is_dumb_terminal:
            while True:
                say(plain(rows()))
                time.sleep(every_s)
        with Live(drawn(), console=terminal, auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(every_s)
                live.update(drawn(), refresh=True)
    except KeyboardInterrupt:
        return


def counts(rows: Rows) -> str:
    """How many runs are in which state."""
    states = [cells[1] for cells in rows]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def table(rows: Rows, width: int, *, columns: Sequence[str], numbers: Collection[str], heading: str) -> Group:
    """``rows`` under a line that says of when they are, and a ``heading``; columns that have no room are left out.

    Args:
        rows: the cells of each run, its state in the second column.
        width: columns of the terminal.
        columns: the headings.
        numbers: those of them that stand to the right.
        heading: what is true of all runs.
    """
    kept, of_names = fitting(rows, width, columns=columns)
    shown = Table(*(columns[i] for i in kept), box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column in shown.columns:
        column.justify, column.no_wrap = ("right" if column.header in numbers else "left"), column.header != "message"
        column.overflow = "ellipsis"
    shown.columns[0].max_width = of_names
    for cells in rows:
        style = STYLES.get(cells[1], "")
        shown.add_row(*(Text(cells[i], style=style if i == 1 else "") for i in kept))
    first = Text(f"{time.strftime('%H:%M:%S')}  {heading}", style="dim", no_wrap=True, overflow="ellipsis")
    return Group(first, shown)


def fitting(rows: Rows, width: int, *, columns: Sequence[str]) -> tuple[list[int], int]:
    """Places of the columns that have room beside each other in ``width``, and the room for names.

    Name, step, first score and time left always stand there.
    """
    first_score, last_score = columns.index("step") + 1, columns.index("puzzles/s")
    leaving = [*(columns.index(name) for name in DISPENSABLE), *reversed(range(first_score + 1, last_score)), 1]
    kept = list(range(len(columns)))
    needed = [max(len(columns[i]), *(len(cells[i]) for cells in rows), 0) for i in kept]
    for i, least in ((0, NAME), (len(columns) - 1, MESSAGE)):  # what can be cut, or goes over several lines
        needed[i] = min(needed[i], least)
    while leaving and sum(needed[i] + GAP for i in kept) - GAP > width:
        kept.remove(leaving.pop(0))
    return kept, max(NAME // 2, width - sum(needed[i] + GAP for i in kept[1:]))
