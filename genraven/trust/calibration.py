"""A promise on the error among accepted completions, from puzzles that nothing else was chosen on.

N puzzles; scores (N,), the higher the surer; correct (N,) bool. G groups: one of all puzzles, or each rule; J
thresholds, the strictest first. Learn then test (Angelopoulos et al. 2021): thresholds, their order and the score come
from puzzles of their own (``chosen``), the tests from others (``tested``), so that each test is an exact binomial one.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression
from scipy.stats import binom

from genraven.bounded import parse_json, read_text
from genraven.errors import InputError, setting, shown
from genraven.files import appears_whole
from genraven.trust.digest import changed, digest
from genraven.trust.risk import area

Floats = NDArray[np.float64]
VERSION = 3
AGAIN = "run `genraven calibrate`"
ALL = "all"  # the group of all puzzles
NUM_THRESHOLDS = 100
MOST_CANDIDATES = 1024  # of a puzzle: a file may not ask for any number of them
LOWEST = -1e308  # a threshold that accepts whatever has a score; JSON has no infinity


def check_rate(value: float, option: str) -> None:
    """Raises InputError unless ``value`` lies between 0 and 1."""
    if not 0 < value < 1:
        raise InputError(f"expected {option} to lie between 0 and 1, got {value:g}: 0.05 is one error in twenty.")


def puzzles_needed(max_error: float, delta: float) -> int:
    """Puzzles without an error that it takes to promise at most ``max_error`` with probability 1 - ``delta``."""
    return math.ceil(math.log(delta) / math.log1p(-max_error))


@dataclass(frozen=True)
class Counts:
    """What came of each threshold in each group."""

    total: tuple[int, ...]
    """(G,) puzzles."""
    accepted: tuple[tuple[int, ...], ...]
    """(G, J) puzzles whose score reaches the threshold."""
    errors: tuple[tuple[int, ...], ...]
    """(G, J) wrong ones among them."""


@dataclass(frozen=True)
class Promise:
    """With probability 1 - ``delta`` over calibration puzzles, at most ``max_error`` of the accepted are wrong."""

    max_error: float
    delta: float
    threshold: float | None
    """Scores from here on are accepted; None where nothing can be."""
    accepted: int
    """How many of the calibration puzzles it accepts."""
    errors: int
    """How many of the accepted ones are wrong."""
    total: int

    @property
    def expected_share(self) -> float:
        """Of puzzles like those of the calibration that will be accepted."""
        return self.accepted / self.total

    def accepts(self, scores: ArrayLike) -> NDArray[np.bool_]:
        """(N,) bool: is a completion of that score accepted?"""
        threshold = np.inf if self.threshold is None else self.threshold
        return np.asarray(scores, np.float64) >= threshold


@dataclass(frozen=True)
class Calibration:
    """What ``genraven calibrate`` found for one model and one way of completing."""

    model: str
    """Digest of the weights."""
    completion: Mapping[str, Any]
    """How it completed: decoding, candidates, mask, numerics, device."""
    source: Mapping[str, Any]
    """Where the puzzles are from: seed, split or file, checker."""
    rules: Mapping[str, Sequence[int]]
    """(correct, all) tested puzzles of each rule."""
    delta: float
    score: str
    """The confidence that is used."""
    areas: Mapping[str, float]
    """Under risk against coverage, of each confidence that was tried."""
    groups: tuple[str, ...]
    thresholds: tuple[float, ...]
    chosen: Counts
    tested: Counts
    knots: tuple[tuple[float, ...], tuple[float, ...]]
    """Scores and probabilities of being correct; linear between them."""
    familiarity: tuple[float, ...] = ()
    """Of the tested puzzles, sorted; empty where the method does not know it."""
    power: Mapping[str, Mapping[str, Sequence[int]]] | None = None
    """What the check of familiarity sees, as ``genraven.trust.power`` measures it; None where that was not measured."""
    trust: Mapping[str, Any] = field(default_factory=dict)
    """Area under risk against coverage and calibration error of the tested puzzles."""

    def promise(self, max_error: float) -> Promise:
        """The laxest threshold that fixed-sequence testing reaches.

        Tests begin with the strictest threshold worth it: the one that the puzzles chosen on say is likeliest to pass.
        They end with the first that fails. With groups, the worst of them is tested.

        Raises:
            InputError: an error rate that is none, or too few puzzles for it.
        """
        check_rate(max_error, setting("max_error"))
        self._check_enough(max_error)
        chosen, tested = (np.array([c.accepted, c.errors]) for c in (self.chosen, self.tested))  # 2, G, J
        expected = (
            chosen[0] / np.maximum(np.array(self.chosen.total), 1)[:, None] * np.array(self.tested.total)[:, None]
        )
        likely = (chosen[1] + 1) / (chosen[0] + 2) * expected
        hoped = binom.cdf(np.floor(likely), np.floor(expected), max_error).max(0)
        p_values = np.where(tested[0] > 0, binom.cdf(tested[1], tested[0], max_error), 1.0).max(0)
        passed, best = p_values <= self.delta, None
        for j in range(int(hoped.argmin()), len(passed)):
            if not passed[j]:
                break
            best = j
        accepted, errors = (0, 0) if best is None else (int(part[:, best].sum()) for part in tested)
        threshold = None if best is None else self.thresholds[best]
        return Promise(max_error, self.delta, threshold, accepted, errors, sum(self.tested.total))

    def _check_enough(self, max_error: float) -> None:
        needed = puzzles_needed(max_error, self.delta)
        for group, total in zip(self.groups, self.tested.total, strict=True):
            if total < needed:
                of_rule = "" if group == ALL else f" of {group}"
                raise InputError(f"expected {needed} calibration puzzles{of_rule} or more to promise at most "
                                 f"{max_error:g} errors with probability {1 - self.delta:g}, got {total}: calibrate "
                                 "with more.")  # fmt: skip

    def probability(self, scores: ArrayLike) -> Floats:
        """(N,) of being correct."""
        return np.interp(np.asarray(scores, np.float64), *self.knots)

    def check_use(self, model: str, completion: Mapping[str, Any]) -> None:
        """Raises InputError unless it was made with this model and this way of completing, as far as that was noted."""
        if model != self.model:
            raise InputError(f"expected the calibration of this model, got one of another ({self.model[:12]} for "
                             f"{model[:12]}): run `genraven calibrate` again.")  # fmt: skip
        for name, then in sorted(self.completion.items()):
            if then != (now := completion.get(name)):
                if isinstance(then, Mapping) and isinstance(now, Mapping):  # what differs alone
                    key = next(key for key in {**then, **now} if then.get(key) != now.get(key))
                    name, then, now = f"{name} {key}", then.get(key), now.get(key)
                raise InputError(f"expected completions as they were calibrated, with {name} {shown(then)}, got "
                                 f"{shown(now)}: give the setting of the calibration, or run `genraven calibrate` "
                                 "again.")  # fmt: skip

    def write(self, path: Path) -> None:
        """Writes it whole, with a digest, which tells accidents and no forgery: it has no key."""
        assert self._is_sound(), "a calibration that cannot be read again"
        body = json.loads(json.dumps({"version": VERSION, **asdict(self)}, allow_nan=False))
        with appears_whole(path) as temporary:
            temporary.write_text(json.dumps(body | {"digest": digest(body)}, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Calibration":
        """What ``write`` wrote, or what somebody made up who wrote its digest as well: that has no key.

        Raises:
            InputError: no such file, another version, one that its digest does not fit or that cannot be.
        """
        try:
            text = read_text(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no JSON"
            raise InputError(f"expected a calibration in {path}, got none ({reason}): {AGAIN}.") from None
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: Path) -> "Calibration":
        """As ``read``, of the ``text`` in ``path``."""
        try:
            body = parse_json(text)
        except ValueError:
            raise InputError(f"expected a calibration in {path}, got none (it is no JSON): {AGAIN}.") from None
        noted = body.pop("digest", None) if isinstance(body, dict) else None
        if noted is None or noted != digest(body):
            raise InputError(changed(str(path), "`genraven calibrate`"))
        version = body.pop("version", None)
        try:
            counts = {name: Counts(**{k: _tuples(v) for k, v in body[name].items()}) for name in ("chosen", "tested")}
            tuples = {name: _tuples(body[name]) for name in ("groups", "thresholds", "knots", "familiarity")}
            found = cls(**(body | counts | tuples))
            is_sound = version == VERSION and found._is_sound()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # of values of other kinds
            is_sound = False
        if not is_sound:
            raise InputError(f"expected a calibration of version {VERSION} in {path}, got another: {AGAIN} again.")
        return found

    def _is_sound(self) -> bool:
        """Do its parts belong together? Raises anything where they are of other kinds."""
        shape = len(self.groups), len(self.thresholds)
        for part in (self.chosen, self.tested):
            total, accepted, errors = (np.asarray(value) for value in (part.total, part.accepted, part.errors))
            if (total.shape, accepted.shape, errors.shape) != (shape[:1], shape, shape):
                return False
            if (errors < 0).any() or (errors > accepted).any() or (accepted > total[:, None]).any():
                return False
        known = np.asarray([*self.thresholds, *self.familiarity, *self.knots[0], *self.knots[1]], np.float64)
        powers = [counts for of_kind in (self.power or {}).values() for counts in of_kind.values()]
        return bool(
            np.isfinite(known).all()
            and len(self.knots[0]) == len(self.knots[1]) > 0
            and 0 < self.delta < 1
            and 1 <= self.completion["candidates"] <= MOST_CANDIDATES
            and all(0 <= alarms <= files > 0 for alarms, files in powers)
        )


def choose_score(scores: Mapping[str, ArrayLike], correct: Mapping[str, ArrayLike]) -> tuple[str, dict[str, float]]:
    """The confidence of the smallest area under risk against coverage, and the areas of all.

    Args:
        scores: (N,) of each confidence: that of the candidate which it likes best.
        correct: (N,) bool of each confidence: is that candidate right?
    """
    areas = {name: area(values, correct[name]) for name, values in scores.items()}
    return min(areas, key=lambda name: areas[name]), areas


def choose_thresholds(scores: ArrayLike, num: int = NUM_THRESHOLDS) -> tuple[float, ...]:
    """Quantiles of ``scores``, the strictest first, and last one that accepts all."""
    quantiles = np.quantile(np.asarray(scores, np.float64), np.linspace(0, 1, num + 1)[1:], method="inverted_cdf")
    return (*np.unique(quantiles)[::-1].tolist(), LOWEST)


def count(
    scores: ArrayLike, correct: ArrayLike, thresholds: Sequence[float], members: Sequence[ArrayLike] | None = None
) -> Counts:
    """What comes of ``thresholds`` in each group.

    Args:
        scores: (N,).
        correct: (N,) bool.
        thresholds: J.
        members: (G, N) bool, who belongs to each group; None for one group of all.
    """
    values, wrong = np.asarray(scores, np.float64), ~np.asarray(correct, bool)
    groups = np.ones((1, len(values)), bool) if members is None else np.asarray(members, bool)
    accepted = values >= np.array(thresholds)[:, None]  # J, N
    each = [(accepted[:, group].sum(1), (accepted & wrong)[:, group].sum(1)) for group in groups]
    return Counts(
        tuple(int(group.sum()) for group in groups),
        tuple(tuple(a.tolist()) for a, _ in each),
        tuple(tuple(e.tolist()) for _, e in each),
    )


def fit_probability(scores: ArrayLike, correct: ArrayLike) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Knots of an increasing map from score to probability: isotonic regression, its steps joined.

    Half a right and half a wrong puzzle are imagined beside each step's own, so that none is certain.
    """
    x, y = np.asarray(scores, np.float64), np.asarray(correct, np.float64)
    order = np.argsort(x, kind="stable")
    values, first, num = np.unique(x[order], return_index=True, return_counts=True)
    means = np.add.reduceat(y[order], first) / num
    fitted = isotonic_regression(means, weights=num)
    blocks = np.asarray(fitted.blocks)
    puzzles, level = np.add.reduceat(num, blocks[:-1]), fitted.x[blocks[:-1]]
    level = np.maximum.accumulate((level * puzzles + 0.5) / (puzzles + 1))
    middles = np.add.reduceat(values * num, blocks[:-1]) / puzzles
    return tuple(middles.tolist()), tuple(level.tolist())


def _tuples(value: Any) -> Any:
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value
