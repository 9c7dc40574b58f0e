"""Digests that stand in files, and what they tell."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

NO_KEY = ("a digest that fits tells that a file is as it was written, not who wrote it: it has no key, so that whoever "
          "changes a file on purpose can write a digest that fits")  # fmt: skip


def digest(body: Mapping[str, Any], before: str = "") -> str:
    """64 hex digits of plain values, and of the digest of what stands ``before`` them."""
    return hashlib.sha256((before + json.dumps(body, sort_keys=True)).encode()).hexdigest()


def changed(what: str, again: str) -> str:
    """The error of a file that its digest does not fit.

    Args:
        what: names it.
        again: the command that writes it.
    """
    return (f"expected {what} as it was written, got content that its digest does not fit (damaged or edited): "
            f"run {again} again ({NO_KEY}).")  # fmt: skip
