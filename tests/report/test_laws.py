"""The laws on curves of known truth, and when they are absent. `tests/benchmarks/laws.py` counts over many more."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from tables import LUCK, STEADY, result, run

from genraven.metrics.intervals import Interval
from genraven.report.carry_over import _passes, laws
from genraven.report.laws import Seen, Worth, ahead_from, effective, has_proved_itself, ratio, worth
from genraven.report.page import Items
from genraven.report.points import variants
from genraven.report.question import Question

FLOPS = [10**12 * 2**k for k in range(5)]


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize(("name", "num"), [("one_ratio", 60), ("one_crossing", 60), ("one_worth", 30)])
def test_intervals_hold_the_truth(name: str, num: int) -> None:
    """In these seeded trials; the benchmark has a thousand."""
    simulation = module(Path(__file__).parents[1] / "benchmarks" / "laws.py")
    shown, held = simulation.coverage(getattr(simulation, name), num)
    assert shown > 0.8
    assert held >= 0.93


def curves(level: float, slope: float = 1.0) -> list[dict[int, float]]:
    return [{x: float(expit(level + luck + slope * math.log(x / FLOPS[0]))) for x in FLOPS} for luck in LUCK]


def test_a_ratio_is_exact_on_exact_lines() -> None:
    """A family whose log odds are lower by ln 3 takes three times the FLOPs."""
    found = ratio(curves(-2 - math.log(3)), curves(-2.0))
    assert found is not None
    assert found.target == 0.4
    assert found.times.value == pytest.approx(3, rel=0.01)
    assert found.times.low < 3 < found.times.high < 3.2


def test_a_family_overtakes_where_the_lines_cross() -> None:
    """The second gains 1 in log odds for each e-fold of FLOPs and starts ln 4 behind: it is ahead from four times."""
    first, second = curves(-1.0, 0.0), curves(-1.0 - math.log(4), 1.0)
    found = ahead_from(first, second)
    assert isinstance(found, Interval)
    assert found.value == pytest.approx(4 * FLOPS[0], rel=0.01)
    assert FLOPS[0] < found.low < 4 * FLOPS[0] < found.high < FLOPS[-1]
    assert ahead_from(second, first) == "no_crossing"
    assert ahead_from(second, first, direction=-1) == found
    assert ahead_from(first, [{**curve, FLOPS[-1]: 0.2} for curve in second]) == "missed"
    assert ahead_from(first, [{x * 100: y for x, y in curve.items()} for curve in second]) == "no_crossing"


def test_what_is_no_line_is_not_shown() -> None:
    assert has_proved_itself(curves(-2.0))
    assert not has_proved_itself([{**curve, FLOPS[-1]: 0.2} for curve in curves(-2.0)])
    assert ratio(curves(-2.0), curves(-2.0)[:2]) is None
    assert ratio(curves(-2.0, -0.1), curves(-2.0, -0.1)) is None


def repeats(true: float, **more: Any) -> list[list[Seen]]:
    noise = np.random.default_rng(0)
    return [
        [
            Seen(u, t / u, float(expit(0.9 * (np.log(effective(np.array([u]), np.array([t / u]), true))[0] - 10) + e)))
            for u in (300.0, 1200.0, 4800.0, 19200.0)
            for t in (12e3, 48e3, 192e3)
            for e in noise.normal(size=1) * 0.02
        ]
        for _ in range(3)
    ]


def test_the_worth_of_repeats() -> None:
    found = worth(repeats(12.0))
    assert isinstance(found, Worth)
    assert found.repeats.low < 12 < found.repeats.high
    assert 10 < found.repeats.value < 14
    assert worth(repeats(12.0)[:2]) == "few_repeats"
    assert worth([points[:3] for points in repeats(12.0)]) == "few_points"
    assert worth(repeats(1e9)) == "no_bend"
    assert worth([repeats(true)[0] for true in (3.0, 30.0, 300.0)]) == "wide"
    broken = [[*points[:2], Seen(300.0, 640.0, 0.05), *points[3:]] for points in repeats(12.0)]
    assert worth(broken) == "missed"


def test_no_repeats_are_worth_more_than_new_examples() -> None:
    unique, epochs = np.array([100.0, 100.0, 100.0]), np.array([0.5, 1.0, 1e6])
    assert effective(unique, epochs, 15.0) == pytest.approx([50, 100, 1600])


def page(greedy: str = "", repeats: int = 3, **more: Any) -> list[str]:
    """Two families on one number of examples, five points along each training.

    Args:
        greedy: ``before`` or ``after`` the others there is a worse result of each run's end, decoded in another way
            with as many evaluations.
        repeats: of each family.
        more: of each run.
    """
    runs = []
    for family, level, passes in (("autoregressive", -2.0, 9.0), ("diffusion", -2 - math.log(3), 9.5)):
        for seed in range(repeats):
            results = [result(curves(level)[seed][x], x // 10**9, puzzles="same", passes={"complete": passes})
                       for x in FLOPS]  # fmt: skip
            other = replace(results[-1], scores=result(0.05).scores, decoding={"temperature": 0.0}, is_own=False)
            results = {"before": [other, *results], "after": [*results, other]}.get(greedy, results)
            runs.append(run(family, 400, 0.5, seed=seed, settings=STEADY, step=FLOPS[-1] // 10**9,
                            flops=float(FLOPS[-1]), results=tuple(results), **more))  # fmt: skip
    blocks = laws(variants(runs), 400, Question("completion", 400))
    return [item.text for block in blocks if isinstance(block, Items) for item in block.items]


def test_the_page_has_them_or_says_why_not() -> None:
    first, ahead, equal, *others = page()
    assert ahead.endswith("neither family is surely behind at the least FLOPs and surely ahead at the most.")
    assert first.startswith("To reach completion 0.4 the autoregressive family spends 0.33 [")
    assert equal.startswith("At equal numbers of network evaluations, about 9 for a puzzle, completion is ")
    assert all("absent, because the fit needs three numbers of examples" in text for text in others)
    assert len(others) == 2


@pytest.mark.parametrize("greedy", ["before", "after"])
def test_another_way_of_decoding_with_as_many_evaluations_does_not_count(greedy: str) -> None:
    assert page(greedy)[2] == page()[2]


def test_numbers_of_evaluations_below_ten_have_two_digits() -> None:
    assert [_passes(n) for n in (0.214, 2.0, 9.5, 81.0, 1000.0)] == ["0.21", "2", "9.5", "81", "1,000"]


@pytest.mark.filterwarnings("error")
def test_one_repeat_has_no_law_and_no_warning() -> None:
    first, *_ = page(repeats=1)
    assert first.endswith("absent, because the autoregressive family has fewer than 3 repeats.")


def test_nothing_of_one_family() -> None:
    runs = [run("diffusion", 400, 0.5, seed=seed) for seed in range(3)]
    assert laws(variants(runs), 400, Question("completion", 400)) == []
