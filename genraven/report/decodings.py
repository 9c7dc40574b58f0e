"""Ways of sampling, in words."""

from collections.abc import Mapping
from typing import Any

COMPLETION = "completion_"


def written_out(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """``sampling`` with what completion has from generation: a ``completion_order`` of null is the ``order``."""
    return {
        name: sampling.get(name.removeprefix(COMPLETION)) if value is None and name.startswith(COMPLETION) else value
        for name, value in sampling.items()
    }
