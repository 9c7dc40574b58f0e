"""What a GenRAVEN puzzle is: attributes, value ranges, the 40 rules, the held-out splits.

Sizes: R = 3 rows, P = 3 panels a row, 9 cells a panel, 3 value attributes a cell.
Source of rules and splits: Wang, Shang & Sompolinsky 2024, arXiv 2411.07873.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from genraven.errors import InputError, shown, suggestion

Attribute = Literal["shape", "size", "color", "number", "position"]
Relation = Literal[
    "constant", "progression-2", "progression-1", "progression+1", "progression+2",
    "arithmetic+", "arithmetic-", "xor", "or", "and",
]  # fmt: skip

NUM_ROWS = NUM_PANELS = 3
NUM_CELLS = 9
GRID = 9  # a puzzle is a GRID x GRID picture of cells
TOKENS_PER_PUZZLE = GRID * GRID
EMPTY = -1

VALUE_ATTRIBUTES: tuple[Attribute, ...] = ("shape", "size", "color")
NUM_ATTRIBUTES = len(VALUE_ATTRIBUTES)
NUM_VALUES = (7, 10, 10)  # V of shape, size, color: values 0 .. V-1
UNION_LIMIT = (7, 9, 9)  # u: a logical rule needs |A or B| < u
NUM_STATES = 1 + NUM_VALUES[0] * NUM_VALUES[1] * NUM_VALUES[2]  # a cell's states: empty, or one object

SINGLETON_RELATIONS: tuple[Relation, ...] = (
    "constant", "progression-2", "progression-1", "progression+1", "progression+2", "arithmetic+", "arithmetic-",
)  # fmt: skip
LOGICAL_RELATIONS: tuple[Relation, ...] = ("xor", "or", "and")
RELATIONS: dict[Attribute, tuple[Relation, ...]] = {
    "shape": SINGLETON_RELATIONS + LOGICAL_RELATIONS,
    "size": SINGLETON_RELATIONS + LOGICAL_RELATIONS,
    "color": SINGLETON_RELATIONS + LOGICAL_RELATIONS,
    "number": SINGLETON_RELATIONS,
    "position": LOGICAL_RELATIONS,
}


@dataclass(frozen=True)
class Rule:
    """A relation on an attribute; ``id`` is its bit in a row mask."""

    id: int
    attribute: Attribute
    relation: Relation

    @property
    def name(self) -> str:
        """``attribute.relation``, such as ``shape.progression-2``."""
        return f"{self.attribute}.{self.relation}"


RULES: tuple[Rule, ...] = tuple(
    Rule(i, attribute, relation)
    for i, (attribute, relation) in enumerate((a, r) for a, relations in RELATIONS.items() for r in relations)
)
NUM_RULES = len(RULES)
RULE_ID: dict[str, int] = {rule.name: rule.id for rule in RULES}
FIRST_RULE: dict[Attribute, int] = {a: next(r.id for r in RULES if r.attribute == a) for a in RELATIONS}

HELD_OUT_SPLITS: dict[str, tuple[int, ...]] = {
    "split0": (1, 16, 20, 34, 37),
    "split1": (8, 12, 24, 36, 39),
    "split2": (5, 17, 21, 33, 38),
    "split3": (3, 10, 29, 31, 37),
    "split4": (0, 14, 27, 35, 38),
    "split5": (4, 19, 26, 30, 39),
    "split6": (9, 13, 25, 32, 37),
    "split7": (2, 18, 23, 30, 38),
    "split8": (7, 15, 22, 34, 39),
    "split9": (6, 11, 28, 33, 37),
}


def resolve_rules(rules: str | Iterable[int | str]) -> tuple[int, ...]:
    """Sorted rule ids named by ``rules``.

    Args:
        rules: a word or a list of them: ids (0-39), rule names (``position.xor``), attributes (``position``: all rules
            on it), splits (``split0``), ``all`` or ``none``.

    Raises:
        InputError: a name or id that is no rule.
    """
    named = [rules] if isinstance(rules, str) else list(rules)
    return tuple(sorted({id for rule in named for id in _rules_named(rule)}))


def _rules_named(rule: int | str) -> tuple[int, ...]:
    """The rules meant by one word or number."""
    text = str(rule)
    groups = {"all": tuple(range(NUM_RULES)), "none": (), **HELD_OUT_SPLITS}
    if text in groups:
        return groups[text]
    if text in RULE_ID:
        return (RULE_ID[text],)
    if text in RELATIONS:
        return tuple(r.id for r in RULES if r.attribute == text)
    if text.isdecimal() and int(text) < NUM_RULES:
        return (int(text),)
    hint = suggestion(repr(text), map(repr, [*RULE_ID, *RELATIONS, *groups]), "`genraven rules` lists them.")
    raise InputError(
        f"expected rules as ids 0-{NUM_RULES - 1}, names such as 'position.xor', an attribute or "
        f"'split0'..'split9'; got {shown(rule)}: {hint}"
    )


def split_rules(
    rules: str | Iterable[int | str], held_out: str | Iterable[int | str]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(trained, held out) rule ids.

    A group (``all``, an attribute, a split) in ``rules`` means those of its rules that are not held out; a rule that is
    *named* in both is an error.

    Raises:
        InputError: an unknown rule, a rule both trained and held out, or nothing left to train on.
    """
    held = resolve_rules(held_out)
    words = [rules] if isinstance(rules, str) else list(rules)
    named = {ids[0] for ids in map(_rules_named, words) if len(ids) == 1}
    both = [RULES[r].name for r in sorted(named) if r in held]
    trained = tuple(r for r in resolve_rules(words) if r not in held)
    if both:
        raise InputError(f"expected each rule to be trained or held out, got both for {', '.join(both)}: "
                         "remove them from data.rules or from data.held_out.")  # fmt: skip
    if not trained:
        raise InputError("expected at least one rule to train on, got an empty selection: name some in data.rules.")
    return trained, held
