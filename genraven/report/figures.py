"""The report's pictures: one panel each, as SVG, a colour and a mark for each architecture."""

import io
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from genraven.escaping import plain_texts, visible
from genraven.metrics.intervals import Interval
from genraven.report.english import sentence, short

# Distinguishable with any colour vision (after Okabe and Ito 2008), dark enough for text.
COLORS = ("#b34700", "#0072b2", "#00734f", "#a3336f", "#7a6a00", "#5b3fa0", "#8a1f1f", "#33555f")
MARKERS = ("o", "^", "v", "s", "D", "P", "X", "h")
INK, FAINT, NEUTRAL = "#1a1a1a", "#d9d9d9", "#444444"
STYLE: Any = {
    "svg.hashsalt": "genraven", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666", "text.color": INK,
    "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.grid": True, "grid.color": "#ececec",
    "axes.axisbelow": True,
}  # fmt: skip
SHARES = (-0.03, 1.03)
LABEL_GAP = 0.075  # of the height, between labels at the ends of lines
NEAREST_TICKS = 0.134  # of the axis, between two ticks: the width of a label
WIDTH_OF_LETTER = 0.0175  # of the figure's, in these labels
Kind = Literal["line", "broken", "marks", "dots", "reference", "band"]


@dataclass(frozen=True)
class Line:
    """One curve, or marks without one."""

    name: str
    """Written at its end, but for ``dots`` and ``band``; a ``reference``'s in a lighter hand."""
    points: Mapping[float, Interval]
    """By value of the axis; several marks need several lines."""
    look: tuple[str, str]
    """Colour and mark."""
    kind: Kind = "line"


def looks(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and mark of each name."""
    return {name: (COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(sorted(set(names)))}


def in_words(points: Mapping[float, Interval], write: Callable[[float], str]) -> str:
    """The values of ``points``, for whoever cannot see the picture."""
    return ", ".join(sentence("at", value=f"{one.value:.2f}", place=write(x)) for x, one in points.items())


@contextmanager
def _panel(xlabel: str, ylabel: str, *, log: bool = True) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Axes to draw on, and what then gives the SVG."""
    with mpl.rc_context(STYLE), plain_texts():
        figure = Figure(figsize=(4.8, 3.5))
        figure.subplots_adjust(left=0.125, bottom=0.14, top=0.97)
        axes = figure.add_subplot()
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=SHARES, xscale="log" if log else "linear",
                 autoscalex_on=False)  # fmt: skip

        def svg() -> str:
            file = io.StringIO()
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
            text = file.getvalue()
            return text[text.index("<svg") :]

        yield axes, svg


def chart(lines: Sequence[Line], xlabel: str, ylabel: str) -> str | None:
    """A score against an axis of ratios; None without points."""
    if not any(line.points for line in lines):
        return None
    with _panel(xlabel, ylabel) as (axes, svg):
        axes.set_ylim(_limits([interval for line in lines for interval in line.points.values()]))
        ends: dict[str, tuple[float, float]] = {}
        colors: dict[str, str] = {}
        references = {line.name for line in lines if line.kind == "reference"}
        for line in lines:
            _draw(axes, line)
            if line.points and line.kind not in ("dots", "band"):
                last = max(line.points)
                ends[line.name] = max((last, line.points[last].value), ends.get(line.name, (0, 0)))
                colors[line.name] = line.look[0]
        _decade_ticks(axes, [x for line in lines for x in line.points])
        _label_ends(axes, ends, colors, references)
        return svg()


def _limits(intervals: Sequence[Interval]) -> tuple[float, float]:
    """Of the axis: around all fractions; of other numbers, around those that there are."""
    ends = [end for one in intervals for end in (one.value, one.low, one.high) if math.isfinite(end)]
    low, high = min(ends), max(ends)
    pad = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return SHARES if low >= 0 and high <= 1 else (low - pad, high + pad)


def _draw(axes: Axes, line: Line) -> None:
    (color, mark), xs = line.look, sorted(line.points)
    values = [line.points[x].value for x in xs]
    ends = [(line.points[x].low, line.points[x].high) if line.points[x].is_known else (line.points[x].value,) * 2
            for x in xs]  # fmt: skip
    lows, highs = [low for low, _ in ends], [high for _, high in ends]
    if line.kind == "band":
        axes.fill_between(xs, lows, highs, color=color, alpha=0.14, linewidth=0, zorder=1)
        axes.plot(xs, values, ":", color=color, linewidth=1.4, zorder=2)
    elif line.kind == "dots":
        axes.plot(xs, values, ".", color=color, alpha=0.45, zorder=2)
    elif line.kind == "reference":
        axes.plot(xs, values, "--", color=color, marker=mark, markersize=4.5, markerfacecolor="white", linewidth=0.9,
                  alpha=0.75, zorder=1)  # fmt: skip
    else:
        spread = [[max(v - a, 0) for v, a in zip(values, lows, strict=True)],
                  [max(b - v, 0) for v, b in zip(values, highs, strict=True)]]  # fmt: skip
        width = {"line": 1.8, "broken": 1.2, "marks": 0.0}[line.kind]
        axes.errorbar(xs, values, spread, color=color, marker=mark, markersize=5.5, linewidth=width, elinewidth=1.2,
                      linestyle=":" if line.kind == "broken" else "-", capsize=2.5, zorder=3)  # fmt: skip


def _label_ends(
    axes: Axes, ends: Mapping[str, tuple[float, float]], colors: Mapping[str, str], light: Collection[str] = ()
) -> None:
    """Writes each name beside the end of its line, (x, y), bold or ``light``; those that are too near move apart."""
    names = sorted(ends, key=lambda name: ends[name][1])
    low, high = axes.get_ylim()
    height, gap = high - low, LABEL_GAP * (high - low)
    places: list[float] = []
    for name in names:
        places.append(max(ends[name][1], places[-1] + gap if places else low))
    over = max(0.0, places[-1] - high) if places else 0.0
    axes.figure.subplots_adjust(right=max(0.5, 0.97 - WIDTH_OF_LETTER * max(map(len, names), default=0)))
    for name, y in zip(names, places, strict=True):
        axes.annotate(visible(name), ends[name], (1.02, (y - over - low) / height), textcoords="axes fraction",
                      va="center", color=colors[name], fontweight="normal" if name in light else "bold", fontsize=8.5,
                      annotation_clip=False)  # fmt: skip


def _decade_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Limits around all values, and ticks at them, or at round numbers where these are many or near each other."""
    places = sorted(set(values))
    low, high = places[0], places[-1]
    pad = (high / low) ** 0.06 if high > 1.01 * low else 2.0
    axes.set_xlim(low / pad, high * pad)
    nearest = NEAREST_TICKS * math.log(high / low * pad**2)
    if len(places) > 5 or any(math.log(b / a) < nearest for a, b in pairwise(places)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        digits = (1,) if high / low > 100 else (1, 2, 5)
        round_ones = [d * 10.0**k for k in powers for d in digits if low / pad <= d * 10.0**k <= high * pad]
        places = round_ones if len(round_ones) > 1 else [low, math.sqrt(low * high), high]
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def per_rule(fractions: Mapping[str, tuple[float, float]], look: tuple[str, str]) -> str:
    """Completion of each rule against how often it is generated."""
    color, mark = look
    xlabel, ylabel = (sentence("axis", name=name) for name in ("generated", "completed"))
    with _panel(xlabel, ylabel, log=False) as (axes, svg):
        xs, ys = ([fraction[i] for fraction in fractions.values()] for i in (0, 1))
        axes.plot(xs, ys, mark, color=color, alpha=0.8)
        widest = max(*xs, 0.01)
        axes.set_xlim(-0.03 * widest, 1.12 * widest)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if len(xs) <= 8:
            ends = dict(zip(fractions, zip(xs, ys, strict=True), strict=True))
            _label_ends(axes, ends, dict.fromkeys(ends, INK))
            for x, y in ends.values():
                axes.plot([x, 1.12 * widest], [y, y], ":", color=FAINT, linewidth=0.9, zorder=1)
        return svg()
