"""What the config of a run means: which run it is, and the model and data that it builds."""

import hashlib
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from datamodules import GenRAVENDataModule
from genraven.errors import InputError, shown
from genraven.paths import user_path
from launch.configs.registry import check_config, classes, only_classes
from launch.configs.upgrade import upgraded
from lightning_modules import PuzzleModule

SCHEMA = ("model", "data")
SEED, SOURCE, DIGEST = "seed_everything", "data.source", "data.source_sha256"
IDENTITY = (*SCHEMA, "init_from", SEED)  # what makes a run another one
MAX_REASON = 1000  # characters of a parser's or a constructor's complaint
PLACES = ("data.cache_dir",)  # but where things lie on a machine does not


def config_hash(config: dict[str, Any]) -> str:
    """12 hex digits that tell runs of other models, data or first weights apart."""
    return hashlib.sha256(json.dumps(_distinguishing(config), sort_keys=True).encode()).hexdigest()[:12]


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """The parts of a config that make a run another one, where they are given."""
    return {part: config[part] for part in IDENTITY if config.get(part) is not None}


def _distinguishing(config: dict[str, Any]) -> dict[str, Any]:
    """The options that tell a run from others, by their whole names."""
    options = {name: value for part, tree in identity(config).items() for name, value in flat(tree, part).items()}
    places = (*PLACES, SOURCE) if options.get(DIGEST) else PLACES  # what a file holds, not where it lies
    return {name: value for name, value in options.items() if name not in places}


def refuse_other(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raises InputError at the first difference of identity between the config of ``path`` and that given.

    An option that ``path`` is too old to know has the default that it has now; the seed of its weights, and what its
    source held, are taken to be those given.
    """
    before = _with_notes(before, now)
    if _distinguishing(before) == _distinguishing(now):
        return
    with suppress(InputError):  # one that is not known today: then all is compared as it was written
        before, now = with_defaults(before), with_defaults(now)
    old, new = _distinguishing(before), _distinguishing(now)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise InputError(
                f"expected {path} to be of this config, got a run with {key} {shown(old.get(key))} instead of "
                f"{shown(new.get(key))}: choose another --run_dir, or give the old config to go on with that run."
            )


def _with_notes(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """``before`` with what runs did not note once: the seed of the weights, and place and contents of the source."""
    noted = {SEED: now.get(SEED)} | before
    data, given = noted.get("data"), now.get("data") or {}
    if isinstance(data, dict) and isinstance(data.get("source"), str) and not data.get("source_sha256"):
        source = str(user_path(data["source"]).absolute())
        same = {"source_sha256": given.get("source_sha256")} if source == given.get("source") else {}
        noted["data"] = data | {"source": source} | same
    return noted


def flat(tree: Any, prefix: str) -> dict[str, Any]:
    """The values of nested settings under names such as ``prefix.network.width``."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {name: value for key, sub in tree.items() for name, value in flat(sub, f"{prefix}.{key}").items()}


def build(config: dict[str, Any]) -> tuple[PuzzleModule, GenRAVENDataModule]:
    """Model with fresh weights, and data module, of a checkpoint's ``genraven_config``, which needs no optimizer.

    Raises:
        InputError: it names a class that is not of genraven or of a plugin, or something that no version of genraven
            near this one would write.
    """
    parts = _checked(config)
    with _readable_config(), only_classes():
        parser = _parser()
        found = parser.instantiate(parser.parse_object(parts | {"model": _without_optimizer(parts["model"])}))
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
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason if len(reason) <= MAX_REASON else f"{reason[: MAX_REASON - 3]}..."
        raise InputError(f"expected a config that this version of genraven can build, got another: {reason}") from None


def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(PuzzleModule, "model")
    parser.add_class_arguments(GenRAVENDataModule, "data")
    return parser
