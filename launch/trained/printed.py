"""The scores of evaluations as text: of one result, of several, and one score alone."""

from collections.abc import Collection
from typing import Any

from genraven.errors import flag
from genraven.metrics.table import main_names
from genraven.report.evaluation import written_out

CORRUPTION = "given_corruption"


def table(metrics: dict[str, Any]) -> str:
    """The metrics of one result, as a ScoreResults gives them, as lines of text."""
    lines = [f"{'':22}{'value':>8}  {'95% interval':17}{'hits':>7} of"]
    for name, cell in metrics.items():
        if isinstance(cell, dict) and "hits" in cell:
            low, high = cell["interval95"]
            lines.append(f"{name:22}{cell['value']:8.4f}  [{low:.4f}, {high:.4f}] {cell['hits']:7d} of {cell['count']}")
        elif isinstance(cell, float):
            lines.append(f"{name:22}{cell:8.4f}")
        elif isinstance(cell, dict) and "kind" in cell:
            error = "" if cell["standard_error"] is None else f" +- {cell['standard_error']:.4f}"
            lines.append(f"{name:22}{cell['value']:8.4f}{error}  {cell['kind']}, of {cell['count']}")
    if r := metrics.get("per_rule_correlation"):
        lines.append(f"{'per_rule_correlation':22}{r['value']:8.4f}  of C3 and completion over {r['count']} rules")
    return "\n".join(lines)


def overview(rows: list[tuple[str, dict[str, Any]]], asked: Collection[str] = ()) -> str:
    """One line for each result: how it sampled, and its main scores with their intervals.

    Args:
        rows: names of runs, with a result of each.
        asked: settings that are named also where all results have the same.
    """
    width = max(len(name) for name, _ in rows)
    all_ways = [written_out(result["sampling"]) | {CORRUPTION: result.get(CORRUPTION, 0.0)} for _, result in rows]
    ways = [_differences(all_ways, way, asked) for way in all_ways]
    wide = max(map(len, [*ways, "sampling"]))
    titles = "".join(f"{name:>24}" for name in main_names())
    lines = [f"{'run':{width}}  {'step':>8}  {'sampling':{wide}}{titles}{'of':>7}{'seconds':>9}"]
    for (name, result), way in zip(rows, ways, strict=True):
        metrics = result["metrics"]
        cells = "".join(f"{in_words(metrics.get(metric)):>24}" for metric in main_names())
        count = (metrics.get("c3") or {}).get("count", "")
        seconds = result["seconds"]["all"]
        lines.append(f"{name:{width}}  {result['step']:8d}  {way:{wide}}{cells}{count:>7}{seconds:9.1f}")
    return "\n".join(lines)


def _differences(all_ways: list[dict[str, Any]], way: dict[str, Any], asked: Collection[str]) -> str:
    """What tells a way of sampling from the others, or was ``asked`` for, in words."""
    telling = {name for name in way for other in all_ways if other.get(name, way[name]) != way[name]}
    return " ".join(f"{flag(name)} {way[name]}" for name in way if name in {*telling, *asked}) or "as the model's"


def in_words(cell: Any, *, with_hits: bool = False) -> str:
    """One score of a result, of whatever kind: its value, and hits, interval or error where it has some.

    Args:
        cell: of the result's ``metrics``; None where it was not counted.
        with_hits: says of a fraction also how many there were.
    """
    if cell is None:
        return "-"
    if not isinstance(cell, dict):
        return f"{cell:.3f}"
    if "interval95" not in cell:
        error = cell.get("standard_error")
        return f"{cell['value']:.3f}" + ("" if error is None else f" +- {error:.3f}")
    low, high = cell["interval95"]
    hits = f"{cell['hits']} of {cell['count']}: " if with_hits else ""
    return f"{hits}{cell['value']:.3f} [{low:.3f}, {high:.3f}]"
