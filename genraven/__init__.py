"""Rules, data, metrics, networks and samplers of GenRAVEN, which need no Lightning; and the door to trained models.

``genraven.load`` opens a trained model. It is looked up when it is first asked for, so that importing this package
imports nothing else.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launch.trained.model import TrainedModel, load

__all__ = ["TrainedModel", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from launch.trained import model

    return getattr(model, name)
