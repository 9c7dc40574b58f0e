"""The page's part on likelihoods, and what they decide."""

from collections.abc import Sequence
from itertools import combinations

from genraven.metrics.intervals import CONFIDENCE
from genraven.report.english import DASH, headings, sentence, shown
from genraven.report.page import Block, Item, Items, Table
from genraven.report.points import Variant
from genraven.report.quality import mean
from genraven.report.statistics import MIN_REPEATS, difference_of_values, of_values


def likelihood(variants: Sequence[Variant], samples: int) -> list[Block]:
    """Nats per cell of each model, and what they decide between families."""
    having = [(variant, _nats(variant, samples)) for variant in variants]
    having = [(variant, values) for variant, values in having if values]
    if not having:
        return []
    rows = [
        [variant.label, variant.first.family or DASH, f"{mean(values):.4f}", shown(of_values(values)),
         sentence("likelihood_kind", is_bound=_is_bound(variant, samples)), str(len(values))]
        for variant, values in having
    ]  # fmt: skip
    pairs = [
        (a, b)
        for a, b in combinations([variant for variant, _ in having], 2)
        if a.first.family != b.first.family and a.first.prior == b.first.prior
    ]
    texts = [Item(decided(a, b, samples, len(pairs))) for a, b in pairs]
    caption = sentence("likelihood", samples=samples, num_pairs=len(pairs))
    return [Table(headings("likelihood"), rows, caption), *([Items(texts)] if texts else [])]


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
    gap = difference_of_values(values[0], values[1], 1 - (1 - CONFIDENCE) / num_pairs)
    lower, (is_bound, higher_is_bound) = (a, bounds) if gap and gap.sign < 0 else (b, bounds[::-1])
    if all(bounds):
        decision = "bounds"
    elif gap is None or min(map(len, values)) < MIN_REPEATS:
        decision = "few"
    elif not gap.sign:
        decision = "unsure"
    elif higher_is_bound:
        decision = "above"
    else:
        decision = "below" if is_bound else "exact"
    return sentence("likelihoods", first=a.label, second=b.label, decision=decision, gap=gap, lower=lower.label,
                    min_repeats=MIN_REPEATS)  # fmt: skip
