"""Options without effect are refused: all pairs of which one depends on the other."""

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from genraven.errors import InputError
from launch.arguments import Dependence, LateParser
from launch.cli import build_parser, main
from launch.trained.arguments import TRUST_DEPENDS, TRUST_TRIGGERS

VALUES = {"--local": ["2"], "--max-error": ["0.1"], "--sbatch": ["--exclusive"], "--srun": ["--cpu-bind=none"]}


def parsers() -> dict[str, LateParser]:
    (commands,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return commands.choices


def words(parser: LateParser, option: str) -> list[str]:
    """``option`` with some value that it can have."""
    (action,) = (action for action in parser._actions if option in action.option_strings)
    if action.nargs == 0:
        return [option]
    return [f"{option}={value}" for value in VALUES.get(option, ["7"])]


def positionals(parser: LateParser) -> list[str]:
    return ["x" for action in parser._actions if not action.option_strings]


PAIRS = [
    (name, dependence, other)
    for name, parser in parsers().items()
    for dependence in parser.dependences
    for other in dependence.others
]


def test_there_are_pairs_of_each_command_that_has_options_which_depend() -> None:
    assert {name for name, _, _ in PAIRS} == {"complete", "calibrate", "report", "sweep"}


@pytest.mark.parametrize(("name", "dependence", "other"), PAIRS, ids=lambda value: getattr(value, "option", str(value)))
def test_an_option_without_effect_is_refused(
    name: str, dependence: Dependence, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = parsers()[name]
    alone = [*positionals(parser), *words(parser, dependence.option)]
    both = [*alone, *words(parser, other)]
    bad, good = (alone, both) if dependence.is_needed else (both, alone)
    assert main([name, *bad]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "no effect" in said and dependence.option in said and other in said
    others = [one for one in parser.dependences if one.option == dependence.option and one is not dependence]
    allowed = {None, *(refusal(one.check, named(good)) for one in others)}
    assert refusal(parser.parse_args, good) in allowed


def named(given: list[str]) -> set[str]:
    return {word.partition("=")[0] for word in given}


def refusal(check: Callable[..., Any], given: Any) -> str | None:
    try:
        check(given)
    except InputError as error:
        return str(error)
    return None


def test_every_option_of_trust_makes_decisions_or_depends_on_one_that_does() -> None:
    parser = parsers()["complete"]
    (group,) = (group for group in parser._action_groups if group.title == "trust")
    options = {action.option_strings[0] for action in group._group_actions}
    assert options == {*TRUST_TRIGGERS, *TRUST_DEPENDS}
    assert {dependence.option for dependence in parser.dependences} == {*TRUST_DEPENDS, "--rule"}


def test_every_setting_of_a_cluster_is_refused_on_this_machine() -> None:
    parser = parsers()["sweep"]
    (group,) = (group for group in parser._action_groups if group.title == "cluster")
    options = {action.option_strings[0] for action in group._group_actions} | {"--cluster", "--max-parallel"}
    assert {dependence.option for dependence in parser.dependences} == options


def parsed(*given: str) -> Any:
    parser = LateParser(prog="x")
    parser.add_argument("place", nargs="?")
    parser.add_argument("--number", type=int, default=7)
    parser.add_argument("--text", type=len, default="three")
    parser.add_argument("--flag", action="store_true")
    parser.add_argument("--many", action="append", default=argparse.SUPPRESS)
    parser.needs(["--number"], one_of=["--flag", "--many"])
    return parser.parse_args(given)


def test_an_option_at_its_default_is_given_all_the_same() -> None:
    assert vars(parsed()) == {"place": None, "number": 7, "text": 5, "flag": False}
    assert vars(parsed("--number", "7", "--many", "a", "--many", "b"))["many"] == ["a", "b"]
    with pytest.raises(InputError, match="expected --flag or --many with --number"):
        parsed("--number", "7")
    with pytest.raises(InputError, match="expected --flag or --many with --number"):
        parsed("--num", "7")  # as argparse lets it be written
