"""Ranges of what networks are built with."""

import math

from genraven.errors import InputError, check_fraction, check_whole


def check_ranges(
    *, dropout: float = 0.0, num_labels: int = 0, mixing: int = 0, set_weight: float = 0.0, **sizes: int
) -> None:
    """Raises InputError at the first of ``sizes``, by their names, that is no whole number or below 1; at a negative
    number of labels or of blocks; at a dropout that is not from 0 to below 1; and at a weight below 0 or not finite.
    """
    least_of = {"depth": 0, "num_labels": 0, "mixing": 0}
    for name, value in {**sizes, "num_labels": num_labels, "mixing": mixing}.items():
        check_whole(name, value, least_of.get(name, 1))
    check_fraction("dropout", dropout, below=1)
    if not 0 <= set_weight < math.inf:
        raise InputError(f"expected set_weight of 0 or more, got {set_weight}: 0 leaves the second target out.")
