"""genraven probe on tiny runs."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import fit
from torch import Tensor

import launch.trained.probe
from genraven.puzzles.generate import generate
from launch.cli import main
from launch.trained.load import load_run

FEW = ["--fit-per-rule", "3", "--puzzles-per-rule", "2", "--batch-size", "100"]
LABELS = ["--model.network.num_labels", "40"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A run of each family, whose networks know the rule of a training puzzle by its label."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENRAVEN_CACHE", str(folder / "cache"))
        make = launch.trained.probe._make_puzzles
        patch.setattr(launch.trained.probe, "_make_puzzles", cache(make))  # of 80 streams: 2 s each time
        families = ("autoregressive", "diffusion")
        for family in families:
            assert main(fit(folder / family, "--trainer.max_steps", "3", *LABELS, family=family)) == 0
        yield {family: folder / family for family in families}


def probed(run: Path, *options: str) -> dict[str, Any]:
    assert main(["probe", str(run), *FEW, *options]) == 0
    found: dict[str, Any] = json.loads((run / "probe.json").read_text())
    return found


@pytest.mark.parametrize(
    ("family", "options", "views"),
    [
        ("autoregressive", [], [("mean", None), ("last", None)]),
        ("diffusion", ["--noise", "0.2", "2"], [("mean", 0.2), ("mean", 2.0)]),
    ],
)
def test_every_layer_is_scored_with_its_counts(
    family: str, options: list[str], views: list[Any], runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs[family]
    found = probed(run, *options)
    assert found["trained_rules"] == ["shape.constant", "size.constant", "color.constant"]
    assert {(layer["layer"], layer["pool"], layer["noise"]) for layer in found["layers"]} == {
        (layer, *view) for layer in ("input", "blocks.0") for view in views
    }
    for layer in found["layers"]:
        for side in (layer, layer["untrained_network"]):
            assert (side["trained"]["count"], side["held_out"]["count"]) == (3 * 2, 37 * 2)
            assert side["held_out"]["interval95"][0] <= side["held_out"]["value"] <= side["held_out"]["interval95"][1]
    assert (run / "probe.png").stat().st_size > 1000
    assert "6 of trained rules, 74 of other rules; chance is 0.025" in capsys.readouterr().out
    if family == "diffusion":  # which draws noise
        assert probed(run, *options) == found


@pytest.mark.parametrize("family", ["autoregressive", "diffusion"])
def test_the_rule_is_not_given_to_the_network(family: str, runs: dict[str, Path]) -> None:
    model, _, _ = load_run(runs[family], "cpu")
    table = model.network.start if family == "autoregressive" else model.network.label
    labels: list[Tensor] = []
    table.register_forward_pre_hook(lambda _, args: labels.append(args[0]))  # type: ignore[union-attr, operator]
    model.probe_forward(generate(7, 0, 5), 0.3, model.generator_at("probe", "probe", 0, 5))
    assert torch.cat(labels).tolist() == [40] * 5


@pytest.mark.parametrize(
    ("family", "options", "says"),
    [
        ("autoregressive", ["--noise", "1"], "--noise for a method that reads puzzles with noise, got Autoregressive"),
        ("diffusion", ["--noise", "0"], "--noise above 0, got 0"),
        ("diffusion", ["--noise", "nan"], "--noise above 0, got nan"),
        ("diffusion", ["--fit-per-rule", "0"], "--fit-per-rule to be 1 or more"),
        ("diffusion", ["--picture", "p.txt"], "end in .png"),
    ],
)
def test_bad_input_writes_nothing(
    family: str,
    options: list[str],
    says: str,
    runs: dict[str, Path],
    in_tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["probe", str(runs[family]), "--out", "new/probe.json", *FEW, *options]) == 2
    assert says in capsys.readouterr().err
    assert not list(in_tmp_path.rglob("*.json"))
