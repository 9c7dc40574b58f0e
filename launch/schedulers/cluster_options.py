"""Settings of a cluster: from a YAML file, and from flags, which win."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from genraven.bounded import read_yaml
from genraven.errors import InputError, flag, suggestion
from genraven.paths import user_path
from launch.configs.shipped import find_config
from launch.schedulers.job import Cluster


def add_cluster_arguments(parser: argparse.ArgumentParser) -> list[str]:
    """Adds a flag for each setting of a cluster, and one for a file of them; all of these."""
    parser.add_argument("--cluster", help="YAML file of the settings below, or the name of a shipped one; flags win")
    group = parser.add_argument_group("cluster")
    for item in fields(Cluster):
        many, number = isinstance(item.default, tuple), isinstance(item.default, int)
        shown = "" if item.default in (None, ()) else f" (default: {item.default})"
        group.add_argument(
            flag(item.name),
            type=int if number else str,
            action="append" if many else "store",
            default=argparse.SUPPRESS,
            metavar="N" if number else "TEXT",
            help=item.metadata["help"] + shown,
        )
    return ["--cluster", *(flag(item.name) for item in fields(Cluster))]


def read_cluster(options: argparse.Namespace) -> Cluster:
    """The settings of --cluster and of the flags; repeated ones add up, and for the others the flag wins."""
    settings = _read_settings(find_config(options.cluster)) if options.cluster else {}
    for item in fields(Cluster):
        if item.name in options:
            value = getattr(options, item.name)
            many = isinstance(item.default, tuple)
            settings[item.name] = (*settings.get(item.name, ()), *value) if many else value
    for name in ("venv", "python"):  # quoted in the job script, where no shell expands ~
        if settings.get(name):
            settings[name] = str(user_path(settings[name]))
    return Cluster(**settings)


def given(options: argparse.Namespace) -> list[str]:
    """The flags that make ``options`` again."""
    words = ["--cluster", options.cluster] if options.cluster else []
    for item in fields(Cluster):
        value = getattr(options, item.name, ())
        words += [f"{flag(item.name)}={text}" for text in (value if isinstance(value, list | tuple) else [value])]
    return words


def _read_settings(path: str) -> dict[str, Any]:
    """A cluster file. Its values are read as text, since YAML would take 12:00:00 for the number 43200."""
    try:
        found = read_yaml(Path(path), as_text=True) or {}
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a YAML file of cluster settings, got {path}: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(found, dict):
        raise InputError(f"expected settings such as `nodes: 2` in {path}, got {type(found).__name__}: mend the file.")
    known = {item.name: item.default for item in fields(Cluster)}
    settings: dict[str, Any] = {}
    for key, value in found.items():
        if key not in known:
            hint = suggestion(key, known, f"known are {', '.join(known)}.")
            raise InputError(f"expected settings of a cluster in {path}, got {key!r}: {hint}")
        many, number = isinstance(known[key], tuple), isinstance(known[key], int)
        if many and not (isinstance(value, list) and all(isinstance(line, str) for line in value)):
            raise InputError(f"expected a list of texts for {key} in {path}, got {value!r}: mend the file.")
        if not many and (not isinstance(value, str) or (number and not value.isdecimal())):
            kind = "number" if number else "text"
            raise InputError(f"expected one {kind} for {key} in {path}, got {value!r}: mend the file.")
        if many:
            settings[key] = tuple(value)
        elif value not in ("", "null", "~"):
            settings[key] = int(value) if number else value
    return settings
