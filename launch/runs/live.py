"""``genraven status --watch``: the table of runs, renewed in place."""

import time
from collections.abc import Callable, Collection, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

Rows = list[tuple[str, ...]]
STYLES = {
    "running": "green",
    "finished": "blue",
    "failed": "red",
    "gone": "red",
    "queued": "yellow",
    "starting": "yellow",
}


def watch(rows: Callable[[], Rows], every_s: float, *, columns: Sequence[str], numbers: Collection[str]) -> None:
    """Shows ``rows`` anew every ``every_s`` seconds, until it is interrupted, which is how it is meant to end.

    Args:
        rows: the cells of each run, its state in the second column.
        every_s: seconds.
        columns: their headings.
        numbers: those of them that have numbers, and stand to the right.
    """

    def shown() -> Group:
        return _shown(rows(), columns, numbers)

    try:
        with Live(shown(), console=Console(), auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(every_s)
                live.update(shown(), refresh=True)
    except KeyboardInterrupt:
        return


def _shown(rows: Rows, columns: Sequence[str], numbers: Collection[str]) -> Group:
    """The table under a line that says of when it is, and how many runs are in which state."""
    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns:
        column.justify, column.no_wrap = ("right" if column.header in numbers else "left"), column.header != "message"
    for cells in rows:
        style = STYLES.get(cells[1], "")
        table.add_row(*(Text(cell, style=style if i == 1 else "") for i, cell in enumerate(cells)))
    states = [cells[1] for cells in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return Group(Text(f"{time.strftime('%H:%M:%S')}  {counts}", style="dim"), table)
