"""Who goes on: successive halving in step, as a pure function of what the trials' curves say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """What is to be trained next of a trial."""

    trial: int
    rung: int


@dataclass(frozen=True)
class Standing:
    """How trials that are halved together stand."""

    ready: tuple[Stage, ...]
    """To be trained now, in any order."""
    dropped: tuple[int, ...]
    """Trials that go no further."""
    finished: tuple[int, ...]
    """Those that reached the last rung, best first."""


def standing(trials: Sequence[int], sizes: Sequence[int], scores: Mapping[int, Sequence[float]], failed: set[int],
             *, is_up: bool) -> Standing:  # fmt: skip
    """How these trials stand.

    Args:
        trials: by number.
        sizes: how many reach each rung.
        scores: of each trial, at the ends of the rungs that it has passed.
        failed: trials that no start brings further.
        is_up: is more better? Of equal scores the earlier trial goes on.
    """
    alive = list(trials)
    dropped: list[int] = []
    for rung, _ in enumerate(sizes):
        waiting = [t for t in alive if t not in failed and len(scores.get(t, ())) <= rung]
        if waiting:
            return Standing(tuple(Stage(trial, rung) for trial in waiting), tuple(dropped), ())
        ranked = sorted((t for t in alive if t not in failed), key=lambda t: (-scores[t][rung] if is_up
                                                                             else scores[t][rung], t))  # fmt: skip
        if rung + 1 == len(sizes):
            return Standing((), tuple(dropped), tuple(ranked))
        alive = ranked[: sizes[rung + 1]]
        dropped += ranked[sizes[rung + 1] :]
    raise AssertionError("a search has a rung")
