"""Blocks of puzzles that are made once in a process: most runs of the tests are scored on the same few puzzles, and a
block of 2,048 is made for a single one of them, too.
"""

from functools import lru_cache
from typing import Any

from genraven.puzzles import generate
from genraven.puzzles.spec import Rule

_made = generate._block


@lru_cache(maxsize=128)  # of half a megabyte each
def _kept(rule: Rule, *key: Any) -> Any:
    return _made(*key)


def block(rule: int, *key: Any) -> Any:
    """What stands in for ``generate._block``."""
    return _kept(generate.RULES[rule], rule, *key)
