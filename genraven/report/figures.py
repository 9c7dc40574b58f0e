"""The report's pictures: one panel each, as SVG, a colour for each architecture."""

import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from genraven.report.curves import LABELS, by_architecture, curve
from genraven.report.published import Published
from genraven.report.runs import Run, Score

# Told apart with any colour vision (Okabe and Ito 2008); darker where text is set in them.
COLORS = {"GPT-2": "#b34700", "Mamba": "#a3336f", "SiT": "#0072b2", "DiT": "#7a6a00", "EDM": "#00734f"}
MARKERS = {"GPT-2": "o", "Mamba": "s", "SiT": "^", "DiT": "D", "EDM": "v"}
OTHER, INK, FAINT = "#444444", "#1a1a1a", "#d9d9d9"
STYLE: Any = {
    "svg.hashsalt": "genraven", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9.5,
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#666666", "text.color": INK,
    "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.grid": True, "grid.color": "#ececec",
    "axes.axisbelow": True, "figure.constrained_layout.use": True,
}  # fmt: skip
LABEL_GAP = 0.075  # of the height, between labels at the ends of lines


def color_of(architecture: str | None) -> str:
    """The architecture's own, or grey."""
    return COLORS.get(architecture or "", OTHER)


@contextmanager
def _panel(xlabel: str, ylabel: str, *, log: bool = True) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Axes to draw on, and what then gives the SVG."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.8, 3.5))
        axes = figure.add_subplot()
        axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.03, 1.03), xscale="log" if log else "linear")

        def svg() -> str:
            file = io.StringIO()
            figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
            text = file.getvalue()
            return text[text.index("<svg") :]

        yield axes, svg


def _points(axes: Axes, xs: Sequence[float], scores: Sequence[Score], architecture: str, *, line: bool = True) -> None:
    values = [score.value for score in scores]
    spread = [[s.value - s.low for s in scores], [s.high - s.value for s in scores]]
    axes.errorbar(xs, values, spread, color=color_of(architecture), marker=MARKERS.get(architecture, "o"),
                  markersize=5.5, linewidth=1.8 if line else 0, elinewidth=1.2, capsize=2.5, zorder=3)  # fmt: skip


def _label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]], colors: Mapping[str, str]) -> None:
    """Writes each name beside the end of its line, (x, y); those too near to each other are moved apart."""
    names = sorted(ends, key=lambda name: ends[name][1])
    low, high = axes.get_ylim()
    height, gap = high - low, LABEL_GAP * (high - low)
    places: list[float] = []
    for name in names:
        places.append(max(ends[name][1], places[-1] + gap if places else low))
    over = max(0.0, places[-1] - high) if places else 0.0
    for name, y in zip(names, places, strict=True):
        axes.annotate(name, ends[name], (1.02, (y - over - low) / height), textcoords="axes fraction", va="center",
                      color=colors[name], fontweight="bold", fontsize=8.5, annotation_clip=False)  # fmt: skip


def _decade_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Limits around all values, and ticks at them, or at round numbers where these are many or near each other."""
    places = sorted(set(values))
    low, high = places[0], places[-1]
    pad = (high / low) ** 0.06 if high > low else 2.0
    axes.set_xlim(low / pad, high * pad)
    if len(places) > 5 or any(math.log(b / a) < 0.15 * math.log(high / low) for a, b in pairwise(places)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        digits = (1,) if high / low > 100 else (1, 2, 5)
        round_ones = [d * 10.0**k for k in powers for d in digits if low / pad <= d * 10.0**k <= high * pad]
        places = round_ones if len(round_ones) > 1 else [low, math.sqrt(low * high), high]
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(value: float) -> str:
    """``400``, ``10k``, ``1.2M``; small numbers with two digits."""
    for factor, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value:.2g}" if value < 100 else f"{value:.0f}"


def against_samples(runs: Sequence[Run], study: Sequence[Published], metric: str) -> str | None:
    """The best run of each architecture by examples per rule, other runs as dots, the study's best dashed."""
    curves = {name: curve(group, metric) for name, group in by_architecture(runs).items()}
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return None
    with _panel("examples per rule", LABELS[metric]) as (axes, svg):
        seen = [*(n for points in curves.values() for n in points), *_study_lines(axes, study, metric)]
        ends = {}
        for name, points in curves.items():
            others = [run for run in runs if run.architecture == name and run.is_evidence and metric in run.scores]
            dots = [(run.samples_per_rule, run.scores[metric].value) for run in others if run.samples_per_rule]
            axes.plot(*zip(*dots, strict=True), ".", color=color_of(name), alpha=0.45, zorder=2)
            _points(axes, list(points), [run.scores[metric] for run in points.values()], name)
            last = max(points)
            ends[name] = (float(last), points[last].scores[metric].value)
        _decade_ticks(axes, seen)
        _label_ends(axes, ends, {name: color_of(name) for name in ends})
        return svg()


def _study_lines(axes: Axes, study: Sequence[Published], metric: str) -> list[int]:
    """Draws the study's best model of each architecture; the numbers of examples it has."""
    seen = []
    for name in sorted({row.architecture for row in study}):
        best: dict[int, float] = {}
        for row in study:
            if row.architecture == name and metric in row.scores:
                best[row.samples_per_rule] = max(best.get(row.samples_per_rule, 0.0), row.scores[metric])
        xs = sorted(best)
        axes.plot(xs, [best[x] for x in xs], "--", color=color_of(name), marker=MARKERS.get(name, "o"), markersize=4.5,
                  markerfacecolor="white", linewidth=0.9, alpha=0.75, zorder=1)  # fmt: skip
        seen += xs
    return seen


def against_parameters(runs: Sequence[Run], study: Sequence[Published], metric: str, samples: int) -> str | None:
    """Runs on ``samples`` examples per rule by size; the study's at the size of data next to it as hollow marks."""
    at = [run for run in runs if run.is_evidence and run.samples_per_rule == samples and run.parameters]
    at = [run for run in at if metric in run.scores]
    if not at:
        return None
    with _panel("parameters", LABELS[metric]) as (axes, svg):
        ends, sizes = {}, []
        for name, group in by_architecture(at).items():
            best = {run.parameters or 0: run for run in sorted(group, key=lambda run: run.scores[metric].value)}
            xs = sorted(best)
            _points(axes, xs, [best[x].scores[metric] for x in xs], name)
            ends[name] = (float(xs[-1]), best[xs[-1]].scores[metric].value)
            sizes += xs
        rows = [row for row in study if row.parameters and metric in row.scores]
        if rows:
            nearest = min({row.samples_per_rule for row in rows}, key=lambda n: abs(math.log(n / samples)))
            for row in rows:
                if row.samples_per_rule == nearest and row.parameters:
                    axes.plot(row.parameters, row.scores[metric], MARKERS.get(row.architecture, "o"), markersize=4.5,
                              markerfacecolor="white", color=color_of(row.architecture), alpha=0.75)  # fmt: skip
                    sizes.append(row.parameters)
        _decade_ticks(axes, sizes)
        _label_ends(axes, ends, {name: color_of(name) for name in ends})
        return svg()


def per_rule(run: Run) -> str | None:
    """Completion of each rule against how often the run generates it."""
    if not run.per_rule:
        return None
    with _panel("share of generated puzzles (C3 of the rule)", "completion of the rule", log=False) as (axes, svg):
        xs, ys = ([scores[i].value for scores in run.per_rule.values()] for i in (0, 1))
        axes.plot(xs, ys, MARKERS.get(run.architecture or "", "o"), color=color_of(run.architecture), alpha=0.8)
        widest = max(*xs, 0.01)
        axes.set_xlim(-0.03 * widest, 1.12 * widest)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        if len(xs) <= 8:
            ends = dict(zip(run.per_rule, zip(xs, ys, strict=True), strict=True))
            _label_ends(axes, ends, dict.fromkeys(ends, INK))
            for x, y in ends.values():
                axes.plot([x, 1.12 * widest], [y, y], ":", color=FAINT, linewidth=0.9, zorder=1)
        return svg()


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names whose (cost, quality) no cheaper or equally cheap one reaches, cheapest first."""
    front: list[str] = []
    best = -math.inf
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if points[name][1] > best:
            front.append(name)
            best = points[name][1]
    return front


def against_cost(runs: Sequence[Run], metric: str, cost: str, label: str) -> str | None:
    """Quality of each run by its training's ``cost`` (an attribute of runs), and the front of the best buys."""
    known = [run for run in runs if run.is_evidence and metric in run.scores and getattr(run, cost)]
    if not known:
        return None
    with _panel(label, LABELS[metric]) as (axes, svg):
        for name, group in by_architecture(known).items():
            _points(
                axes, [getattr(run, cost) for run in group], [run.scores[metric] for run in group], name, line=False
            )
        points = {run.name: (getattr(run, cost), run.scores[metric].value) for run in known}
        front = [points[name] for name in pareto_front(points)]
        axes.step([x for x, _ in front], [y for _, y in front], where="post", color="#777777", linewidth=1, zorder=1)
        ends = {}
        for name, group in by_architecture(known).items():
            best = max(group, key=lambda run: run.scores[metric].value)
            ends[name] = (0.0, best.scores[metric].value)
        _label_ends(axes, ends, {name: color_of(name) for name in ends})
        _decade_ticks(axes, [x for x, _ in points.values()])
        return svg()
