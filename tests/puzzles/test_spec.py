"""The 40 rules and their names; which selections of rules are understood, and how the others are refused."""

from collections.abc import Iterable

import pytest

from genraven.errors import InputError
from genraven.puzzles import spec
from genraven.puzzles.spec import RULE_ID, RULES, resolve_rules, split_rules

TEN = (
    "constant", "progression-2", "progression-1", "progression+1", "progression+2", "arithmetic+", "arithmetic-",
    "xor", "or", "and",
)  # fmt: skip
NAMES = [f"{attribute}.{relation}" for attribute in ("shape", "size", "color") for relation in TEN]
NAMES += [f"number.{relation}" for relation in TEN[:7]] + [f"position.{relation}" for relation in TEN[7:]]
SPLIT0 = ["shape.progression-2", "size.arithmetic-", "color.constant", "number.progression+2", "position.xor"]


def error_of(rules: Iterable[int | str]) -> str:
    with pytest.raises(InputError) as caught:
        resolve_rules(rules)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_rules_stand_in_the_order_of_the_definition() -> None:
    assert len(RULES) == spec.NUM_RULES == 40
    assert [rule.name for rule in RULES] == NAMES
    assert [rule.id for rule in RULES] == list(range(40))
    assert {name: NAMES.index(name) for name in NAMES} == RULE_ID


def test_sizes() -> None:
    assert spec.NUM_VALUES == (7, 10, 10)
    assert spec.UNION_LIMIT == (7, 9, 9)
    assert spec.NUM_STATES == 701
    assert spec.TOKENS_PER_PUZZLE == 81


def test_held_out_splits_are_those_of_the_study() -> None:
    text = """0: 1 16 20 34 37; 1: 8 12 24 36 39; 2: 5 17 21 33 38; 3: 3 10 29 31 37; 4: 0 14 27 35 38;
        5: 4 19 26 30 39; 6: 9 13 25 32 37; 7: 2 18 23 30 38; 8: 7 15 22 34 39; 9: 6 11 28 33 37"""
    published = {f"split{k.strip()}": tuple(map(int, v.split())) for k, v in (s.split(":") for s in text.split(";"))}
    assert published == spec.HELD_OUT_SPLITS
    assert [RULES[i].name for i in spec.HELD_OUT_SPLITS["split0"]] == SPLIT0


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_is_named_alone_in_a_list_by_id_or_by_its_digits(name: str) -> None:
    rule = RULE_ID[name]
    for written in (name, [name], [rule], [str(rule)], str(rule), (name, rule)):
        assert resolve_rules(written) == (rule,)


def test_selections() -> None:
    assert resolve_rules("all") == tuple(range(40))
    assert resolve_rules("none") == resolve_rules([]) == ()
    assert resolve_rules("split0") == tuple(RULE_ID[name] for name in SPLIT0)
    assert resolve_rules("position") == tuple(RULE_ID[name] for name in NAMES[37:])
    mixed = resolve_rules(["position", RULE_ID["size.or"], "shape.constant", "position.xor"])
    assert mixed == tuple(RULE_ID[name] for name in ("shape.constant", "size.or", *NAMES[37:]))


@pytest.mark.parametrize(
    ("wrong", "suggested"),
    [("shape.constnat", "shape.constant"), ("positon", "position"), ("split11", "split1"), ("colour.xor", "color.xor")],
)
def test_a_misspelt_rule_gets_the_nearest_name(wrong: str, suggested: str) -> None:
    message = error_of(wrong)
    assert f"got {wrong!r}" in message
    assert f"did you mean {suggested!r}?" in message


@pytest.mark.parametrize("wrong", [40, -1, "40", True, 1.5, "", "qqqqqq"])
def test_what_is_no_rule_is_named_in_the_error(wrong: int | str) -> None:
    assert repr(int(wrong) if wrong == "40" else wrong) in error_of(["shape.constant", wrong])


def test_all_trains_on_what_is_not_held_out() -> None:
    trained, held = split_rules("all", "split0")
    assert held == spec.HELD_OUT_SPLITS["split0"]
    assert sorted(trained + held) == list(range(40))
    assert len(trained) == 35
    assert split_rules("all", "none") == (tuple(range(40)), ())
    assert split_rules(["shape"], "position.or") == (tuple(range(10)), (RULE_ID["position.or"],))


def test_a_rule_named_in_both_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match="both for position.xor, position.and") as caught:
        split_rules(["shape", "position.xor", "position.and"], "position")
    assert "shape.constant" not in str(caught.value)


@pytest.mark.parametrize(("rules", "held_out"), [("none", "split0"), ([], "none"), ("all", "all")])
def test_nothing_to_train_on_is_an_error(rules: str, held_out: str) -> None:
    with pytest.raises(InputError, match="at least one rule to train on"):
        split_rules(rules, held_out)
