"""What a network is given of puzzles before it learns: results of different priors are no contest of families."""

from typing import Literal, get_args

from genraven.errors import InputError

Prior = Literal["general", "structured"]
GENERAL: Prior = "general"
STRUCTURED: Prior = "structured"
"""Of a network that is given, for each panel, the five sets of attribute values that a rule speaks of."""


def prior_of(network: object) -> Prior:
    """The attribute ``prior`` of a network; ``general`` where it has none.

    Raises:
        InputError: it is neither ``general`` nor ``structured``.
    """
    prior = getattr(network, "prior", GENERAL)
    if prior not in get_args(Prior):
        raise InputError(f"expected the prior of {type(network).__name__} to be {' or '.join(get_args(Prior))}, got "
                         f"{prior!r}: mend its attribute prior, or leave that out.")  # fmt: skip
    found: Prior = prior
    return found


def prior_by_name(network: str) -> Prior:
    """Of a network by the name of its class, for runs that are older than the note of it."""
    return STRUCTURED if network.rpartition(".")[2].lower().startswith("relational") else GENERAL
