"""What each kind of logger can hold besides scalars; and under which id a service knows a run that goes on.

A logger of another kind takes part by registering what it can: ``show_picture.register``, ``show_text.register``.
"""

import json
from functools import singledispatch
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from PIL import Image

from genraven.files import appears_whole
from genraven.run_folder import RunFiles, read_json

IDS: dict[type[Logger], str] = {WandbLogger: "id", MLFlowLogger: "run_id"}
"""The argument by which a logger goes on with a run of its service, where it has one."""


@singledispatch
def show_picture(logger: Logger, name: str, picture: Image.Image, step: int) -> None:
    """Logs ``picture`` where ``logger`` can hold one."""


@show_picture.register
def _(logger: TensorBoardLogger, name: str, picture: Image.Image, step: int) -> None:
    logger.experiment.add_image(name, np.asarray(picture), step, dataformats="HWC")


@show_picture.register
def _(logger: WandbLogger, name: str, picture: Image.Image, step: int) -> None:
    logger.log_image(name, [picture], step)


@show_picture.register
def _(logger: MLFlowLogger, name: str, picture: Image.Image, step: int) -> None:
    logger.experiment.log_image(logger.run_id, picture, key=name, step=step)


@singledispatch
def show_text(logger: Logger, name: str, text: str, step: int) -> None:
    """Logs ``text``, Markdown, where ``logger`` can hold one."""


@show_text.register
def _(logger: TensorBoardLogger, name: str, text: str, step: int) -> None:
    logger.experiment.add_text(name, text, step)


@show_text.register
def _(logger: WandbLogger, name: str, text: str, step: int) -> None:
    logger.log_text(name, columns=["step", name], data=[[str(step), text]], step=step)


@show_text.register
def _(logger: MLFlowLogger, name: str, text: str, step: int) -> None:
    logger.experiment.set_tag(logger.run_id, name, text)


def holds_pictures(trainer: L.Trainer) -> bool:
    """Can a logger of this process hold pictures?"""
    nothing = show_picture.dispatch(object)
    return trainer.is_global_zero and any(show_picture.dispatch(type(it)) is not nothing for it in trainer.loggers)


def noted_ids(folder: Path) -> dict[str, str]:
    """The ids under which services know the run in ``folder``, by the name of the logger's class."""
    return {name: text for name, text in read_json(RunFiles(folder).logger_ids).items() if isinstance(text, str)}


class LoggerIds(L.Callback):
    """Notes the ids under which services know a run, so that it goes on as the same one there.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes them, where there are any."""
        if not trainer.is_global_zero:
            return
        ids = {type(logger).__name__: str(logger.version) for logger in trainer.loggers if type(logger) in IDS}
        if ids:
            with appears_whole(RunFiles(self.folder).logger_ids) as temporary:
                temporary.write_text(json.dumps(noted_ids(self.folder) | ids, indent=2) + "\n")
