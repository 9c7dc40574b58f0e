"""The genraven command, as a user meets it."""

import importlib
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.rules import row_rules
from genraven.puzzles.spec import NUM_RULES, RULE_ID, RULES
from launch.cli import main
from launch.configs.shipped import CONFIGS, config_names
from launch.jobs import sweep
from launch.jobs.sweep import Point, read_grid
from launch.trained.load import load_run
from launch.training.resolve import TrainingParser

TINY = ["--model.network.width", "24", "--model.network.depth", "1", "--model.network.num_heads", "2"]
QUICK = [
    *("-c", "data/demo.yaml", "-c", "trainer/debug.yaml", "--trainer.accelerator", "cpu"),
    *("--data.samples_per_rule", "30", "--data.global_batch_size", "6", "--trainer.max_steps", "4"),
    *("--trainer.val_check_interval", "4", "--trainer.enable_progress_bar", "false"),
]
FAMILIES = {
    "autoregressive": ["-c", "model/gpt2_tiny.yaml", *TINY, *QUICK],
    "diffusion": ["-c", "model/sit_tiny.yaml", *TINY, "--model.method.sampling.num_steps", "2", *QUICK],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished tiny run of each family."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENRAVEN_CACHE", str(folder / "cache"))
        for family, arguments in FAMILIES.items():
            assert main(["fit", *arguments, "--run_dir", str(folder / family)]) == 0
    return {family: folder / family for family in FAMILIES}


def error_of(arguments: list[Any], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused command prints."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    assert len(lines) == 1
    return lines[0]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from launch.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print({'torch', 'lightning', 'numpy'} & sys.modules.keys())"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "evaluate" in shown
    assert "fit" in shown
    assert shown.endswith("set()\n")


def num_parameters(path: Path) -> int:
    network = yaml.safe_load(path.read_text())["model"]["init_args"]["network"]
    module, name = network["class_path"].rsplit(".", 1)
    with torch.device("meta"):
        built = getattr(importlib.import_module(module), name)(**network["init_args"])
    return sum(parameter.numel() for parameter in built.parameters())


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in config_names()
        if name.startswith(
            ("model/any", "model/block", "model/dit", "model/sit", "model/edm", "model/mdm", "model/relational")
        )
    ],
)
def test_presets_have_the_parameters_that_they_say(name: str) -> None:
    said = re.search(r"([\d.]+) M parameters", (CONFIGS / name).read_text())
    assert said is not None
    assert num_parameters(CONFIGS / name) / 1e6 == pytest.approx(float(said[1]), rel=0.06, abs=0.05)


RUN = [name for name in config_names() if name.startswith(("model/", "data/", "trainer/", "recipe/"))]


@pytest.mark.parametrize("name", [name for name in RUN if not name.endswith("_tiny.yaml")])
def test_every_shipped_config_runs(name: str, in_tmp_path: Path) -> None:
    """Beside configs of the other kinds, with less data and on the CPU, one step and one validation batch.

    Those of tiny models train for longer in test_device_reads.py.
    """
    kind, stem = name.removesuffix(".yaml").split("/")
    of_recipe = f"model/{stem.split('_')[0]}_tiny.yaml"
    model = of_recipe if of_recipe in config_names() else "model/gpt2_tiny.yaml"
    configs = {"model": model, "data": "data/demo.yaml", "trainer": "trainer/cpu.yaml"} | {kind: name}
    finite = (yaml.safe_load((CONFIGS / configs["data"]).read_text())["data"])["samples_per_rule"]
    small = [
        "--data.eval_rules",
        "number",
        "--data.eval_puzzles_per_rule",
        "1",
        "--data.eval_batch_size",
        "2",
        "--data.global_batch_size",
        "2",
    ]
    if finite:
        small += ["--data.samples_per_rule", "2"]
    settings = yaml.safe_load((CONFIGS / configs["model"]).read_text())["model"]
    network = settings["init_args"]["network"]["init_args"]
    if network.get("width", 0) >= 256 and "depth" in network:
        # All blocks of a network are alike, and those of a large one take seconds, or more memory than a test should:
        # two stand for them here, and tests/networks/test_presets.py counts the parameters of them all.
        small += ["--model.network.depth", "2"]
    if network.get("channels", 0) > 64:
        small += ["--model.network.channels", "64", "--model.network.num_blocks", "1"]
    if "Diffusion" in settings["class_path"]:
        small += ["--model.method.sampling.num_steps", "1"]
    if kind == "recipe":  # a rule of the data that it trains on
        small += ["--data.rules", "shape.constant", "--data.held_out", "none"]
    chosen = [option for path in configs.values() for option in ("-c", path)]
    cpu = ["--trainer.devices", "1", "--trainer.num_nodes", "1", "--trainer.strategy", "auto"]
    cpu += ["--trainer.accelerator", "cpu", "--trainer.fast_dev_run", "true", "--trainer.enable_progress_bar", "false"]
    assert main(["fit", *chosen, *small, *cpu]) == 0


def with_each_option(points: list[Point]) -> list[Point]:
    """Those that have an option which none before had: a grid of a hundred runs takes a minute."""
    seen: set[str] = set()
    found = []
    for point in points:
        if not seen.issuperset(point.arguments):
            found.append(point)
        seen.update(point.arguments)
    return found


@pytest.mark.parametrize("name", [name for name in config_names() if name.startswith(("sweep/", "cluster/"))])
def test_every_shipped_grid_and_cluster_makes_jobs(
    name: str,
    in_tmp_path: Path,
    fake_slurm: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without writing anything: a grid's runs, of which each option is in one at least, or the script of a job."""
    fake_slurm()
    monkeypatch.setattr(sweep, "read_grid", lambda *of: with_each_option(read_grid(*of)))
    if name.startswith("sweep/"):
        arguments, shown = ["sweep", name, "--local", "1", "--dry-run"], "genraven fit -c "
    else:
        fit = ["fit", "-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml"]
        arguments, shown = ["submit", "--cluster", name, "--dry-run", "--", *fit], "#SBATCH --nodes=1"
    assert main(arguments) == 0
    assert shown in capsys.readouterr().out
    assert list(in_tmp_path.iterdir()) == []


def test_every_kind_of_shipped_config_is_run_by_a_test() -> None:
    kinds = {name.split("/")[0] for name in config_names()}
    assert kinds == {
        "model",
        "data",
        "trainer",
        "recipe",
        "sweep",
        "cluster",
        "logger",
        "tune",
    }  # test_loggers, test_tune


def test_a_recipe_of_another_family_is_refused(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "-c", "model/gpt2_tiny.yaml", "-c", "recipe/sit_fast.yaml", *QUICK]) == 2
    assert "expected a recipe for gpt2, got recipe/sit_fast.yaml: use recipe/gpt2_fast.yaml." in capsys.readouterr().err
    assert list(in_tmp_path.iterdir()) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_lives_in_one_folder(family: str, runs: dict[str, Path]) -> None:
    run = runs[family]
    kept = {"checkpoints", "config.yaml", "curve.csv", "run.lock", "summary.json", "tensorboard"}
    assert {path.name for path in run.iterdir()} == kept
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"step-00000004.ckpt", "best.ckpt"}
    summary = json.loads((run / "summary.json").read_text())
    assert summary["state"] == "finished"
    assert (summary["step"], summary["puzzles"], summary["family"]) == (4, 24, family)
    assert summary["metrics"]["val_count/c3"] == 6
    curves = EventAccumulator(str(run / "tensorboard"))
    curves.Reload()
    assert {"train/loss", "train/lr", "train/puzzles_per_s", "val/loss", "val/c3", "val/completion"} <= set(
        curves.Tags()["scalars"]
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoints_rebuild_the_model_from_plain_values(family: str, runs: dict[str, Path]) -> None:
    module, data, checkpoint = load_run(runs[family], "cpu")
    assert checkpoint["global_step"] == 4
    assert module.family == family
    assert data.trained == tuple(RULE_ID[f"{a}.constant"] for a in ("shape", "size", "color"))
    assert_equal = torch.testing.assert_close
    for name, value in module.state_dict().items():
        assert_equal(value, checkpoint["state_dict"][name], rtol=0, atol=0)


def test_the_same_command_goes_on_and_another_config_is_refused(
    runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs["autoregressive"]
    arguments = ["fit", *FAMILIES["autoregressive"], "--run_dir", str(run)]
    last = run / "checkpoints" / "step-00000004.ckpt"
    before = last.read_bytes()
    message = error_of([*arguments, "--data.seed", "1"], capsys)
    assert "data.seed 0 instead of 1" in message
    assert last.read_bytes() == before
    assert main([*arguments, "--trainer.max_steps", "6"]) == 0
    assert json.loads((run / "summary.json").read_text())["puzzles"] == 36
    assert torch.load(last.with_name("step-00000006.ckpt"), weights_only=True)["global_step"] == 6
    curves = EventAccumulator(str(run / "tensorboard"))
    curves.Reload()
    steps = [event.step for event in curves.Scalars("train/loss")]
    assert steps == sorted(set(steps))


def test_generate_sample_complete_evaluate(runs: dict[str, Path], in_tmp_path: Path) -> None:
    assert main(["generate", "--rules", "position", "--num", "3", "--out", "p.npy", "--picture", "p.png"]) == 0
    puzzles = np.load("p.npy")
    expected = torch.cat([generate(RULE_ID[f"position.{r}"], 0, 3) for r in ("xor", "or", "and")])
    assert np.array_equal(puzzles, expected.numpy())
    for family, run in runs.items():
        assert main(["sample", str(run), "--num", "5", "--out", "s.npy", "--batch-size", "2", "--overwrite"]) == 0
        assert np.load("s.npy").shape == (5, *layout.PUZZLE_SHAPE)
        assert Path("s.png").stat().st_size > 1000
        assert main(["complete", str(run), "p.npy", "--out", "c.npy", "--picture", "c2.png", "--overwrite"]) == 0
        completed, given = np.load("c.npy"), ~last_panel_mask(1)[0].numpy()
        assert np.array_equal(completed[:, :, given], puzzles[:, :, given])
        assert main(["evaluate", str(run), "--puzzles-per-rule", "4", "--out", f"{family}.json"]) == 0
        evaluation = json.loads(Path(f"{family}.json").read_text())
        assert evaluation["run"]["family"] == family
        (result,) = evaluation["results"]
        for metric in ("c3", "c2", "novel_c3", "completion"):
            score = result["metrics"][metric]
            assert score["count"] == 12
            assert 0 <= score["interval95"][0] <= score["value"] <= score["interval95"][1] <= 1
        assert result["metrics"]["any_valid"]["count"] == 36
        assert set(result["metrics"]["per_rule"]["completion"]) == {f"{a}.constant" for a in ("shape", "size", "color")}


def test_a_mask_of_ones_own(runs: dict[str, Path], in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["generate", "--rules", "number", "--num", "1", "--out", "p.npy"])
    mask = np.zeros((9, 9), bool)
    mask[4, 2:7] = True
    np.save("m.npy", mask)
    for run in runs.values():
        assert main(["complete", str(run), "p.npy", "--mask", "m.npy", "--out", "c.npy", "--overwrite"]) == 0
        assert np.array_equal(np.load("c.npy")[:, :, ~mask], np.load("p.npy")[:, :, ~mask])
    for value, says in ((False, "leaves none open"), (True, "leaves all open in puzzle 0: generate")):
        np.save("m.npy", np.full((9, 9), value))
        for run in runs.values():
            assert says in error_of(["complete", run, "p.npy", "--mask", "m.npy"], capsys)


def test_published_layout_trains(in_tmp_path: Path) -> None:
    assert main(["generate", "--num", "2", "--layout", "published", "--out", "all.npy"]) == 0
    rows = np.load("all.npy")
    assert rows.shape == (NUM_RULES, 6, 3, 9, 3)
    puzzles = layout.rows_to_puzzles(torch.from_numpy(rows[7]).unflatten(0, (-1, 3)))
    assert (row_rules(puzzles) == 1 << RULES[7].id).all()
    fit = ["fit", "-c", "model/gpt2_tiny.yaml", *TINY, *QUICK, "--data.source", "all.npy"]
    assert main([*fit, "--data.samples_per_rule", "2", "--run_dir", "r"]) == 0


WHOLE = Path(__file__).parents[2] / "docs" / "study" / "whole"
FIT = ["fit", "-c", "model/gpt2_tiny.yaml", *TINY, *QUICK, "--run_dir", "r"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([*FIT, "--data.rules", "[position.xr]"], "did you mean 'position.xor'"),
        ([*FIT, "--data.held_out", "[shape.constant]"], "got both for shape.constant"),
        ([*FIT, "--data.rules", "[]"], "empty selection"),
        ([*FIT, "--data.global_batch_size", "7", "--trainer.accumulate_grad_batches", "2"], "a multiple of 2"),
        ([*FIT, "--data.samples_per_rule", "0"], "1 or more"),
        ([*FIT, "--data.source", "missing.npy"], "missing.npy"),
        ([*FIT, "--data.source", "pickle.npy"], "pickle"),
        ([*FIT, "--data.source", "range.npy"], "-1..6"),
        ([*FIT, "--ckpt_path", "pickle.npy"], "it is torn, or no checkpoint"),
        ([*FIT, "--data.sed", "1"], "expected an option of fit, got --data.sed: did you mean --data.seed?"),
        ([*FIT, "--data.seed", "one"], "expected data.seed to be int, got one: see `genraven fit --help`."),
        ([*FIT, "--data.samples_per_rule", "4k"], "expected data.samples_per_rule to be int or null, got 4k"),
        ([*FIT, "--data.samples_per_rule", "None"], "to be int or null, got None: write null."),
        ([*FIT, "--data.samples_per_rule", "nonetype"], "got nonetype: see `genraven fit --help`."),
        ([*FIT, "--model.schedule", "cosin"], "be constant, linear or cosine, got cosin: did you mean cosine?"),
        ([*FIT, "--model.network.width", "null"], "expected model.network.width to be int, got None"),
        (
            [*FIT, "--model.method.input_masking", "0.5"],
            "expected a class for model.method before an option of it, got model.method.input_masking alone: "
            "write --model.method Autoregressive before it.",
        ),
        (
            [*FIT, "--model.method.process.spacing", "1"],
            "got model.method.process.spacing alone: write --model.method GaussianDiffusion before it.",
        ),
        (
            [*FIT, "--model.method", "Autoregressive", "--model.method.process.spacing", "1"],
            "expected an option of Autoregressive, got model.method.process.spacing: known are masked_share, sampling,",
        ),
        (
            [*FIT, "--model.method.width", "1"],
            "expected an option of a method, got model.method.width, which none has",
        ),
        ([*FIT, "--model.network.width", "wide"], "expected model.network.width to be int, got wide"),
        ([*FIT, "--model.network.dept", "2"], "an option of Transformer, got model.network.dept: did you mean depth?"),
        ([*FIT, "--model.width", "9"], "option of AutoregressiveModule, got model.width: known are network,"),
        ([*FIT, "--model.network", "UNett"], "expected model.network to be a class path, got UNett"),
        ([*FIT, "--model.network", "genraven.networks.unet.UNet"], "for an autoregressive model, got UNet: give it to"),
        ([*FIT, "--model.optimizer.lrr", "1"], "an option of AdamW, got model.optimizer.lrr: did you mean lr?"),
        ([*FIT, "--model.optimizer.lr", "high"], "expected model.optimizer.lr to be a class path or float, got high:"),
        ([*FIT, "--model.optimizer", "torch.optim.SGDD"], "has no attribute 'SGDD'): did you mean SGD?"),
        (
            [*FIT, "-c", "no_model.yaml"],
            "expected model to be PuzzleModule or null, got {'class_path': 'torch.nn.ReLU'}",
        ),
        (["fit", "-c", "no_network.yaml"], "expected model.network and model.method, got none: give a config"),
        ([*FIT, "--model.optimizer.lr", "-1"], "cannot be one (Invalid learning rate: -1.0): mend model.optimizer"),
        ([*FIT, "--model.optimizer.betas", "[3, 4]"], "cannot be one (Invalid beta parameter at index 0: 3.0)"),
        ([*FIT, "--model.warmup_steps", "-1"], "expected warmup_steps to be 0 or more, got -1"),
        ([*FIT, "--model.network.num_labels", "40", "--model.label_dropout", "0"], "expected label_dropout above 0"),
        ([*FIT, "--model.label_dropout", "2"], "expected label_dropout from 0 to below 1, got 2.0"),
        (
            [*FIT, "--trainer.val_check_interval", "00:00:00:09"],
            "in steps, got the time 00:00:00:09",
        ),
        ([*FIT, "--trainer.val_check_interval", "0"], "expected trainer.val_check_interval, in steps, to be 1 or more"),
        ([*FIT, "--trainer.accumulate_grad_batches", "0"], "--trainer.accumulate_grad_batches to be 1 or more, got 0"),
        ([*FIT, "--trainer.check_val_every_n_epoch", "0"], "--trainer.check_val_every_n_epoch to be 1 or more, got 0"),
        ([*FIT, "--seed_everything", "-1"], "--seed_everything to be a whole number from 0 to 4294967295, got -1"),
        (
            [*FIT, "--trainer.callbacks+=GradientAccumulationScheduler", "--trainer.callbacks.scheduling", "{0: 2}"],
            "got the callback GradientAccumulationScheduler: set data.global_batch_size",
        ),
        (
            [*FIT, "--trainer.devices", "2", "--trainer.strategy", "ddp_spawn"],
            "copies of this process, such as ddp_spawn: use",
        ),
        ([*FIT, "--trainer.devices", "-3"], "`devices` selected with `CPUAccelerator` should be an int > 0"),
        ([*FIT, "--trainer.strategy", "ddpp"], "invalid strategy name: `strategy='ddpp'`"),
        (["fit", *FAMILIES["diffusion"], "--model.ema_decay", "1"], "expected ema_decay from 0 to below 1, or null"),
        (["fit", "-c", "model/sit_tiny.yaml", *QUICK, "-c", "cells.yaml"], "one of cells: use it with another method"),
        ([*FIT, "--run_dir"], "--run_dir: expected one argument"),
        ([*FIT, "-c", "wrong_class.yaml"], "got lightning_modules.Autoregressive (module 'lightning_modules' has no"),
        ([*FIT, "-c", "wrong_key.yaml"], "an option of fit, got trainer.max_step: did you mean trainer.max_steps?"),
        ([*FIT, "-c", "torn.yaml"], "expected a YAML file, got torn.yaml: "),
        ([*FIT, "-c", "words.yaml"], "in words.yaml, got two words: mend the file"),
        (["validate", *FIT[1:], "--data.sed", "1"], "expected an option of validate, got --data.sed: did you mean"),
        (["fit"], "expected model, got none: give a config, such as -c model/sit_tiny.yaml"),
        (["fit", "-c", "model/sit_tny.yaml"], "did you mean model/sit_tiny.yaml"),
        (["generate", "--rules", "shapes"], "did you mean 'shape'"),
        (["generate", "--rules", "none"], "at least one rule"),
        (["generate", "--picture", "missing/p.foo"], "end in .png"),
        (["generate", "--out", "p.csv"], "expected --out of the puzzles layout to end in .npy or .pt, got p.csv"),
        ([*FIT, "--model.network.width", "25"], "divisible"),
        ([*FIT, "--data.corruption", "{cells: 2}"], "corruption.cells"),
        (["sample", "missing"], "missing"),
        (["evaluate", str(WHOLE)], f"without the weights of its runs: read them by `genraven report {WHOLE}`"),
        (["sample", "pickle.npy"], "no checkpoint"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    arguments: list[str], says: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pickle.npy").write_bytes(pickle.dumps({"rules": "all"}))
    rows = np.zeros((NUM_RULES, 30 * 3, 3, 9, 3), np.int8)
    rows[0, 5, 1, 2] = (7, 0, 0)
    np.save("range.npy", rows)
    Path("wrong_class.yaml").write_text("model: {class_path: lightning_modules.Autoregressive}")
    Path("no_model.yaml").write_text("model: {class_path: torch.nn.ReLU}")
    Path("no_network.yaml").write_text("model: {class_path: lightning_modules.DiffusionModule}")
    Path("cells.yaml").write_text("model.network: {class_path: genraven.networks.transformer.Transformer}")
    Path("wrong_key.yaml").write_text("trainer: {max_step: 3}")
    Path("torn.yaml").write_text("trainer: {max_steps: [")
    Path("words.yaml").write_text("two words")
    before = set(in_tmp_path.iterdir())
    assert says in error_of(arguments, capsys)
    assert set(in_tmp_path.iterdir()) == before


def test_a_folder_that_cannot_be_written(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("in the way")
    assert "can be written" in error_of([*FIT[:-1], "file/r"], capsys)
    assert "can be written" in error_of(["generate", "--num", "1", "--out", "file/p.npy"], capsys)


def test_another_familys_checkpoint(
    runs: dict[str, Path], in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = error_of([*FIT, "--ckpt_path", runs["diffusion"]], capsys)
    assert "DiffusionModule' instead of 'lightning_modules.AutoregressiveModule'" in message
    assert not Path("r").exists()
    message = error_of(["validate", *FAMILIES["autoregressive"], "--ckpt_path", runs["diffusion"]], capsys)
    assert "expected a checkpoint of the autoregressive family, got one of diffusion" in message
    message = error_of(["validate", *FAMILIES["diffusion"][:2], *QUICK, "--ckpt_path", runs["diffusion"]], capsys)
    assert "differs in" in message
    assert "neither" in error_of(["test", *FAMILIES["diffusion"]], capsys)


def test_classes_of_other_libraries_are_not_imported(
    runs: dict[str, Path], in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("trap.py").write_text("raise SystemExit('the trap has gone off')")
    monkeypatch.syspath_prepend(in_tmp_path)
    checkpoint = torch.load(runs["diffusion"] / "checkpoints" / "step-00000004.ckpt", weights_only=True)
    checkpoint["genraven_config"]["model"]["init_args"]["network"]["class_path"] = "trap.Network"
    torch.save(checkpoint, "evil.ckpt")
    assert "expected classes of genraven in a checkpoint, got 'trap.Network'" in error_of(
        ["sample", "evil.ckpt"], capsys
    )


def test_sampling_options_of_the_other_family(runs: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert "--temperature" in error_of(["sample", runs["diffusion"], "--temperature", "1"], capsys)
    assert "--steps" in error_of(["sample", runs["autoregressive"], "--steps", "3"], capsys)
    assert "num_labels" in error_of(["sample", runs["diffusion"], "--rules", "shape"], capsys)
    for option in (["--sampler", "heun"], ["--completion", "tds"], ["--resamples", "2"], ["--guidance-scale", "2"]):
        message = error_of(["evaluate", runs["autoregressive"], *option], capsys)
        assert f"for GPT-2, got {option[0]}: leave it out" in message
    for option in (["--particles", "0"], ["--top-k", "0"]):
        assert "1 or more" in error_of(["evaluate", runs["autoregressive"], *option], capsys)


def test_what_is_written_again_and_again_shows(
    runs: dict[str, Path], in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", str(runs["autoregressive"]), "--num", "4", "--temperature", "0"]) == 0
    assert capsys.readouterr().out.endswith("of 4 puzzles (C3); distinct puzzles: 1\n")


def test_a_setting_that_the_task_does_not_heed_is_named(
    runs: dict[str, Path], in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sample", str(runs["autoregressive"]), "--num", "1", "--temperature", "2"]
    assert main([*command, "--completion-temperature", "1"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert line == ("genraven: warning: --completion-temperature matters to this model only to complete: "
                    "`genraven sample` does not use it.")  # fmt: skip


def test_particles_complete_any_mask(
    runs: dict[str, Path], in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["generate", "--rules", "number.constant", "--num", "2", "--out", "p.npy"])
    mask = np.zeros((9, 9), bool)
    mask[:3, :3] = True
    np.save("m.npy", mask)
    options = ["--mask", "m.npy", "--particles", "3", "--top-k", "5", "--out", "c.npy"]
    assert main(["complete", str(runs["autoregressive"]), "p.npy", *options]) == 0
    assert np.array_equal(np.load("c.npy")[:, :, ~mask], np.load("p.npy")[:, :, ~mask])
    unread = "in 2 of 2 puzzles this model writes open cells without reading the given ones after them"
    assert unread not in capsys.readouterr().err
    assert main(["complete", str(runs["autoregressive"]), "p.npy", *options[:2], "--out", "d.npy"]) == 0
    assert f"{unread}: ask for --particles 64, or take" in capsys.readouterr().err
    main(["generate", "--rules", "number.constant", "--num", "1", "--out", "one.npy"])
    greedy, several = ["p.npy", "--completion-temperature", "0"], ["one.npy", "--candidates", "2"]
    for name, more, particles in (("e", greedy, "64 with --completion-temperature 1"), ("f", several, "64")):
        command = ["complete", str(runs["autoregressive"]), *more, *options[:2], "--out", f"{name}.npy"]
        assert main(command) == 0
        said = capsys.readouterr().err
        assert "writes open cells without reading" in said and f"ask for --particles {particles}, or take" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--completion", "tds", "--particles", "0"], "--particles 0: expected num_particles to be 1 or more"),
        (["--particles", "4"], "expected num_particles with completion by tds, got replacement"),
        (
            ["--completion", "tds", "--resamples", "4"],
            "expected num_resamples with completion by replacement or guidance",
        ),
        (["--guidance-strength", "2"], "ask for completion guidance as well"),
        (["--resamples", "0"], "num_resamples to be 1 or more"),
        (["--steps", "0"], "expected num_steps to be 1 or more, got 0"),
        (["--guidance-scale", "2"], "expected guidance_scale for a network with labels"),
    ],
)
def test_completion_options_that_make_no_sense(
    options: list[str], says: str, runs: dict[str, Path], in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in error_of(["evaluate", runs["diffusion"], *options, "--out", "e.json"], capsys)
    assert not list(in_tmp_path.iterdir())


def test_ways_of_sampling_and_completing(runs: dict[str, Path], in_tmp_path: Path) -> None:
    main(["generate", "--rules", "number", "--num", "1", "--out", "p.npy"])
    written = []
    for options in (
        ["--sampler", "flow_sde"],
        ["--resamples", "2"],
        ["--completion", "guidance", "--guidance-strength", "3", "--sampler", "dpmpp_2m"],
        ["--completion", "tds", "--particles", "2"],
    ):
        complete = ["complete", str(runs["diffusion"]), "p.npy", "--steps", "4", *options]
        assert main([*complete, "--out", "c.npy", "--overwrite"]) == 0
        written.append(np.load("c.npy"))
    assert len({w.tobytes() for w in written}) == 4
    given = ~last_panel_mask(1)[0].numpy()
    assert all(np.array_equal(w[:, :, given], np.load("p.npy")[:, :, given]) for w in written)
    evaluate = ["evaluate", str(runs["diffusion"]), "--puzzles-per-rule", "1", "--out", "e.json"]
    assert main([*evaluate, "--completion", "tds", "--particles", "3", "--sampler", "heun"]) == 0
    used = json.loads(Path("e.json").read_text())["results"][0]["sampling"]
    assert (used["completion"], used["num_particles"], used["sampler"]) == ("tds", 3, "heun")


def test_a_sampler_that_the_process_cannot_use(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = [*TINY, "--model.network.patch", "3", "--model.method.sampling.num_steps", "2", *QUICK, "--run_dir", "r"]
    fit = ["fit", "-c", "model/dit_s3.yaml", *small]
    message = error_of([*fit, "--model.method.sampling.sampler", "heun"], capsys)
    assert "expected a sampler that Ddpm can use, one of ddim, ancestral, dpmpp_2m, dpmpp_2m_sde, got heun" in message
    assert "expected process.rho to be a finite number above 0, got 0.0" in error_of(
        ["fit", "-c", "model/sit_tiny.yaml", *QUICK, *("--model.method.process=Edm", "--model.method.process.rho=0")],
        capsys,
    )
    assert not Path("r").exists()
    assert main(fit) == 0
    assert "--sampler heun: expected a sampler that Ddpm can use" in error_of(
        ["sample", "r", "--sampler", "heun"], capsys
    )
    assert "at most 1000" in error_of(["sample", "r", "--steps", "2000"], capsys)
    assert main(["sample", "r", "--num", "2", "--sampler", "dpmpp_2m", "--steps", "3"]) == 0


def test_validate_test_and_predict(runs: dict[str, Path], in_tmp_path: Path) -> None:
    for family, run in runs.items():
        arguments = [*FAMILIES[family], "--ckpt_path", str(run)]
        assert main(["validate", *arguments]) == 0
        assert main(["test", *arguments]) == 0
        assert main(["predict", *arguments]) == 0
        assert np.load("predictions.npy").shape == (6, *layout.PUZZLE_SHAPE)
        assert {path.name for path in in_tmp_path.iterdir()} == {"predictions.npy"}
        Path("predictions.npy").unlink()


def test_a_null_within_classes_within_classes_is_one() -> None:
    given = ["fit", "--model", "DiffusionModule", "--model.network", "DiT", "--model.method", "GaussianDiffusion",
             "--model.method.process", "Ddpm", "--model.method.process.last_time", "null",
             "--model.network.reads_unknown", "null", "--model.method.sampling.sampler", "null"]  # fmt: skip
    method = TrainingParser([*given, "--data.samples_per_rule", "4"]).config.fit.model.init_args.method.init_args
    assert method.process.init_args.last_time is None
    assert method.sampling.sampler is None
