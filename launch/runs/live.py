"""``genraven status --watch``: the table of runs, renewed in place."""

import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launch.runs.status import COLUMNS, NUMBERS

Rows = list[tuple[str, ...]]
STYLES = {
    "running": "green",
    "finished": "blue",
    "failed": "red",
    "gone": "red",
    "queued": "yellow",
    "starting": "yellow",
}


def watch(rows: Callable[[], Rows], every_s: float) -> None:
    """Shows ``rows`` anew every ``every_s`` seconds, until it is interrupted, which is how it is meant to end."""
    try:
        with Live(_shown(rows()), console=Console(), auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(every_s)
                live.update(_shown(rows()), refresh=True)
    except KeyboardInterrupt:
        return


def _shown(rows: Rows) -> Group:
    """The table under a line that says of when it is, and how many runs are in which state."""
    table = Table(*COLUMNS, box=None, pad_edge=False)
    for column in table.columns:
        column.justify, column.no_wrap = ("right" if column.header in NUMBERS else "left"), column.header != "message"
    for cells in rows:
        style = STYLES.get(cells[1], "")
        table.add_row(*(Text(cell, style=style if i == 1 else "") for i, cell in enumerate(cells)))
    states = [cells[1] for cells in rows]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return Group(Text(f"{time.strftime('%H:%M:%S')}  {counts}", style="dim"), table)
