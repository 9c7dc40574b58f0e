from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genraven.formats.puzzles import UNKNOWN_RULE
from genraven.metrics.completion import PanelCompletion, rule_holds
from genraven.puzzles.generate import generate

TRAINED = tuple(range(0, 40, 3))


def test_equals_sets_of_rules(mixed: tuple[Tensor, Tensor], row_rule_sets: Callable[[Tensor], list[set[int]]]) -> None:
    puzzles, rules = mixed
    correct = [rule in row_rule_sets(puzzle)[2] for puzzle, rule in zip(puzzles, rules.tolist(), strict=True)]
    assert 0.1 < sum(correct) / len(correct) < 0.9
    assert rule_holds(puzzles, rules).tolist() == correct

    metric = PanelCompletion(TRAINED)
    for part, names in zip(puzzles.split(97), rules.split(97), strict=True):
        metric.update(part, names)
    result = metric.compute()
    pairs = list(zip(rules.tolist(), correct, strict=True))
    groups = {
        "completion": pairs,
        "completion_trained": [(rule, right) for rule, right in pairs if rule in TRAINED],
        "completion_held_out": [(rule, right) for rule, right in pairs if rule not in TRAINED],
    }
    expected = {name: (sum(right for _, right in group), len(group)) for name, group in groups.items()}
    assert {name: (int(r.hits), int(r.total)) for name, r in result["rates"].items()} == expected
    for k in range(40):
        of_rule = [right for rule, right in pairs if rule == k]
        assert (int(result["per_rule"].hits[k]), int(result["per_rule"].total[k])) == (sum(of_rule), len(of_rule))


@pytest.mark.parametrize(
    ("trained", "counted", "names"),
    [
        (range(40), [5], {"completion", "completion_trained"}),
        ((), [5], {"completion", "completion_held_out"}),
        ((5,), [5, 6], {"completion", "completion_trained", "completion_held_out"}),
    ],
)
def test_groups_that_nothing_counted_for_are_absent(trained: range, counted: list[int], names: set[str]) -> None:
    metric = PanelCompletion(trained)
    for rule in counted:
        metric.update(generate(rule, 0, 2), torch.full((2,), rule))
    assert set(metric.compute()["rates"]) == names


@pytest.mark.parametrize("rows", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("is_known", [True, False])
def test_each_row_that_was_written_in_has_to_obey(
    rows: tuple[int, ...],
    is_known: bool,
    mixed: tuple[Tensor, Tensor],
    row_rule_sets: Callable[[Tensor], list[set[int]]],
) -> None:
    """One open cell makes a row a written one. An unknown rule is one of those that all given rows share."""
    puzzles, rules = mixed
    mask = torch.zeros(9, 9, dtype=torch.bool)
    mask[[3 * row + 1 for row in rows], 4] = True
    found = rule_holds(puzzles, rules if is_known else torch.full_like(rules, UNKNOWN_RULE), mask)
    for puzzle, rule, right in zip(puzzles, rules.tolist(), found.tolist(), strict=True):
        sets = row_rule_sets(puzzle)
        asked = {rule} if is_known else set(range(40)).intersection(*(sets[r] for r in range(3) if r not in rows))
        assert right == bool(asked.intersection(*(sets[r] for r in rows)))
    if rows == (2,):
        assert torch.equal(found, rule_holds(puzzles, rules if is_known else torch.full_like(rules, UNKNOWN_RULE)))


def test_a_puzzle_whose_rule_is_unknown_is_asked_for_what_its_first_rows_share(
    mixed: tuple[Tensor, Tensor], row_rule_sets: Callable[[Tensor], list[set[int]]]
) -> None:
    puzzles, rules = mixed
    unknown = rules.masked_fill(torch.arange(len(rules)) % 2 == 0, UNKNOWN_RULE)
    sets = [row_rule_sets(puzzle) for puzzle in puzzles]
    shared = [first & second for first, second, _ in sets]
    asked = [
        (s if rule < 0 else {rule}, last) for s, rule, (_, _, last) in zip(shared, unknown.tolist(), sets, strict=True)
    ]
    assert rule_holds(puzzles, unknown).tolist() == [bool(these & last) for these, last in asked]
    pairs = [(rule, bool(these & last)) for rule, (these, last) in zip(unknown.tolist(), asked, strict=True) if these]
    assert any(rule < 0 for rule, _ in pairs) and len(pairs) < len(rules)

    metric = PanelCompletion(TRAINED)
    metric.update(puzzles, unknown)
    result = metric.compute()
    expected = {
        "completion": [right for _, right in pairs],
        "completion_trained": [right for rule, right in pairs if rule in TRAINED],
        "completion_held_out": [right for rule, right in pairs if rule >= 0 and rule not in TRAINED],
    }
    counted = {name: (int(r.hits), int(r.total)) for name, r in result["rates"].items()}
    assert counted == {name: (sum(rights), len(rights)) for name, rights in expected.items()}
    assert result["per_rule"].total.shape == (40,)
    assert int(result["per_rule"].total.sum()) == sum(rule >= 0 for rule, _ in pairs)
