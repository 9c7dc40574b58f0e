"""Rules, data, metrics, networks and samplers of GenRAVEN, which need no Lightning; and the door to what uses them.

``genraven.load`` opens a trained model, ``genraven.advise`` asks the committed studies. They are looked up when they
are first asked for, so that importing this package imports nothing else.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launch.advice.answer import Answer, advise
    from launch.trained.model import TrainedModel, load

__all__ = ["Answer", "TrainedModel", "advise", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        _check_own()
    if name in ("Answer", "advise"):
        from launch.advice import answer

        return getattr(answer, name)
    if name in ("TrainedModel", "load"):
        from launch.trained import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _check_own() -> None:
    """Raises InputError where Python would import something else by the name of a package of ours."""
    from genraven.errors import InputError
    from genraven.installation import others

    if found := others():
        raise InputError(f"expected genraven's own packages, got {found[0]}, which Python finds first by that name: "
                         "rename it, or run Python from another folder.")  # fmt: skip
