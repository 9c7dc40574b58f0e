"""What a GenRAVEN puzzle is: attributes, value ranges, the rules, the held-out splits.

Sizes: R = 3 rows, P = 3 panels a row, 9 cells a panel, 3 value attributes a cell.
Source of rules and splits: Wang, Shang & Sompolinsky 2024, arXiv 2411.07873.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from genraven.errors import InputError, shown, suggestion

Attribute = Literal["shape", "size", "color", "number", "position"]
Relation = str
"""``constant``, ``xor`` and so on; ``instances.py`` defines each."""

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

RULE_IDS: dict[Attribute, dict[Relation, int]] = {
    "shape": {
        "constant": 0, "progression-2": 1, "progression-1": 2, "progression+1": 3, "progression+2": 4,
        "arithmetic+": 5, "arithmetic-": 6, "xor": 7, "or": 8, "and": 9,
    },
    "size": {
        "constant": 10, "progression-2": 11, "progression-1": 12, "progression+1": 13, "progression+2": 14,
        "arithmetic+": 15, "arithmetic-": 16, "xor": 17, "or": 18, "and": 19,
    },
    "color": {
        "constant": 20, "progression-2": 21, "progression-1": 22, "progression+1": 23, "progression+2": 24,
        "arithmetic+": 25, "arithmetic-": 26, "xor": 27, "or": 28, "and": 29,
    },
    "number": {
        "constant": 30, "progression-2": 31, "progression-1": 32, "progression+1": 33, "progression+2": 34,
        "arithmetic+": 35, "arithmetic-": 36,
    },
    "position": {"xor": 37, "or": 38, "and": 39},
}  # fmt: skip
"""The table of rules. A new one takes the next free id, on any attribute, and no other ever changes its own: an id
names the stream of its rule's puzzles, its bit in masks and its label."""

NUM_STUDY_RULES = 40
"""The rules of the study have the ids below this: those of its splits and of its published files."""
_MOST_RULES = 63  # bits of a mask


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
    sorted((Rule(i, a, r) for a, ids in RULE_IDS.items() for r, i in ids.items()), key=lambda rule: rule.id)
)
"""The rule of id k stands at place k."""
NUM_RULES = len(RULES)
assert [rule.id for rule in RULES] == list(range(NUM_RULES)), "an id is missing, or given twice"
assert NUM_STUDY_RULES <= NUM_RULES <= _MOST_RULES, "masks of rules are 64-bit integers"
RELATIONS: dict[Attribute, tuple[Relation, ...]] = {
    a: tuple(rule.relation for rule in RULES if rule.attribute == a) for a in RULE_IDS
}
"""On each attribute, in the order of their ids."""
RULE_ID: dict[str, int] = {rule.name: rule.id for rule in RULES}

_HELD_OUT = {
    "split0": "shape.progression-2 size.arithmetic- color.constant number.progression+2 position.xor",
    "split1": "shape.or size.progression-1 color.progression+2 number.arithmetic- position.and",
    "split2": "shape.arithmetic+ size.xor color.progression-2 number.progression+1 position.or",
    "split3": "shape.progression+1 size.constant color.and number.progression-2 position.xor",
    "split4": "shape.constant size.progression+2 color.xor number.arithmetic+ position.or",
    "split5": "shape.progression+2 size.and color.arithmetic- number.constant position.and",
    "split6": "shape.and size.progression+1 color.arithmetic+ number.progression-1 position.xor",
    "split7": "shape.progression-1 size.or color.progression+1 number.constant position.or",
    "split8": "shape.xor size.arithmetic+ color.progression-1 number.progression+2 position.and",
    "split9": "shape.arithmetic- size.progression-2 color.or number.progression+1 position.xor",
}
HELD_OUT_SPLITS: dict[str, tuple[int, ...]] = {
    split: tuple(RULE_ID[name] for name in names.split()) for split, names in _HELD_OUT.items()
}


def known_with(rule: int) -> int:
    """How many rules there were when ``rule`` was added, itself included; those of the study came together.

    Its puzzles are made, and corrupted, as if there were no others, so that a rule that is added later changes none.
    """
    return max(rule + 1, NUM_STUDY_RULES)


def stream_of(rule: int) -> int:
    """The number that names the draws of a rule's puzzles; -1 stands for puzzles without a rule.

    Those have had the number after the study's rules before any other rule was added.
    """
    if rule < 0:
        return NUM_STUDY_RULES
    return rule if rule < NUM_STUDY_RULES else rule + 1


def resolve_rules(rules: str | Iterable[int | str], num_grouped: int = NUM_RULES) -> tuple[int, ...]:
    """Sorted rule ids named by ``rules``.

    Args:
        rules: a word or a list of them: ids, rule names (``position.xor``), attributes (``position``: all rules on it),
            splits (``split0``), ``study`` (its 40 rules), ``all`` or ``none``.
        num_grouped: only rules with ids below this are in ``all`` and of an attribute.

    Raises:
        InputError: a name or id that is no rule.
    """
    named = [rules] if isinstance(rules, str) else list(rules)
    return tuple(sorted({id for rule in named for id in _rules_named(rule, num_grouped)}))


def rules_in_file(rules: str | Sequence[int | str], held_out: str | Sequence[int | str]) -> str | Sequence[int | str]:
    """``rules`` as the files of a run have them, where ``all`` and attributes stand for the study's rules.

    They are as they were, or where that would be other rules a list of names, without those of ``held_out``: a rule
    that is added later is none of them.
    """
    return _in_other_words(rules, held_out, NUM_RULES, NUM_STUDY_RULES)


def rules_of_file(rules: str | Sequence[int | str], held_out: str | Sequence[int | str]) -> str | Sequence[int | str]:
    """What ``rules`` in the files of a run mean, in words of this version; ``held_out`` as in ``rules_in_file``."""
    return _in_other_words(rules, held_out, NUM_STUDY_RULES, NUM_RULES)


def _in_other_words(rules: Any, held_out: Any, known: int, others_know: int) -> Any:
    ids = resolve_rules(rules, known)
    if ids == resolve_rules(rules, others_know):
        return rules
    return [RULES[rule].name for rule in ids if rule not in resolve_rules(held_out, known)]


def _rules_named(rule: int | str, num_grouped: int = NUM_RULES) -> tuple[int, ...]:
    """The rules meant by one word or number."""
    text = str(rule)
    groups = {
        "all": tuple(range(num_grouped)), "study": tuple(range(NUM_STUDY_RULES)), "none": (), **HELD_OUT_SPLITS
    }  # fmt: skip
    if text in groups:
        return groups[text]
    if text in RULE_ID:
        return (RULE_ID[text],)
    if text in RULE_IDS:
        return tuple(r.id for r in RULES[:num_grouped] if r.attribute == text)
    if text.isdecimal() and int(text) < NUM_RULES:
        return (int(text),)
    hint = suggestion(repr(text), map(repr, [*RULE_ID, *RULE_IDS, *groups]), "`genraven rules` lists them.")
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
