"""Settings of trained models have one name, default, range and help, in Python and on the command line."""

import inspect
from dataclasses import fields

import numpy as np
import pytest

import genraven
from genraven.errors import InputError, as_options, setting
from genraven.methods.masked import MaskedSampling
from launch.cli import build_parser, main
from launch.trained.load import find_device
from launch.trained.model import TrainedModel
from launch.trained.numerics import Numerics
from launch.trained.settings import Opening, Scoring, read_settings


def test_settings_are_arguments_in_python() -> None:
    for cls, function in ((Opening, genraven.load), (Scoring, TrainedModel.evaluate)):
        arguments = inspect.signature(function).parameters
        assert {item.name for item in fields(cls)} <= arguments.keys()
        for name, value in vars(cls()).items():
            assert (arguments[name].default or {}) == (value or {}), name


def test_settings_are_options_of_commands() -> None:
    for command in ("sample", "evaluate", "calibrate"):
        assert read_settings(build_parser().parse_args([command, "run"]), Opening) == Opening()
    words = ["evaluate", "run", "--device", "cuda:1", "--precision", "bf16-mixed", "--seed", "3", "--batch-size", "7",
             "--training-set-gib", "0.5", "--split", "val", "--puzzles-per-rule", "9"]  # fmt: skip
    options = build_parser().parse_args(words)
    assert read_settings(options, Opening) == Opening(
        device="cuda:1", precision="bf16-mixed", seed=3, batch_size=7, training_set_gib=0.5
    )
    assert read_settings(options, Scoring, given_corruption=0.1) == Scoring(
        split="val", puzzles_per_rule=9, given_corruption=0.1
    )


def test_errors_call_a_setting_as_its_user_does(capsys: pytest.CaptureFixture[str]) -> None:
    for does, name, value in (
        (lambda: find_device("tpu9"), "device", "tpu9"),
        (lambda: Numerics.of({}, find_device("cpu"), "fp8"), "precision", "fp8"),
        (lambda: genraven.load("nowhere", batch_size=0), "batch_size", "0"),
        (lambda: Opening(training_set_gib=-1), "training_set_gib", "-1"),
        (lambda: Scoring(puzzles_per_rule=0), "puzzles_per_rule", "0"),
    ):
        with pytest.raises(InputError, match=f"expected {name}= .*, got {value}"):
            does()  # type: ignore[no-untyped-call]
        with as_options(), pytest.raises(InputError, match=f"expected --{name.replace('_', '-')} .*, got {value}"):
            does()  # type: ignore[no-untyped-call]
    for does, said in (
        (lambda: genraven.load("nowhere", seed=1.0), "seed= to be a whole number, got 1.0"),
        (lambda: genraven.load("nowhere", seed=True), "seed= to be a whole number, got True"),
        (lambda: genraven.load("nowhere", seed=-1), "seed= to be 0 or more, got -1"),
        (lambda: genraven.load("nowhere", batch_size=1.5), "batch_size= to be a whole number, got 1.5"),
        (lambda: genraven.load(None), "expected run= to be a path, got None"),
        (lambda: genraven.load("nowhere", training_set_gib="1"), "training_set_gib= to be a number, got '1'"),
        (lambda: genraven.load("nowhere", sampling=[1]), "expected sampling= as a mapping .*, got \\[1\\]"),
        (lambda: genraven.load("nowhere", compiled="yes"), "compiled= to be True, False or None, got 'yes'"),
        (lambda: Scoring(given_corruption="a"), "given_corruption= to be a number, got 'a'"),
        (lambda: Scoring(puzzles_per_rule=2.0), "puzzles_per_rule= to be a whole number, got 2.0"),
        (lambda: genraven.load("nowhere", plugins="no_such_module"), "to name a module .*, got no_such_module"),
        (lambda: MaskedSampling(num_steps=2.5), "expected num_steps to be a whole number, got 2.5"),
        (lambda: MaskedSampling(temperature="1"), "expected temperature to be a number, got '1'"),
    ):
        with pytest.raises(InputError, match=said):
            does()  # type: ignore[no-untyped-call]
    assert Opening(seed=np.int64(1)) == Opening(seed=1)
    assert main(["evaluate", "nowhere", "--given-corruption", "0,2"]) == 2
    assert "error: expected --given-corruption to be a fraction from 0 to 1, got 2" in capsys.readouterr().err
    assert setting("num_steps", 5) == "num_steps=5"
    with as_options():
        assert setting("num_steps", 5) == "--steps 5"
