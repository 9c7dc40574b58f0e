"""What the config of a run means: which run it is, and the model and data that it builds."""

import hashlib
import json
import re
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from datamodules import GenRAVENDataModule
from genraven.errors import InputError
from lightning_modules import PuzzleModule

SCHEMA = ("model", "data")
IDENTITY = (*SCHEMA, "init_from")  # what makes a run another one
PLACES = ("data.cache_dir",)  # but where things lie on a machine does not
TRUSTED = ("genraven.", "lightning_modules.", "torch.optim.")
WORD, PATH = re.compile(r"[\w+-]*"), re.compile(r"[\w.]+")


def config_hash(config: dict[str, Any]) -> str:
    """12 hex digits that tell runs of other models, data or first weights apart."""
    return hashlib.sha256(json.dumps(_told_by(config), sort_keys=True).encode()).hexdigest()[:12]


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """The parts of a config that make a run another one, where they are given."""
    return {part: config[part] for part in IDENTITY if config.get(part) is not None}


def _told_by(config: dict[str, Any]) -> dict[str, Any]:
    """The options that tell a run from others, by their whole names."""
    options = {name: value for part, tree in identity(config).items() for name, value in flat(tree, part).items()}
    return {name: value for name, value in options.items() if name not in PLACES}


def refuse_other(before: dict[str, Any], now: dict[str, Any], path: Path) -> None:
    """Raises InputError at the first difference of identity between the config of ``path`` and that given.

    An option that ``path`` is too old to know has the default that it has now.
    """
    if _told_by(before) == _told_by(now):
        return
    with suppress(InputError):  # one that is not known today: then all is compared as it was written
        before, now = with_defaults(before), with_defaults(now)
    old, new = _told_by(before), _told_by(now)
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            raise InputError(
                f"expected {path} to be of this config, got a run with {key} {old.get(key)!r} instead of "
                f"{new.get(key)!r}: choose another --run_dir, or give the old config to go on with that run."
            )


def flat(tree: Any, prefix: str) -> dict[str, Any]:
    """The values of nested settings under names such as ``prefix.network.width``."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {name: value for key, sub in tree.items() for name, value in flat(sub, f"{prefix}.{key}").items()}


def build(config: dict[str, Any]) -> tuple[PuzzleModule, GenRAVENDataModule]:
    """Model with fresh weights, and data module, of a checkpoint's ``genraven_config``.

    Raises:
        InputError: it names a class of another library, whose import would run that library's code, or something that
            no version of genraven near this one would write.
    """
    parser = _parser(config)
    with _readable_config():
        parts = parser.instantiate_classes(parser.parse_object({part: config[part] for part in SCHEMA}))
    return parts.model, parts.data


def with_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` with every option of model and data that there is today.

    Raises:
        InputError: as ``build``.
    """
    parser = _parser(config)
    with _readable_config():
        options = parser.parse_object({part: config.get(part) for part in SCHEMA})
        found: dict[str, Any] = json.loads(parser.dump(options, skip_none=False, skip_validation=True, format="json"))
    return config | found


@contextmanager
def _readable_config() -> Iterator[None]:
    """Makes what the parser or a constructor raises in the block an InputError."""
    try:
        yield
    except InputError:
        raise
    except (ArgumentError, ValueError, TypeError) as error:
        raise InputError(f"expected a config that this version of genraven can build, got another: "
                         f"{' '.join(str(error).split())}") from None  # fmt: skip


def _parser(config: dict[str, Any]) -> ArgumentParser:
    """One that reads ``config``, as long as that names classes of genraven only."""
    _refuse_foreign({part: config.get(part) for part in SCHEMA})
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(PuzzleModule, "model")
    parser.add_class_arguments(GenRAVENDataModule, "data")
    return parser


def _refuse_foreign(config: dict[str, Any]) -> None:
    """Raises InputError at a text that the parser would import: a class path, or, in the model, any dotted word."""
    for name, value in flat(config, "").items():
        inside = name.startswith(".model")
        for text in value if isinstance(value, list) else [value]:
            is_path = name.endswith("class_path") or (inside and isinstance(text, str) and not WORD.fullmatch(text))
            if isinstance(text, dict) or (
                is_path and not (PATH.fullmatch(str(text)) and str(text).startswith(TRUSTED))
            ):
                raise InputError(f"expected classes of genraven in a checkpoint, got {text!r}: it is not loaded.")
