"""Repeats become points: runs that differ in their seeds alone are one, whose mean and interval count.

A *variant* is all that was set but seeds and the number of examples; a *point* is a variant with a number of examples.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from genraven.metrics.table import COMPLETED, SCORES
from genraven.report.forecast import Forecast, forecast
from genraven.report.runs import Result, Run
from genraven.report.statistics import CONFIDENCE, Interval, Repeats, difference


@dataclass(frozen=True)
class Point:
    """Runs that are repeats of each other, each with its result."""

    runs: tuple[Run, ...]
    results: tuple[Result, ...]

    @property
    def first(self) -> Run:
        """A run of it, for what all have in common."""
        return self.runs[0]

    @property
    def samples(self) -> int | None:
        """Examples per rule."""
        return self.first.samples_per_rule

    @property
    def split(self) -> str:
        """``test``, or ``val`` where a run has no other scores."""
        return "test" if all(result.split == "test" for result in self.results) else "val"

    def has(self, metric: str) -> bool:
        """Has any run this score?"""
        return any(metric in result.scores for result in self.results)

    def repeats(self, metric: str) -> Repeats | None:
        """The score of all runs that have it."""
        having = [result for result in self.results if metric in result.scores]
        if not having:
            return None
        shares = [result.scores[metric] for result in having]
        counts = {share.count for share in shares}
        are_shared = SCORES[metric].counted_over == COMPLETED and _same_puzzles(having)
        if len(counts) == 1 and all(share.outcomes is not None for share in shares):
            return Repeats.of([share.outcomes for share in shares], are_shared=are_shared)
        return Repeats(np.array([share.value for share in shares]), min(counts), None, are_shared)

    def interval(self, metric: str, confidence: float = CONFIDENCE) -> Interval | None:
        """Mean and interval of the score."""
        repeats = self.repeats(metric)
        return repeats.interval(confidence) if repeats else None

    def value(self, metric: str) -> float:
        """The mean; minus infinity where there is none."""
        repeats = self.repeats(metric)
        return float(repeats.means.mean()) if repeats else -np.inf

    def validation(self, metric: str) -> float | None:
        """The mean on validation puzzles, to choose by; None where a run has none."""
        found = [run.validation(metric, of=result) for run, result in zip(self.runs, self.results, strict=True)]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if len(known) == len(found) else None

    def spent(self, axis: str) -> float | None:
        """The mean of what the runs spent up to their results."""
        found = [run.spent(axis, result.step) for run, result in zip(self.runs, self.results, strict=True)]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if len(known) == len(found) else None

    def at(self, results: Mapping[str, Result]) -> "Point | None":
        """The same runs with other results, by run; None where one has none."""
        if any(run.name not in results for run in self.runs):
            return None
        return Point(self.runs, tuple(results[run.name] for run in self.runs))


def best_checkpoints(point: Point, metric: str) -> Point | None:
    """The same runs at their checkpoints that were best on validation puzzles; None where not scored, or the last."""
    results = {run.name: run.best for run in point.runs}
    best = point.at({name: result for name, result in results.items() if result and metric in result.scores})
    same = best is None or all(b.step == r.step for b, r in zip(best.results, point.results, strict=True))
    return None if same else best


def _same_puzzles(results: Sequence[Result]) -> bool:
    """Also where it is not known, which widens intervals."""
    return len({result.puzzles for result in results}) == 1


def compare(a: Point, b: Point, metric: str, confidence: float = CONFIDENCE) -> Interval | None:
    """``a`` less ``b``, paired by the training puzzles where that can be done."""
    pairs = _pairs(a, b)
    if pairs:
        a, b = (Point(tuple(p.runs[i] for i in places), tuple(p.results[i] for i in places))
                for p, places in zip((a, b), zip(*pairs, strict=True), strict=True))  # fmt: skip
    of_a, of_b = a.repeats(metric), b.repeats(metric)
    if of_a is None or of_b is None:
        return None
    crossed = of_a.are_shared and of_b.are_shared and _same_puzzles([*a.results, *b.results])
    if not crossed and of_a.outcomes is not None and of_b.outcomes is not None:  # each with puzzles of its own
        return difference(_uncrossed(of_a), _uncrossed(of_b), are_paired=bool(pairs), confidence=confidence)
    return difference(of_a, of_b, are_paired=bool(pairs), confidence=confidence)


def _uncrossed(x: Repeats) -> Repeats:
    return Repeats(x.means, x.num_puzzles, None, x.are_shared)


def foretell(points: Mapping[int, Point], metric: str) -> Forecast:
    """The forecast from points by number of examples."""
    known = {size: repeats for size, point in points.items() if (repeats := point.repeats(metric))}
    means = {size: float(repeats.means.mean()) for size, repeats in known.items()}
    return forecast(means, {size: float(repeats.standard_error) for size, repeats in known.items()})


def _pairs(a: Point, b: Point) -> list[tuple[int, int]]:
    """Places of runs that learned from the same puzzles, each set once; none where fewer than all of either pair."""
    places = [{run.seeds.data: i for i, run in enumerate(point.runs)} for point in (a, b)]
    both = [seed for seed in places[0] if seed is not None and seed in places[1]]
    is_whole = len(both) == min(len(a.runs), len(b.runs)) and len(both) > 1
    return [(places[0][seed], places[1][seed]) for seed in both] if is_whole else []


@dataclass(frozen=True)
class Variant:
    """A model and its recipe, learned from several numbers of examples."""

    runs: tuple[Run, ...]
    label: str
    """Architecture, size, and what sets it apart from its architecture's others."""

    @property
    def first(self) -> Run:
        """A run of it, for what all have in common."""
        return self.runs[0]

    @property
    def recipe(self) -> str:
        """What was set: the same where the same is learned from other data, though unknown cells take parameters."""
        return _key(self.first, of_size=False)

    @cached_property
    def points(self) -> dict[int, Point]:
        """By examples per rule, ascending: at the end of the training."""
        sizes = sorted({run.samples_per_rule for run in self.runs if run.samples_per_rule})
        return {size: self._point([run for run in self.runs if run.samples_per_rule == size]) for size in sizes}

    def _point(self, runs: Sequence[Run]) -> Point:
        return Point(tuple(runs), tuple(run.final for run in runs if run.final))

    @property
    def is_steady(self) -> bool:
        """Is the rate constant and are weights averaged? Then a checkpoint is what a training of its length gives."""
        options = {name.rpartition(".")[2]: value for name, value in self.first.settings.items()}
        return options.get("schedule") == "constant" and options.get("ema_decay", "none") not in ("none", "0")

    def along(self, samples: int, metric: str) -> list[Point]:
        """Points along the training on ``samples`` examples, at the steps that all repeats have; the end last."""
        point = self.points.get(samples)
        if point is None:
            return []
        by_step = {run.name: {result.step: result for result in run.series(metric)} for run in point.runs}
        steps = set.intersection(*(set(found) for found in by_step.values()))
        found = [point.at({name: results[step] for name, results in by_step.items()}) for step in sorted(steps)]
        return [one for one in found if one]


def variants(runs: Iterable[Run]) -> list[Variant]:
    """Of the runs that count, by family, architecture and size; one training counts once."""
    groups: dict[str, list[Run]] = {}
    for run in distinct(run for run in runs if run.is_evidence and run.architecture):
        groups.setdefault(_key(run), []).append(run)
    found = sorted(groups.values(), key=lambda group: (
        group[0].family or "", group[0].architecture or "", group[0].parameters or 0, _key(group[0])))  # fmt: skip
    return [Variant(tuple(group), label) for group, label in zip(found, _labels(found), strict=True)]


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Without copies: runs of the same settings, examples and seeds are one training."""
    found: dict[object, Run] = {}
    for run in runs:
        known = None not in (run.seeds.weights, run.seeds.noise, run.seeds.data)
        found.setdefault((_key(run), run.samples_per_rule, run.seeds) if known else run.name, run)
    return list(found.values())


def _key(run: Run, *, of_size: bool = True) -> str:
    """What repeats agree in, but for the number of examples."""
    decoding = run.final.decoding if run.final else {}
    split = run.final.split if run.final else None
    told: dict[str, object] = {"family": run.family, "architecture": run.architecture, "split": split}
    told |= {"parameters": run.parameters} if of_size else {}
    return json.dumps([told, dict(run.settings), dict(decoding)], sort_keys=True, default=str)


def differences(groups: Sequence[Sequence[Run]]) -> list[dict[str, str]]:
    """For each group, the settings (last words of their names) in which the groups differ.

    A setting that is absent is as one that is none; a class that some set is told by what they set of it, if anything.
    """
    differing = _differing(groups)
    return [_named(group, differing) for group in groups]


def _named(group: Sequence[Run], names: Iterable[str]) -> dict[str, str]:
    """What it has of the settings of these whole names, by their last words."""
    told = _told(group)
    return {name.rpartition(".")[2]: told.get(name, "none") for name in names}


def _differing(groups: Sequence[Sequence[Run]]) -> list[str]:
    told = [_told(group) for group in groups]
    values = {name: [one.get(name, "none") for one in told] for name in sorted({name for one in told for name in one})}
    differing = [name for name, found in values.items() if len(set(found)) > 1]
    return [name for name in differing if not _is_told_by_others(name, values[name], differing)]


def _told(group: Sequence[Run]) -> dict[str, str]:
    """Settings and decoding, by their whole names."""
    return dict(group[0].settings) | _decoding(group[0])


def _is_told_by_others(name: str, values: Collection[str], differing: Sequence[str]) -> bool:
    block, _, word = name.rpartition(".")
    only_one = len(set(values) - {"none"}) == 1
    return word == "class_path" and only_one and any(other.startswith(f"{block}.init_args.") for other in differing)


def _decoding(run: Run) -> dict[str, str]:
    return {f"decoding.{name}": str(value) for name, value in (run.final.decoding if run.final else {}).items()}


def _labels(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Architecture and size, and what the group has of the settings that tell some of one size apart.

    Those of the data are named of any architecture that has them, others within theirs.
    """
    peers: dict[tuple[str | None, int | None], list[Sequence[Run]]] = {}
    for group in groups:
        peers.setdefault((group[0].architecture, group[0].parameters), []).append(group)
    named = {(architecture, name) for (architecture, _), found in peers.items() for name in _differing(found)}
    labels = []
    for group in groups:
        first = group[0]
        kin = [other for other in groups if other[0].architecture == first.architecture]
        own = sorted({name for of, name in named if of == first.architecture or name.startswith("data.")})
        apart = _kinds(kin)[kin.index(group)] | _named(group, own)
        more = "".join(f", {name} {value}" for name, value in apart.items() if value != "none")
        labels.append(f"{first.architecture}, {size(first.parameters)}{more}")
    return labels


def _kinds(groups: Sequence[Sequence[Run]]) -> list[dict[str, str]]:
    """Of the ``differences``, those words (a head, an embedding) that make another network, not one of another size."""
    found = differences(groups)
    words = {name for one in found for name, value in one.items() if value.isalpha() and value != "none"}
    networks = {name.rpartition(".")[2] for group in groups for name in group[0].settings if ".network." in name}
    return [{name: value for name, value in one.items() if name in words & networks} for one in found]


def size(parameters: int | None) -> str:
    """Parameters in words."""
    if parameters is None:
        return "size not known"
    return f"{parameters / 1e3:.3g} k parameters" if parameters < 1e6 else f"{parameters / 1e6:.3g} M parameters"
