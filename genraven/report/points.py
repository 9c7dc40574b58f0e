"""Repeats become points: runs that differ in their seeds alone are one, whose mean and interval count.

A *variant* is all that was set but seeds and the number of examples; a *point* is a variant with a number of examples.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from genraven.metrics.intervals import CONFIDENCE, Interval
from genraven.metrics.table import COMPLETED, SCORES, direction
from genraven.report.dataset import flat
from genraven.report.english import sentence, span
from genraven.report.forecast import Forecast, forecast
from genraven.report.runs import INIT, PRIOR, Result, Run
from genraven.report.statistics import Repeats, difference, enough_runs, mean_of_all

SAME_BUDGET = 1.1
"""Budgets, and lengths of trainings that a limit ended, that differ by less are one."""


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

    def having(self, metric: str) -> "Point | None":
        """Those of its runs that have this score; None where none has."""
        found = [place for place, result in enumerate(self.results) if result.measured(metric)]
        return self if len(found) == len(self.runs) else self.only(found) if found else None

    def only(self, indices: Sequence[int]) -> "Point":
        """Its runs at these indices."""
        return Point(tuple(self.runs[i] for i in indices), tuple(self.results[i] for i in indices))

    def repeats(self, metric: str) -> Repeats | None:
        """The score of all runs that have it."""
        point = self.having(metric)
        if point is None:
            return None
        if SCORES[metric].kind == "number":
            numbers = [result.numbers[metric] for result in point.results]
            means = np.array([number.value for number in numbers], np.float64)
            is_bound = any(number.is_bound for number in numbers)
            return Repeats(means, 1, None, are_shared=False, is_fraction=False, is_bound=is_bound)
        fractions = [result.scores[metric] for result in point.results]
        counts = {fraction.count for fraction in fractions}
        are_shared = SCORES[metric].counted_over == COMPLETED and _share_puzzles(point.results)
        if len(counts) == 1 and all(fraction.outcomes is not None for fraction in fractions):
            return Repeats.of([fraction.outcomes for fraction in fractions], are_shared=are_shared)
        weight = min(fraction.weight for fraction in fractions)
        return Repeats(np.array([fraction.value for fraction in fractions]), weight, None, are_shared)

    def interval(self, metric: str, confidence: float = CONFIDENCE) -> Interval | None:
        """Mean and interval of the score."""
        repeats = self.repeats(metric)
        return repeats.interval(confidence) if repeats else None

    def value(self, metric: str) -> float:
        """The mean; minus infinity where there is none."""
        repeats = self.repeats(metric)
        return float(repeats.means.mean()) if repeats else -np.inf

    def merit(self, metric: str) -> float:
        """The mean where more is better, what it is below 0 where less is; minus infinity where there is none."""
        return direction(metric) * self.value(metric) if self.having(metric) else -np.inf

    def validation(self, metric: str) -> float | None:
        """The mean on validation puzzles, to choose by; None where a run has none."""
        found = [run.validation(metric, of=result) for run, result in zip(self.runs, self.results, strict=True)]
        return mean_of_all(found)

    def spent(self, axis: str) -> float | None:
        """The mean of what the runs spent up to their results."""
        found = [run.spent(axis, result.step) for run, result in zip(self.runs, self.results, strict=True)]
        return mean_of_all(found)

    def at(self, results: Mapping[str, Result]) -> "Point | None":
        """The same runs with other results, by run; None where one has none."""
        if any(run.name not in results for run in self.runs):
            return None
        return Point(self.runs, tuple(results[run.name] for run in self.runs))


def best_checkpoints(point: Point, metric: str) -> Point | None:
    """The same runs at their checkpoints that were best on validation puzzles; None where not scored, or the last."""
    results = {run.name: run.best for run in point.runs}
    best = point.at({name: result for name, result in results.items() if result and result.measured(metric)})
    same = best is None or all(b.step == r.step for b, r in zip(best.results, point.results, strict=True))
    return None if same else best


def _same_puzzles(results: Sequence[Result]) -> bool:
    """Also where it is not known, which widens intervals."""
    return len({(result.puzzles, result.puzzles_per_rule) for result in results}) == 1


def _share_puzzles(results: Sequence[Result]) -> bool:
    """Are they of the same puzzles, or some of those of others? Also where it is not known, which widens intervals."""
    return len({result.puzzles for result in results if result.puzzles is not None}) <= 1


def compare(
    a: Point, b: Point, metric: str, confidence: float = CONFIDENCE, recipes: tuple[int, int] = (1, 1)
) -> Interval | None:
    """``a`` less ``b``, paired by the training puzzles where that can be done; of the runs that have the score.

    ``recipes`` are those that each is the best of, as in ``difference``.
    """
    found = _prepared(a, b, metric)
    if found is None:
        return None
    of_a, of_b, are_paired = found
    return difference(of_a, of_b, are_paired=are_paired, confidence=confidence, recipes=recipes)


def repeats_until_sure(a: Point, b: Point, metric: str, recipes: tuple[int, int], most: int) -> int | None:
    """As ``enough_runs``, of two points that both have several runs with the score."""
    found = _prepared(a, b, metric)
    assert found is not None
    of_a, of_b, are_paired = found
    return enough_runs(of_a, of_b, are_paired=are_paired, recipes=recipes, most=most)


def _prepared(a: Point, b: Point, metric: str) -> tuple[Repeats, Repeats, bool] | None:
    """The scores of both, and whether their runs are pairs; None where one has none."""
    sides = compared(a, b, metric)
    if sides is None:
        return None
    first, second, are_paired = sides
    of_a, of_b = first.repeats(metric), second.repeats(metric)
    assert of_a is not None and of_b is not None
    are_known = None not in (first.results[0].puzzles, second.results[0].puzzles)
    crossed = are_known and of_a.are_shared and of_b.are_shared and _same_puzzles([*first.results, *second.results])
    if not crossed and of_a.outcomes is not None and of_b.outcomes is not None:  # each with puzzles of its own
        of_a, of_b = _uncrossed(of_a), _uncrossed(of_b)
    return of_a, of_b, are_paired


def compared(a: Point, b: Point, metric: str) -> tuple[Point, Point, bool] | None:
    """The runs of both that ``compare`` is of, and whether they are pairs; None where one has none with the score."""
    first, second = a.having(metric), b.having(metric)
    if first is None or second is None:
        return None
    pairs = _pairs(first, second)
    if not pairs:
        return first, second, False
    of_first, of_second = zip(*pairs, strict=True)
    return first.only(of_first), second.only(of_second), True


def _uncrossed(x: Repeats) -> Repeats:
    return Repeats(x.means, x.num_puzzles, None, x.are_shared)


def forecast_from(points: Mapping[int, Point], metric: str) -> Forecast:
    """The forecast from points by number of examples; of scores that are fractions."""
    known = {size: repeats for size, point in points.items() if (repeats := point.repeats(metric))}
    means = {size: float(repeats.means.mean()) for size, repeats in known.items()}
    if SCORES[metric].kind != "fraction":
        return Forecast(means, None, sentence("forecast_of_no_fraction"))
    return forecast(means, {size: float(repeats.standard_error) for size, repeats in known.items()})


def _pairs(a: Point, b: Point) -> list[tuple[int, int]]:
    """Indices of runs that learned from the same puzzles, each set once; none where fewer than all of either pair."""
    indices = [{run.seeds.data: i for i, run in enumerate(point.runs)} for point in (a, b)]
    both = [seed for seed in indices[0] if seed is not None and seed in indices[1]]
    is_whole = len(both) == min(len(a.runs), len(b.runs)) and len(both) > 1
    return [(indices[0][seed], indices[1][seed]) for seed in both] if is_whole else []


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
        return f"{_key(self.first, of_size=False)} {_cut(self.runs)}"

    def is_from_nothing_as(self, begun: "Variant") -> bool:
        """Is it of the recipe of ``begun``, but for the trained weights that that one began with?"""
        settings = {name: value for name, value in begun.first.settings.items() if name != INIT}
        fresh = _key(replace(begun.first, settings=settings))
        return INIT not in self.first.settings and _key(self.first) == fresh and _cut(self.runs) == _cut(begun.runs)

    def is_cut_short_of(self, other: "Variant") -> bool:
        """Was it stopped before its time, and ``other`` not, which is of the same recipe?"""
        return self.first.is_cut and not other.first.is_cut and _key(self.first) == _key(other.first)

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
        """Points along the training on ``samples`` examples, at the steps that all repeats have; the end last.

        Of the repeats that have the score at the end.
        """
        end = self.points.get(samples)
        point = end.having(metric) if end else None
        if point is None:
            return []
        by_step = {run.name: {result.step: result for result in run.series(metric)} for run in point.runs}
        steps = set.intersection(*(set(found) for found in by_step.values()))
        found = [point.at({name: results[step] for name, results in by_step.items()}) for step in sorted(steps)]
        return [one for one in found if one]


def variants(runs: Iterable[Run]) -> list[Variant]:
    """Of the runs that count, by family, architecture and size; one training counts once.

    Trainings that a limit cut short are no repeats of whole ones, nor of others that got much further.
    """
    groups: dict[str, list[Run]] = {}
    for run in distinct(run for run in runs if run.is_evidence and run.architecture):
        groups.setdefault(_key(run), []).append(run)
    parts = [part for group in groups.values() for part in _by_length(group)]
    found = sorted(parts, key=lambda group: (group[0].family or "", group[0].architecture or "",
                                             group[0].parameters or 0, _words(_recipe(group[0]))))  # fmt: skip
    return [Variant(tuple(group), label) for group, label in zip(found, _labels(found), strict=True)]


def _by_length(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs of one recipe: whole ones, then those that one limit of time cut short, or that ended at about one step."""
    parts: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: (run.is_cut, run.time_limit, run.length)):
        if not (parts and _are_of_one_length(parts[-1][0], run)):
            parts.append([])
        parts[-1].append(run)
    return parts


def _are_of_one_length(shorter: Run, longer: Run) -> bool:
    if not (shorter.is_cut and longer.is_cut):
        return shorter.is_cut == longer.is_cut
    if shorter.time_limit or longer.time_limit:
        return shorter.time_limit == longer.time_limit
    return longer.length <= SAME_BUDGET * shorter.length


def distinct(runs: Iterable[Run]) -> list[Run]:
    """Without copies: runs of the same settings, examples and seeds are one training, of which the longest counts.

    A whole one counts rather than one that was cut short.
    """
    found: dict[object, Run] = {}
    for run in runs:
        known = None not in (run.seeds.weights, run.seeds.noise, run.seeds.data)
        asked = run.samples_per_rule if not run.is_stream else None  # of which it saw as much as it trained
        key = (_key(run), asked, run.seeds) if known else run.name
        if key not in found or _length(run) > _length(found[key]):
            found[key] = run
    return list(found.values())


def _length(run: Run) -> tuple[bool, int]:
    return not run.is_cut, run.length


def _recipe(run: Run, *, of_size: bool = True) -> list[dict[str, object]]:
    """What the run is, what was set, and how it decoded: all but its seeds and its number of examples."""
    facts: dict[str, object] = {
        "family": run.family,
        "architecture": run.architecture,
        PRIOR: run.prior,
        "split": run.final.split if run.final else None,
    }
    facts |= {"parameters": run.parameters} if of_size else {}
    return [facts, dict(run.settings), dict(run.final.decoding if run.final else {})]


def _key(run: Run, *, of_size: bool = True) -> str:
    """What repeats agree in: a setting that is none is as one that was not there yet."""
    facts, *given = _recipe(run, of_size=of_size)
    return _words([facts, *({name: value for name, value in one.items() if value not in (None, "none")}
                            for one in given)])  # fmt: skip


def _words(recipe: list[dict[str, object]]) -> str:
    return json.dumps(recipe, sort_keys=True, default=str)


def differences(groups: Sequence[Sequence[Run]]) -> list[dict[str, str]]:
    """For each group, the settings (last words of their names) in which the groups differ.

    A setting that is absent counts as none. A class of which only some runs set options is identified by these.
    """
    differing = _differing(groups)
    return [_named(group, differing) for group in groups]


def _named(group: Sequence[Run], names: Iterable[str]) -> dict[str, str]:
    """What it has of the settings of these whole names, by their last words; by two words where one says two things."""
    settings = _settings_of(group)
    found = {name: settings.get(name, "none") for name in names}
    said: dict[str, set[str]] = {}
    for name, value in found.items():
        said.setdefault(name.rpartition(".")[2], set()).add(value)
    return {".".join(words[-2 if len(said[words[-1]]) > 1 else -1 :]): value
            for words, value in ((name.split("."), value) for name, value in found.items())}  # fmt: skip


def _differing(groups: Sequence[Sequence[Run]]) -> list[str]:
    settings = [_settings_of(group) for group in groups]
    values = {
        name: [one.get(name, "none") for one in settings] for name in sorted({name for one in settings for name in one})
    }
    differing = [name for name, found in values.items() if len(set(found)) > 1]
    return [name for name in differing if not _follows_from_others(name, values[name], differing)]


def _settings_of(group: Sequence[Run]) -> dict[str, str]:
    """Settings, decoding and where it was cut short, by their whole names; of sampling what it decoded with."""
    decoding = _decoding(group[0])
    settings = {name: value for name, value in group[0].settings.items()
                if ".sampling." not in name or f"decoding.{name.rpartition('.')[2]}" not in decoding}  # fmt: skip
    return settings | decoding | _cut(group)


def _cut(runs: Sequence[Run]) -> dict[str, str]:
    """Where a limit ended them; empty of whole trainings."""
    if not runs[0].is_cut:
        return {}
    lengths = [run.length for run in runs]
    steps = span([f"{step:,}" for step in (min(lengths), max(lengths))])
    return {"stopped": sentence("stopped_at", steps=steps, planned=None)}


def _follows_from_others(name: str, values: Collection[str], differing: Sequence[str]) -> bool:
    block, _, word = name.rpartition(".")
    only_one = len(set(values) - {"none"}) == 1
    return word == "class_path" and only_one and any(other.startswith(f"{block}.init_args.") for other in differing)


def _decoding(run: Run) -> dict[str, str]:
    decoding = dict(run.final.decoding if run.final else {})
    known = flat(decoding, "decoding") if decoding else ()
    return {name: "none" if value is None else str(value) for name, value in known}


def _labels(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Architecture and size, and what the group has of the settings that tell some of one size apart.

    Those of the data are named of any architecture that has them, others within theirs.
    """
    peers: dict[tuple[str | None, str], list[Sequence[Run]]] = {}
    for group in groups:
        peers.setdefault((group[0].architecture, size(group[0].parameters)), []).append(group)
    named = {(architecture, name) for (architecture, _), found in peers.items() for name in _differing(found)}
    labels, shorter = list[str](), list[str]()
    for group in groups:
        first = group[0]
        kin = [other for other in groups if other[0].architecture == first.architecture]
        own = sorted({name for of, name in named if of == first.architecture or name.startswith("data.")})
        apart = _kinds(kin)[kin.index(group)] | _named(group, own)
        settings = {name: value for name, value in apart.items() if value != "none"}
        for found, written in ((labels, str), (shorter, _rounded)):
            more = "".join(f", {name} {written(value)}" for name, value in settings.items())
            found.append(f"{first.architecture}, {size(first.parameters)}{more}")
    return shorter if len({*shorter}) == len({*labels}) else labels


def _rounded(value: str) -> str:
    """A number with many digits, such as a search draws, to three of them."""
    return f"{float(value):.3g}" if re.fullmatch(r"\d?\.\d{6,}(e-?\d+)?", value) else value


def _kinds(groups: Sequence[Sequence[Run]]) -> list[dict[str, str]]:
    """Of the ``differences``, those words (a head, an embedding) that make another network, not one of another size."""
    found = differences(groups)
    words = {name for one in found for name, value in one.items() if value.isalpha() and value != "none"}
    networks = {name.rpartition(".")[2] for group in groups for name in group[0].settings if ".network." in name}
    return [{name: value for name, value in one.items() if name in words & networks} for one in found]


def size(parameters: int | None) -> str:
    """The size of a model in words."""
    return sentence("size", amount=amount(parameters))


def amount(parameters: int | None) -> str:
    """The number alone; empty where it is not known."""
    if parameters is None:
        return ""
    return f"{parameters / 1e3:.3g} k" if parameters < 1e6 else f"{parameters / 1e6:.3g} M"
