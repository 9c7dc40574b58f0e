"""What the config of a run means: which run it is, and the model and data that it builds."""

import hashlib
import inspect
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from torch import Tensor

from datamodules import GenRAVENDataModule
from genraven.errors import InputError, shown
from genraven.paths import user_path
from launch.configs.amounts import check_numbers, no_more_than, without_places
from launch.configs.changes import PLACES, fixed_trainer, may_change, whole_names
from launch.configs.registry import check_config, classes, only_classes
from launch.configs.rule_words import as_ids
from launch.configs.upgrade import upgraded
from launch.errors import input_error
from lightning_modules import PuzzleModule

SCHEMA = ("model", "data")
SEED, SOURCE, DIGEST = "seed_everything", "data.source", "data.source_sha256"
MAX_REASON = 1000  # characters of a parser's or a constructor's complaint


def config_hash(config: dict[str, Any]) -> str:
    """12 hex digits that tell runs apart whose weights differ by more than the rounding of their devices."""
    return hashlib.sha256(json.dumps(_distinguishing(config), sort_keys=True).encode()).hexdigest()[:12]


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """The parts of a config that make a run another one, where they are given: all but what may change."""
    parts = {part: value for part, value in config.items() if value is not None and not may_change(part)}
    return parts | ({"trainer": fixed_trainer(parts["trainer"])} if "trainer" in parts else {})


def _distinguishing(config: dict[str, Any]) -> dict[str, Any]:
    """The options that tell a run from others, by their whole names."""
    options = whole_names(identity(config))
    places = (*PLACES, SOURCE) if options.get(DIGEST) else PLACES  # what a file holds, not where it lies
    kept = {name: value for name, value in options.items() if name not in places}
    return {name: value for name, value in kept.items() if value is not None or not name.startswith("trainer.")}


def refuse_other(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raises InputError at the first difference of identity between the config of ``path`` and that given.

    An option that ``path`` is too old to know has the default that it has now; the seed of its weights, what its source
    held, and options of the trainer that it does not note, are taken to be those given.
    """
    for key, old, new in _differences(before, now):
        raise InputError(
            f"expected {path} to be of this config, got a run with {key} {shown(old)} instead of {shown(new)}: choose "
            "another --run_dir, or give the old config to go on with that run."
        )


def is_same_run(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Is the run of ``before`` that of ``now``, as ``refuse_other`` tells?"""
    old, new = _distinguishing(_with_notes(before, now)), _distinguishing(now)
    if any(old[name] != new[name] for name in old.keys() & new.keys()):
        return False  # without defaults, for which a parser is built: one of many runs is looked for
    return not _differences(before, now)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """The options that tell the two runs apart, by name, each with both values."""
    before = _with_notes(before, now)
    if _distinguishing(before) == _distinguishing(now):
        return []
    with suppress(InputError):  # one that is not known today: then all is compared as it was written
        before, now = with_defaults(before), with_defaults(now)
    old, new = _distinguishing(before), _distinguishing(now)
    same = as_ids(old), as_ids(new)
    names = sorted(name for name in old.keys() | new.keys() if same[0].get(name) != same[1].get(name))
    return [(name, old.get(name), new.get(name)) for name in names]


def _with_notes(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """``before`` with what runs did not note once: the seed of the weights, place and contents of the source, trainer.

    A precision that is not given is that of the run.
    """
    noted = {SEED: now.get(SEED)} | before
    trainer, given = (config.get("trainer") or {} for config in (before, now))
    noted["trainer"] = given | trainer | ({} if given.get("precision") else {"precision": None})
    data, given = noted.get("data"), now.get("data") or {}
    if isinstance(data, dict) and isinstance(data.get("source"), str) and not data.get("source_sha256"):
        source = str(user_path(data["source"]).absolute())
        same = {"source_sha256": given.get("source_sha256")} if source == given.get("source") else {}
        noted["data"] = data = data | {"source": source} | same
    if isinstance(data, dict) and isinstance(data.get("eval_source"), str):
        noted["data"] = data | {"eval_source": str(user_path(data["eval_source"]).absolute())}
    return noted


def build(
    config: dict[str, Any], weights: Mapping[str, Tensor] | None = None
) -> tuple[PuzzleModule, GenRAVENDataModule]:
    """Model with fresh weights, and data module, of a checkpoint's ``genraven_config``, which needs no optimizer.

    The data module keeps what it makes where this machine does, not where the config says.

    Args:
        config: of the checkpoint.
        weights: of the checkpoint, as many as the model may have; None asks for none.

    Raises:
        InputError: it names a class that is not of genraven or of a plugin, or something that no version of genraven
            near this one would write, or asks for more than there are ``weights``.
    """
    parts = _checked(config)
    for part, tree in parts.items():
        check_numbers(tree, part)
    parts = {"model": _without_optimizer(parts["model"]), "data": without_places(parts["data"])}
    with _readable_config(), only_classes():
        parser = _parser()
        options = parser.parse_object(parts)
        if weights is not None:
            with no_more_than(weights):
                parser.instantiate(options.clone())
        found = parser.instantiate(options)
    return found.model, found.data


def with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` with every option of model and data that there is today.

    Raises:
        InputError: as ``build``.
    """
    parts = _checked(config)
    with _readable_config(), only_classes():
        parser = _parser()
        options = parser.parse_object(parts)
        found: dict[str, Any] = json.loads(parser.dump(options, skip_unset=False, skip_validation=True, format="json"))
    return config | found


def _checked(config: dict[str, Any]) -> dict[str, Any]:
    """Model and data of ``config``, which names nothing but classes that a file may name."""
    config = upgraded(config)
    parts = {part: config.get(part) for part in SCHEMA}
    check_config(parts["model"], parts["data"], GenRAVENDataModule)
    return parts


def _without_optimizer(model: dict[str, Any]) -> dict[str, Any]:
    """``model`` with the optimizer that its class has by itself, where it has one."""
    parameter = inspect.signature(classes()[model["class_path"]]).parameters.get("optimizer")
    arguments = model.get("init_args") or {}
    if parameter is None or parameter.default is parameter.empty:
        return model
    return model | {"init_args": {name: value for name, value in arguments.items() if name != "optimizer"}}


@contextmanager
def _readable_config() -> Iterator[None]:
    """Makes what the parser or a constructor raises in the block an InputError."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # a constructor may raise anything at what somebody wrote into a file
        if (inner := input_error(error)) is not None:
            raise inner from None
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) <= MAX_REASON else f"{reason[: MAX_REASON - 3]}..."
        raise InputError(f"expected a config that this version of genraven can build, got another: {reason}") from None


def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(PuzzleModule, "model")
    parser.add_class_arguments(GenRAVENDataModule, "data")
    return parser
