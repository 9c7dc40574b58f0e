"""Finished, failed and missing runs as one table: what the small files of each run folder say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genraven.metrics.intervals import Interval, wilson
from genraven.networks.prior import GENERAL, Prior
from genraven.report.trust import Trust
from genraven.run_folder import BEST

PRIOR = "prior"
INIT = "init_from"
"""The setting of runs that began with trained weights."""
EVIDENCE = ("finished", "stopped")
"""States whose scores count: ``stopped`` before its last step, at the step that was reached."""
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Proportion:
    """``hits`` of ``count``, of one run."""

    hits: int
    count: int
    outcomes: NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)
    """(count,), of each puzzle in a common order; None where only the count is known."""
    effective_count: float | None = None
    """Independent draws that would tell as much, where several of one puzzle are counted; None is ``count``."""

    @property
    def weight(self) -> float:
        """What intervals are made of: ``effective_count``, or ``count``."""
        return self.count if self.effective_count is None else self.effective_count

    @property
    def value(self) -> float:
        """Between 0 and 1."""
        return self.hits / self.count

    @property
    def interval(self) -> Interval:
        """95%, of the puzzles counted."""
        return Interval(self.value, *map(float, wilson(self.value, self.weight)))

    def __str__(self) -> str:
        return str(self.interval)


@dataclass(frozen=True)
class Number:
    """A score that is no fraction."""

    value: float
    standard_error: float | None = None
    """The standard error of an estimate by random draws."""
    is_bound: bool = False
    """It bounds what is meant from above."""

    def __str__(self) -> str:
        return f"{self.value:.3f}"


@dataclass(frozen=True)
class Result:
    """One evaluation of one checkpoint in one way of decoding."""

    step: int
    scores: Mapping[str, Proportion]
    numbers: Mapping[str, Number] = field(default_factory=dict)
    split: str = "test"
    checkpoint: str = ""
    decoding: Json = field(default_factory=dict)
    is_own: bool = True
    """It decodes as the run's config has it."""
    given_corruption: float = 0.0
    """Fraction of the cells given for completion that were wrong: of such a result only completion is used."""
    puzzles: str | None = None
    """Names what the evaluation puzzles are the first of: results with one name share puzzles. Where they have as many
    of each rule, too, they can be compared puzzle by puzzle."""
    puzzles_per_rule: int = 0
    per_rule: Mapping[str, tuple[Proportion, Proportion]] = field(default_factory=dict)
    """C3 and completion of each rule that was completed."""
    correlation: Json | None = None
    seconds: Json = field(default_factory=dict)
    passes: Json = field(default_factory=dict)
    """Number of function evaluations for a puzzle, by task."""
    devices: int = 1
    weights: str | None = None
    """Digest of those that were scored; None where it was not noted."""
    calibration: str | None = None
    """Digest of that with which ``selective`` was measured."""
    selective: Json = field(default_factory=dict)

    def measured(self, metric: str) -> "Proportion | Number | None":
        """The score, of either kind."""
        return self.scores.get(metric) or self.numbers.get(metric)


@dataclass(frozen=True)
class Seeds:
    """What tells repeats apart; None is not known."""

    weights: int | None = None
    noise: int | None = None
    data: int | None = None


@dataclass(frozen=True)
class Run:
    """One training, with its results. What is not known is None, or absent: never zero."""

    name: str
    state: str = "finished"
    """As ``genraven status`` has it."""
    family: str | None = None
    architecture: str | None = None
    prior: Prior = GENERAL
    """What its network was given of puzzles before it learned."""
    parameters: int | None = None
    samples_per_rule: int | None = None
    """Examples of each rule that it learned from: of an endless stream those that it saw, each once; of a whole file
    their mean."""
    is_stream: bool = False
    """Was every puzzle a new one?"""
    num_rules: int | None = None
    """How many rules it learns."""
    results: tuple[Result, ...] = ()
    """Evaluations, oldest first, and validations while training."""
    device_hours: float | None = None
    """Device-hours of the training alone."""
    flops: float | None = None
    """FLOPs of the training."""
    puzzles: float | None = None
    """Seen in training."""
    price: float | None = None
    """Of a device-hour, where one was given."""
    collapse: Mapping[str, Json] = field(default_factory=dict)
    """Signals that crossed their threshold in training, with ``step``, ``value`` and ``threshold``."""
    step: int | None = None
    max_steps: int | None = None
    time_limit: str = ""
    """That it was given, in words; empty where it was not."""
    stopped_itself: bool = False
    """Its own recipe ended it before its last step, such as at a collapse: it was not cut short."""
    dataset: Mapping[str, str] = field(default_factory=dict)
    """What is learned and asked, but for the number of examples."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """All else that was set, but for seeds: runs that agree in it are repeats."""
    seeds: Seeds = Seeds()
    device: str | None = None
    tuning: Mapping[str, float] = field(default_factory=dict)
    """What its settings were chosen by, where that was noted: ``trials``, and ``puzzles`` that all of them saw."""
    trust: Trust | None = None
    """How far it knows when it is wrong, where it was calibrated."""
    path: Path | None = None
    message: str = ""

    @property
    def contest(self) -> dict[str, str]:
        """Data set and prior: only runs that agree in it are compared."""
        return {**self.dataset, PRIOR: self.prior}

    @property
    def money(self) -> float | None:
        """The cost of the training in money."""
        return None if self.price is None or self.device_hours is None else self.price * self.device_hours

    def trust_in(self, result: Result) -> Trust | None:
        """Its trust, where that is of the weights of ``result``."""
        return self.trust if self.trust and self.trust.weights == result.weights else None

    @property
    def is_evidence(self) -> bool:
        """Has it ended well, or at its time limit, with scores?"""
        return self.state in EVIDENCE and self.final is not None

    @property
    def is_cut(self) -> bool:
        """Did a limit end it, such as of time, before it had trained for as long as it was meant to?"""
        return self.state == "stopped" and not self.stopped_itself

    @property
    def length(self) -> int:
        """Steps of its training."""
        return self.step or (self.final.step if self.final else 0)

    @cached_property
    def final(self) -> Result | None:
        """What is reported: test puzzles, the run's own decoding, the last checkpoint, the most puzzles, the newest.

        Of a run of which the best checkpoint alone was tested, that one.
        """
        return max((result for result in self._newest_first if result.scores), key=_preference, default=None)

    @property
    def _whole(self) -> tuple[Result, ...]:
        """Results on puzzles as they are."""
        return tuple(result for result in self.results if not result.given_corruption)

    @property
    def _newest_first(self) -> tuple[Result, ...]:
        return self._whole[::-1]

    @property
    def best(self) -> Result | None:
        """The same, decoded alike, of the checkpoint that was best on validation puzzles, where that was evaluated."""
        tested = [result for result in self._newest_first if result.checkpoint == BEST and result.split == "test"]
        alike = [result for result in tested if self.final and result.decoding == self.final.decoding]
        return max(alike, key=_preference, default=None)

    def validation(self, metric: str, of: Result) -> float | None:
        """The score on validation puzzles at the checkpoint ``of``, to choose by."""
        scored = [r for r in self._newest_first if r.split == "val" and r.measured(metric)]
        found = [r for r in scored if r.step == of.step and r.is_own]
        same = [r for r in found if (r.checkpoint == BEST) == (of.checkpoint == BEST)] or found
        measured = max(same, key=lambda r: r.puzzles_per_rule).measured(metric) if same else None
        return measured.value if measured else None

    def series(self, metric: str) -> tuple[Result, ...]:
        """The results along the training, by step: of test puzzles where several steps have them, else validation.

        Without the best checkpoint, which was chosen for its score: a curve through it would rise to there and fall.
        Of a run that has no more than one of them, what is reported of it.
        """
        for split in ("test", "val"):
            at: dict[int, Result] = {}
            for r in sorted(self._whole, key=lambda r: r.puzzles_per_rule):
                if r.split == split and r.is_own and r.checkpoint != BEST and r.measured(metric):
                    at[r.step] = r
            if len(at) > 1:
                return tuple(at[step] for step in sorted(at))
        return tuple(r for r in (self.final,) if r and r.measured(metric))

    def spent(self, axis: str, step: int | None = None) -> float | None:
        """Of ``axis`` (an attribute, or ``epochs``) up to ``step``, of the training alone."""
        if axis == "epochs":
            known = self.puzzles and self.samples_per_rule and self.num_rules
            whole = self.puzzles / (self.samples_per_rule * self.num_rules) if known else None  # type: ignore[operator]
        else:
            whole = getattr(self, axis)
        if whole is None or step is None or step == self.step or not self.step:
            return whole
        return whole * min(step / self.step, 1.0)


def _preference(result: Result) -> tuple[bool, bool, bool, int, int]:
    return (result.split == "test", result.is_own, result.checkpoint != BEST, result.step, result.puzzles_per_rule)
