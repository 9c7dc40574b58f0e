"""Words for rules, such as ``all``, in the configs of runs: there they stand for the study's rules, whatever was added.

Where rules were added, a run notes by their names those that it learns, holds out and is scored on.
"""

from collections.abc import Callable, Mapping
from typing import Any

from genraven.puzzles.spec import NUM_STUDY_RULES, resolve_rules, rules_in_file, rules_of_file

HELD_OUT = "held_out"
OPTIONS = ("rules", HELD_OUT, "eval_rules")
"""The options of data that name rules."""


def in_file(config: dict[str, Any]) -> dict[str, Any]:
    """``config``, as it is given, in the words of a file."""
    return _each(config, rules_in_file)


def of_file(config: dict[str, Any]) -> dict[str, Any]:
    """``config`` of a file in words that mean the same here."""
    return _each(config, rules_of_file)


def _each(config: dict[str, Any], changed: Callable[[Any, Any], Any]) -> dict[str, Any]:
    """``config`` itself where nothing changes, or something is wrong, of which others complain."""
    data = config.get("data")
    if not isinstance(data, Mapping):
        return config
    try:
        held_out = changed(data.get(HELD_OUT) or "none", "none")
        apart = {"rules": held_out, HELD_OUT: "none", "eval_rules": "none"}
        words = {name: changed(data[name], apart[name]) for name in OPTIONS if data.get(name) is not None}
        words = {name: rules for name, rules in words.items() if rules != data[name]}
    except (TypeError, ValueError):
        return config
    return {**config, "data": {**data, **words}} if words else config


def as_ids(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` of a file by their whole names, rules as ids: by whatever words, the same rules are equal."""
    found = dict(options)
    for name in (f"data.{name}" for name in OPTIONS):
        try:
            found |= {name: resolve_rules(options[name], NUM_STUDY_RULES)} if options.get(name) is not None else {}
        except (TypeError, ValueError):
            continue
    held_out = found.get(f"data.{HELD_OUT}")
    if isinstance(held_out, tuple) and isinstance(found.get("data.rules"), tuple):
        found["data.rules"] = tuple(rule for rule in found["data.rules"] if rule not in held_out)
    return found
