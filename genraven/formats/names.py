"""What names of files say: the rule of one in a folder of many, the split whose rules one leaves out."""

import re
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from genraven.errors import InputError
from genraven.formats.puzzles import UNKNOWN_RULE, Part
from genraven.puzzles.rules import row_rules, rule_bits, shared_rules
from genraven.puzzles.spec import HELD_OUT_SPLITS, NUM_RULES, NUM_STUDY_RULES, RELATIONS, RULES

_SPLIT_NAME = re.compile(r"split\d+(?!\d)")
_MARGIN = 0.05  # by which one split fits better than all others; 0.1 and more where nothing is corrupted
_LOOKED_AT = 32  # puzzles of each rule that tell which split a file leaves out
_STUDY_RELATIONS = (
    "constant", "progression-2", "progression-1", "progression+1", "progression+2", "arithmetic+", "arithmetic-",
    "xor", "or", "and",
)  # fmt: skip
"""In the order in which its files number them."""


def rule_stem(rule: int) -> str:
    """The name, without its end, of a rule's file in a folder: ``4_7`` for the xor of positions.

    A rule beside the study's has its own name.
    """
    if rule >= NUM_STUDY_RULES:
        return RULES[rule].name
    attribute, relation = RULES[rule].attribute, RULES[rule].relation
    return f"{list(RELATIONS).index(attribute)}_{_STUDY_RELATIONS.index(relation)}"


def rule_in_name(path: Path) -> int | None:
    """The rule whose ``rule_stem`` a file has, which says something within a folder of such files alone."""
    return next((rule for rule in range(NUM_RULES) if rule_stem(rule) == path.stem), None)


def check_rule(rule: int, part: Part) -> None:
    """Raises InputError where most puzzles of ``part``, which is said to be of ``rule``, clearly are of another."""
    chunk = part.look(slice(0, _LOOKED_AT))
    whole = ~chunk.bad if chunk.known is None else ~chunk.bad & chunk.known.flatten(1).all(1)
    fractions = rule_bits(shared_rules(row_rules(chunk.puzzles[whole]))).double().mean(0)
    best = int(fractions.argmax()) if len(fractions) and whole.any() else rule
    if fractions[best] - fractions[rule] > _MARGIN and fractions[best] > 0.5:
        raise InputError(f"expected the puzzles of {part.where} to follow {RULES[rule].name}, as the file's name says, "
                         f"got puzzles that follow {RULES[best].name}: rename the file, or give its own path instead "
                         "of the folder's.")  # fmt: skip


def kept_rules(split: str) -> list[int]:
    """The rules of the study that ``split`` does not hold out."""
    return [rule for rule in range(NUM_STUDY_RULES) if rule not in HELD_OUT_SPLITS[split]]


def split_named(path: Path) -> str | None:
    """The split in the name of a file.

    Raises:
        InputError: the name has one that there is not.
    """
    named = _SPLIT_NAME.findall(path.stem)
    if not named:
        return None
    return _known_split(named[-1], f"in the name of {path}")


def _known_split(split: str, where: str) -> str:
    if split not in HELD_OUT_SPLITS:
        raise InputError(f"expected a split, split0 to split{len(HELD_OUT_SPLITS) - 1}, got {split!r} {where}: "
                         "`genraven rules` lists them.")  # fmt: skip
    return split


def split_of(path: Path, cells: NDArray[Any], stated: str | None) -> str:
    """The split whose rules are left out of ``cells`` (35, rows, 3, 9, 3): ``stated``, or of the name or the puzzles.

    Raises:
        InputError: it is not stated, and the puzzles do not show it; or they show another one.
    """
    stated = _known_split(stated, "as the split") if stated is not None else split_named(path)
    fits = _fits(cells)
    best = max(fits, key=lambda split: fits[split])
    clear = fits[best] - max(fraction for split, fraction in fits.items() if split != best) > _MARGIN
    if stated is None and not clear:
        raise InputError(f"expected a split in the name of {path}, because its puzzles do not show which rules are "
                         "left out, got none: name the file ..._split0, or give the split.")  # fmt: skip
    if stated is not None and clear and best != stated:
        raise InputError(f"expected the puzzles of {path} to follow the rules that {stated} leaves in, got puzzles of "
                         f"{best}: rename the file, or give the right split.")  # fmt: skip
    return stated or best


def _fits(cells: NDArray[Any]) -> dict[str, float]:
    """For each split the fraction of some puzzles that follow the rule that is theirs if it is the one left out."""
    parts = [Part(rows, UNKNOWN_RULE, "") for rows in cells]
    masks = [shared_rules(row_rules(part.look(slice(0, _LOOKED_AT)).puzzles)) for part in parts]
    return {
        split: float(
            torch.cat([m >> rule & 1 for m, rule in zip(masks, kept_rules(split), strict=True)]).double().mean()
        )
        for split in HELD_OUT_SPLITS
    }
