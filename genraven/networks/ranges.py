"""Ranges of what networks are built with."""

from genraven.errors import check_fraction, check_whole


def check_ranges(*, dropout: float = 0.0, num_labels: int = 0, mixing: int = 0, **sizes: int) -> None:
    """Raises InputError at the first of ``sizes``, by their names, that is no whole number or below 1; at a negative
    number of labels or of blocks; and at a dropout that is not from 0 to below 1.
    """
    least_of = {"depth": 0, "num_labels": 0, "mixing": 0}
    for name, value in {**sizes, "num_labels": num_labels, "mixing": mixing}.items():
        check_whole(name, value, least_of.get(name, 1))
    check_fraction("dropout", dropout, below=1)
