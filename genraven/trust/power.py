"""What the check of familiarity can see: measured when a model is calibrated, and said with each of its answers.

A file of few puzzles tells little. So files are drawn from puzzles of other kinds, and it is counted how many of them
alarm. F files of n puzzles each are held against the M of a calibration.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genraven.trust.calibration import Calibration
from genraven.trust.confidence import FLOOR
from genraven.trust.familiarity import ALARM, are_unlike, unlike

SIZES = (1, 2, 3, 5, 10, 20, 50)
NUM_FILES = 200
POOL = 200
"""Puzzles of each kind that files are drawn from."""
ALIKE, NEVER_TRAINED = "the same kind", "never trained: "
"""Kinds: puzzles like those of the calibration, whose alarms are false ones; what the name of a rule stands behind."""
SEES, MISSES = 0.9, 0.1
"""Fractions of files from which on a kind is said to be seen, and up to which it is said not to be."""
Power = Mapping[str, Mapping[str, Sequence[int]]]
"""For each kind and each number of puzzles in a file: how many files alarmed, and how many there were."""


def measured_power(known: ArrayLike, kinds: Mapping[str, ArrayLike], *, seed: int) -> dict[str, dict[str, list[int]]]:
    """How often files of each of ``kinds`` are taken for unlike the ``known`` puzzles.

    Args:
        known: (M,) familiarity of the calibration's puzzles.
        kinds: familiarity of some puzzles of each kind; a file holds at most half of them.
        seed: of the files.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, list[int]]] = {kind: {} for kind in kinds}
    for kind, values in kinds.items():
        pool = np.asarray(values, np.float64)
        for size in (n for n in SIZES if 2 * n <= len(pool)):
            files = pool[rng.random((NUM_FILES, len(pool))).argsort(1)[:, :size]]
            found[kind][str(size)] = [int(alarms(files, known).sum()), NUM_FILES]
    return found


def alarms(files: NDArray[np.float64], known: ArrayLike) -> NDArray[np.bool_]:
    """(F,) bool: which of ``files`` (F, n) are ``unlike`` the ``known``.

    The chance falls with the distance between the distributions, so that few of the files have to be asked for it.
    """
    ordered, all_known = np.sort(files, 1), np.sort(np.asarray(known, np.float64))
    fractions = np.arange(files.shape[1] + 1) / files.shape[1]
    above = fractions[1:] - np.searchsorted(all_known, ordered, "right") / len(all_known)
    below = np.searchsorted(all_known, ordered, "left") / len(all_known) - fractions[:-1]
    distance = np.maximum(above, below).max(1)
    nearest_first = distance.argsort()
    first = bisect_left(nearest_first, True, key=lambda file: unlike(files[file], all_known) < ALARM)
    return distance >= (np.inf if first == len(files) else distance[nearest_first[first]])


@dataclass(frozen=True)
class Sight:
    """What the check can see of a file, whatever it holds."""

    can_alarm: bool
    """Would any file of so many puzzles alarm?"""
    size: int | None
    """Puzzles in the files that were counted: the most that are no more than the file's; None where there are none."""
    seen: Mapping[str, Sequence[int]]
    """For each kind how many files of that size alarmed, and how many there were; empty where none was measured."""

    @classmethod
    def of(cls, calibration: Calibration, num: int) -> "Sight":
        """What is seen of ``num`` different puzzles, by a model that knows how likely they are."""
        can_alarm = unlike(np.full(num, 2 * FLOOR), calibration.familiarity) < ALARM
        power = calibration.power or {}
        measured = {kind: {int(n): of_size for n, of_size in of.items()} for kind, of in power.items()}
        size = max((n for of in measured.values() for n in of if n <= num), default=None)
        return cls(can_alarm, size, {kind: of[size] for kind, of in measured.items() if size in of})

    def __str__(self) -> str:
        """What the check could see, in sentences."""
        if not self.can_alarm:
            return ("The check can see nothing here: so few puzzles never alarm, whatever they are. Whether the "
                    "promise is of them is for you to know.")  # fmt: skip
        if not self.seen:
            return "What the check can see was not measured: calibrate with more --puzzles-to-choose."
        parts: dict[str, list[str]] = {"sees": [], "sees only some of": [], "does not see": []}
        for kind, least, most in _by_kind(self.seen):
            how = (
                "sees" if least.fraction >= SEES else "does not see" if most.fraction <= MISSES else "sees only some of"
            )
            parts[how].append(f"{kind} ({least.words}{'' if least == most else f' to {most.words}'})")
        said = "; ".join(f"{how} {', '.join(kinds)}" for how, kinds in parts.items() if kinds)
        return (f"Of files of {self.size} puzzle{'s' * (self.size != 1)}, all of one other kind, the check {said}. A "
                "few odd puzzles among others it may miss, and kinds that were not measured.")  # fmt: skip


NOT_CHECKED = ("It was not checked whether these puzzles are like those of the calibration, since this model does not "
               "know how likely puzzles are: of others the promise says nothing, and nothing here tells them "
               "apart.")  # fmt: skip


@dataclass(frozen=True)
class Check:
    """Whether puzzles, as a whole, are like those of a calibration, and what that check could have seen."""

    num: int
    """Different puzzles that were held against the calibration's."""
    num_known: int
    """Those of the calibration; 0 where the method does not know how likely puzzles are, and nothing was checked."""
    p_value: float | None
    """Chance of puzzles as different as these if they are of the same kind; None where nothing was checked."""
    sight: Sight | None

    @property
    def are_unlike(self) -> bool:
        """Does it say that the puzzles are of another kind?"""
        return are_unlike(self.p_value)

    def __str__(self) -> str:
        """What it found, what it could have seen and what not."""
        if self.p_value is None:
            return NOT_CHECKED
        puzzles = f"{self.num:,} different puzzles" if self.num > 1 else "1 puzzle"
        found = "they are unlike those" if self.are_unlike else "no alarm"
        return (f"{puzzles} checked, as a whole, against {self.num_known:,} of the calibration: {found} (p = "
                f"{self.p_value:.1g}). {self.sight}")  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Plain values, and the same in words."""
        sight = {} if self.sight is None else asdict(self.sight)
        return {"puzzles": self.num, "calibration_puzzles": self.num_known, **sight, "in_words": str(self)}


@dataclass(frozen=True)
class _Seen:
    """How many files of a kind alarmed."""

    fraction: float
    words: str


def _by_kind(seen: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, _Seen, _Seen]]:
    """Each other kind with its file counts, twice; all rules are one kind, with the least and the most seen of them."""
    rules = []
    for kind, (hits, files) in seen.items():
        if kind.startswith(NEVER_TRAINED):
            rules.append(_Seen(hits / files, f"{hits} of {files} for {kind.removeprefix(NEVER_TRAINED)}"))
        elif kind != ALIKE:
            of_kind = _Seen(hits / files, f"{hits} of {files}")
            yield kind, of_kind, of_kind
    if rules:
        yield "a rule never trained", min(rules, key=lambda s: s.fraction), max(rules, key=lambda s: s.fraction)


def held_against(calibration: Calibration, values: ArrayLike | None) -> Check:
    """The check of different puzzles whose familiarity is ``values`` (N,); None of a method that does not know it."""
    if values is None or not calibration.familiarity:
        return Check(0, 0, None, None)
    num, p_value = len(np.asarray(values)), unlike(values, calibration.familiarity)
    return Check(num, len(calibration.familiarity), p_value, Sight.of(calibration, num))
