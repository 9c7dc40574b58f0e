import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genraven.metrics.consistency import RuleConsistency
from genraven.metrics.rates import entropy_bits
from genraven.puzzles.generate import generate

RowRules = Callable[[Tensor], list[set[int]]]


def test_equals_sets_of_rules(mixed: tuple[Tensor, Tensor], row_rule_sets: RowRules) -> None:
    puzzles = mixed[0]
    c3 = c2 = valid = 0
    per_rule: Counter[int] = Counter()
    for puzzle in puzzles:
        a, b, c = row_rule_sets(puzzle)
        shared = a & b & c
        c3 += bool(shared)
        c2 += bool(((a & b) | (a & c) | (b & c)) - shared)
        valid += sum(map(bool, (a, b, c)))
        per_rule.update(shared)
    assert 0 < c2 < c3 < len(puzzles)  # the puzzles say something

    metric = RuleConsistency()
    metric.update(puzzles)
    result = metric.compute()
    n = len(puzzles)
    counts = {name: (int(rate.hits), int(rate.total)) for name, rate in result["rates"].items()}
    assert counts == {"c3": (c3, n), "c2": (c2, n), "any_valid": (valid, 3 * n)}
    assert result["per_rule"].hits.tolist() == [per_rule[k] for k in range(40)]
    assert result["per_rule"].total.tolist() == [n] * 40
    total = sum(per_rule.values())
    bits = -sum(m / total * math.log2(m / total) for m in per_rule.values())
    assert result["entropy"].item() == pytest.approx(bits, abs=1e-12)


def test_batches_of_different_sizes_count_as_one(mixed: tuple[Tensor, Tensor]) -> None:
    whole, parts = RuleConsistency(), RuleConsistency()
    whole.update(mixed[0])
    for part in mixed[0].split([1, 7, 300, len(mixed[0]) - 308]):
        parts.update(part)
    for name in ("c3", "c2", "valid_rows", "valid_rows_squared", "num_puzzles", "c3_per_rule"):
        assert torch.equal(getattr(whole, name), getattr(parts, name)), name


def test_the_interval_of_valid_rows_is_over_puzzles() -> None:
    """Each puzzle has three valid rows or none."""
    metric = RuleConsistency()
    metric.update(torch.cat([generate(3, 0, 40), torch.full((60, 3, 9, 9), -1, dtype=torch.int8)]))
    rate = metric.compute()["rates"]["any_valid"]
    assert (rate.value.item(), int(rate.total), rate.effective_total.item()) == (0.4, 300, pytest.approx(100))


def test_a_batch_of_none_counts_nothing() -> None:
    metric = RuleConsistency()
    metric.update(torch.empty(0, 3, 9, 9, dtype=torch.int8))
    assert int(metric.num_puzzles) == 0


def test_a_score_taken_stays_when_more_is_counted() -> None:
    metric = RuleConsistency()
    metric.update(generate(3, 0, 5))
    early = metric.compute()
    metric.update(generate(4, 0, 5))
    assert int(early["rates"]["c3"].hits) == 5
    assert early["per_rule"].hits[[3, 4]].tolist() == [5, 0]
    assert int(metric.compute()["rates"]["c3"].hits) == 10


def test_entropy_of_all_rules_equally_and_of_nothing() -> None:
    assert entropy_bits(torch.full((40,), 3)).item() == pytest.approx(math.log2(40))
    assert entropy_bits(torch.zeros(40, dtype=torch.int64)).item() == 0
