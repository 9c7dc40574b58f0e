"""The classes that a config out of a file may name: those of genraven, and of what ``--plugin`` names.

A checkpoint and an exported card may come from anybody. Nothing that stands in one is imported, called or walked into:
a class path is looked up in a table of classes that were imported before, and a text is let pass only where the
argument that it is for is a text or a choice. Only then does a parser see the config; behind this, the parser itself
imports nothing but the classes of the table.
"""

import functools
import importlib
import inspect
import pkgutil
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from jsonargparse import set_parsing_settings
from torch import nn

from genraven.errors import InputError, shown
from genraven.methods.gaussian.process import Process
from genraven.methods.method import Method
from launch.configs.plugins import named_plugins
from lightning_modules.lightning_internals import kept_parser_settings

ROOMS = ("genraven.methods", "genraven.networks", "genraven.puzzles.corrupt", "lightning_modules")
BASES = (nn.Module, Method, Process, torch.optim.Optimizer)
SPEC = {"class_path", "init_args", "dict_kwargs"}
PLAIN = (str, int, float, bool, type(None), ...)
MAX_DEPTH = 32
Json = Mapping[str, Any]


def classes() -> dict[str, type]:
    """Networks, processes, models, optimizers and dataclasses, by each full name that they have."""
    found = dict(_own())
    for plugin in named_plugins():
        modules = {name: module for name, module in sys.modules.items() if _is_within(name, (plugin,))}
        found |= {name: cls for module in modules.values() for name, cls in _public(module, (plugin,)).items()}
    return found


@functools.cache
def _own() -> dict[str, type]:
    modules = [importlib.import_module(room) for room in ROOMS]
    for package in [module for module in modules if hasattr(module, "__path__")]:
        names = [info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
        modules += map(importlib.import_module, names)
    found = {name: cls for module in modules for name, cls in _public(module, ROOMS).items()}
    return found | _public(torch.optim, ("torch.optim",))


def _public(module: types.ModuleType, rooms: tuple[str, ...]) -> dict[str, type]:
    """The classes of ``module``, by name, that are defined in ``rooms`` and of a kind that a config is made of."""
    return {
        full_name: cls
        for name, cls in vars(module).items()
        if isinstance(cls, type) and not name.startswith("_") and _is_within(cls.__module__, rooms)
        if issubclass(cls, BASES) or is_dataclass(cls)
        for full_name in (f"{module.__name__}.{name}", f"{cls.__module__}.{cls.__qualname__}")
    }


def _is_within(name: str, rooms: tuple[str, ...]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@contextmanager
def only_classes() -> Iterator[None]:
    """Within the block, parsers refuse to import what is not in the table: a second wall behind ``check_config``."""
    with kept_parser_settings():
        set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=sorted(classes()))
        yield


def is_plain(tree: Any, depth: int = MAX_DEPTH) -> bool:
    """Is ``tree`` made of dicts with texts as keys, lists, texts, numbers, booleans and None, and not too deep?"""
    if isinstance(tree, dict):
        return depth > 0 and all(isinstance(k, str) and is_plain(value, depth - 1) for k, value in tree.items())
    if isinstance(tree, list | tuple):
        return depth > 0 and all(is_plain(value, depth - 1) for value in tree)
    return tree is None or isinstance(tree, str | int | float)


def check_config(model: Any, data: Any, data_class: type) -> None:
    """Raises InputError where a config out of a file names anything but classes of the table, each as a class.

    Args:
        model: a class with its arguments.
        data: arguments of ``data_class``.
        data_class: of the data module, which no file chooses.
    """
    table = classes()
    if not (isinstance(model, dict) and is_plain(model)):
        raise _refusal(model, "model")
    _check_class(model, "model", table)
    _check_arguments(data, data_class, "data", table)


def _check_class(spec: dict[str, Any], place: str, table: Mapping[str, type]) -> None:
    path = spec.get("class_path")
    if not (isinstance(path, str) and path in table and spec.keys() <= SPEC):
        raise _refusal(spec if path is None else path, place)
    for part in ("init_args", "dict_kwargs"):
        if spec.get(part) is not None:
            _check_arguments(spec[part], table[path], f"{place}.{part}", table)


def _check_arguments(given: Any, cls: type, place: str, table: Mapping[str, type]) -> None:
    if not (isinstance(given, dict) and is_plain(given)):
        raise _refusal(given, place)
    _check_fields(given, _kinds(cls), Any, place, table)


def _check_fields(given: Json, kinds: Json, other: Any, place: str, table: Mapping[str, type]) -> None:
    """Of each argument in ``given``, by its type; ``other`` is the type of those that ``kinds`` lacks."""
    for name, value in given.items():
        if not name.isidentifier():  # a parser takes the dots in it for a path
            raise _refusal(name, place)
        _check_value(value, kinds.get(name, other), f"{place}.{name}", table)


def _check_value(value: Any, kind: Any, place: str, table: Mapping[str, type]) -> None:
    """``kind`` is the type of the argument that ``value``, or the whole that it is a part of, is for."""
    if isinstance(value, dict):
        if SPEC & value.keys():
            _check_class(value, place, table)
        else:
            fields = next((_kinds(part) for part in _parts(kind) if isinstance(part, type) and is_dataclass(part)), {})
            _check_fields(value, fields, kind, place, table)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            _check_value(part, kind, f"{place}.{number}", table)
    elif isinstance(value, str) and not _takes_text(kind):
        raise _refusal(value, place)


def _kinds(cls: type) -> dict[str, Any]:
    """The types of the arguments that ``cls`` is made with, those that it hands on to its bases included."""
    found: dict[str, Any] = {}
    for base in reversed(inspect.getmro(cls)):
        if isinstance(init := vars(base).get("__init__"), types.FunctionType):
            with suppress(NameError):  # a type that only type checkers see: no text is let pass for it
                found |= get_type_hints(init)
    return found


def _parts(kind: Any) -> Iterator[Any]:
    """The types that a union or a container is made of; a type that is a choice or a callable stands for itself."""
    if not get_args(kind) or get_origin(kind) in (Literal, Callable, type):
        yield kind
        return
    for part in get_args(kind):
        yield from _parts(part)


def _takes_text(kind: Any) -> bool:
    """Is a text never more than a text to the parser, where an argument of type ``kind`` is wanted?"""
    parts = list(_parts(kind))
    choices = [part for part in parts if get_origin(part) is Literal]
    return all(part in PLAIN or part in choices for part in parts) and (str in parts or bool(choices))


def _refusal(found: Any, place: str) -> InputError:
    return InputError(f"expected classes of genraven in a checkpoint, got {shown(found)} as {place}: it is not loaded; "
                      "--plugin MODULE adds the classes of a module that you trust.")  # fmt: skip
