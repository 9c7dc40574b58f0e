"""The page's part on likelihoods, and what they decide."""

from collections.abc import Sequence
from itertools import combinations

from genraven.metrics.intervals import CONFIDENCE
from genraven.report.page import Block, Item, Items, Table
from genraven.report.points import Variant
from genraven.report.quality import DASH, mean, shown
from genraven.report.statistics import MIN_REPEATS, difference_of_values, of_values


def likelihood(variants: Sequence[Variant], samples: int) -> list[Block]:
    """Nats per cell of each model, and what they decide between families."""
    having = [(variant, _nats(variant, samples)) for variant in variants]
    having = [(variant, values) for variant, values in having if values]
    if not having:
        return []
    rows = [
        [variant.label, variant.first.family or DASH, f"{mean(values):.4f}", shown(of_values(values)),
         "bound from above" if _is_bound(variant, samples) else "exact", str(len(values))]
        for variant, values in having
    ]  # fmt: skip
    pairs = [
        (a, b)
        for a, b in combinations([variant for variant, _ in having], 2)
        if a.first.family != b.first.family and a.first.prior == b.first.prior
    ]
    told = [Item(decided(a, b, samples, len(pairs))) for a, b in pairs]
    caption = f"Of held-back puzzles at {samples:,} examples per rule; lower is better."
    caption += f" Differences are corrected for {len(pairs)} pairs." if len(pairs) > 1 else ""
    table = Table(["model", "family", "nats per cell", "95% interval over runs", "kind", "runs"], rows, caption)
    return [table, *([Items(told)] if told else [])]


def _nats(variant: Variant, samples: int) -> list[float]:
    point = variant.points.get(samples)
    numbers = [result.numbers.get("nats_per_cell") for result in point.results] if point else []
    return [number.value for number in numbers if number]


def _is_bound(variant: Variant, samples: int) -> bool:
    numbers = [result.numbers.get("nats_per_cell") for result in variant.points[samples].results]
    return any(number.is_bound for number in numbers if number)


def decided(a: Variant, b: Variant, samples: int, num_pairs: int = 1) -> str:
    """A bound above another's exact value decides nothing, one below does; nor do two bounds.

    Of ``num_pairs`` that are compared, one is decided falsely in at most 5% of the trials.
    """
    values, bounds = [_nats(one, samples) for one in (a, b)], [_is_bound(one, samples) for one in (a, b)]
    pair = f"{a.label} and {b.label}"
    if all(bounds):
        return f"{pair}: two bounds decide nothing."
    gap = difference_of_values(values[0], values[1], 1 - (1 - CONFIDENCE) / num_pairs)
    if gap is None or min(map(len, values)) < MIN_REPEATS:
        return f"{pair}: no verdict, as it takes {MIN_REPEATS} repeats or more of each."
    a_is_lower = gap.sign < 0
    lower, (is_bound, higher_is_bound) = (a, bounds) if a_is_lower else (b, bounds[::-1])
    if not gap.sign:
        return f"{pair}: no sure difference ({gap})."
    if higher_is_bound:
        return f"{pair}: the bound lies above the other's exact value, which decides nothing."
    how = "even its bound lies below the other's exact value" if is_bound else "both are exact"
    return f"{pair}: {lower.label} has the higher likelihood; {how} (a difference of {gap})."
