"""How often the laws' 95% intervals hold the truth, in simulated runs: `python tests/benchmarks/laws.py [NUM]`.

Three repeats of each family, seeds of their own. A run's log odds lie on the law's line, moved by the run's own luck,
and each of its points is scored on 300 puzzles. It counts those that are shown, and of these the intervals that hold.
"""

import sys
from collections.abc import Callable

import numpy as np
from scipy.special import expit

from genraven.metrics.intervals import Interval
from genraven.report.laws import Seen, Worth, ahead_from, effective, has_proved_itself, ratio, worth

NUM_PUZZLES, NUM_REPEATS = 300, 3
FLOPS = (10**12, 2 * 10**12, 4 * 10**12, 8 * 10**12, 16 * 10**12)
EXAMPLES, STEPS = (300, 1200, 4800, 19200), (12000, 24000, 48000, 96000, 192000)
TRUE_WORTH = 12.0


def curve(rng: np.random.Generator, level: float, slope: float, luck: float) -> dict[int, float]:
    odds = level + luck * rng.normal() + slope * np.log(np.array(FLOPS) / FLOPS[0])
    return dict(zip(FLOPS, rng.binomial(NUM_PUZZLES, expit(odds)) / NUM_PUZZLES, strict=True))


def one_ratio(rng: np.random.Generator) -> bool | None:
    """Does the interval hold the truth? None where the law is not shown."""
    first, second = ([curve(rng, level, slope, 0.15) for _ in range(NUM_REPEATS)]
                     for level, slope in ((-2.0, 1.3), (-2.5, 1.2)))  # fmt: skip
    found = ratio(first, second) if has_proved_itself(first) and has_proved_itself(second) else None
    if found is None:
        return None
    odds = np.log(found.target / (1 - found.target))
    truth = np.exp((odds + 2.0) / 1.3 - (odds + 2.5) / 1.2)
    return bool(found.times.low <= truth <= found.times.high)


def one_crossing(rng: np.random.Generator) -> bool | None:
    """The same of the FLOPs from which the second family is ahead."""
    first, second = ([curve(rng, level, slope, 0.15) for _ in range(NUM_REPEATS)]
                     for level, slope in ((-0.6, 0.1), (-2.0, 1.1)))  # fmt: skip
    found = ahead_from(first, second)
    truth = FLOPS[0] * np.exp((2.0 - 0.6) / (1.1 - 0.1))
    return bool(found.low <= truth <= found.high) if isinstance(found, Interval) else None


def one_worth(rng: np.random.Generator) -> bool | None:
    """The same of R*, of one family."""
    repeats = []
    for _ in range(NUM_REPEATS):
        own, points = np.exp(0.2 * rng.normal()) * TRUE_WORTH, list[Seen]()
        for unique in EXAMPLES:
            for seen in STEPS:
                x = np.log(effective(np.array([float(unique)]), np.array([seen / unique]), own))[0]
                hits = rng.binomial(NUM_PUZZLES, expit(0.9 * (x - 10.0) + 0.05 * rng.normal()))
                points.append(Seen(float(unique), seen / unique, hits / NUM_PUZZLES))
        repeats.append(points)
    found = worth(repeats)
    return bool(found.repeats.low <= TRUE_WORTH <= found.repeats.high) if isinstance(found, Worth) else None


def coverage(trial: Callable[[np.random.Generator], bool | None], num: int, seed: int = 0) -> tuple[float, float]:
    """Fractions of trials that are shown, and of these that hold the truth."""
    found = [trial(np.random.default_rng([seed, i])) for i in range(num)]
    shown = [one for one in found if one is not None]
    return len(shown) / num, sum(shown) / max(len(shown), 1)


def main(num: int) -> None:
    for name, trial in (
        ("FLOPs to a score", one_ratio),
        ("FLOPs from which a family is ahead", one_crossing),
        ("worth of repeated examples", one_worth),
    ):
        shown, held = coverage(trial, num)
        print(f"{name}: shown in {shown:.3f} of {num} trials, of these {held:.3f} of the intervals hold the truth")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
