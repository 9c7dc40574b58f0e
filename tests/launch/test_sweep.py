"""Grids: their points, their names, and which of them are started."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from genraven.puzzles.spec import RULE_ID
from genraven.report.record import Record
from genraven.report.study import add_to_study
from launch.cli import main
from launch.configs.shipped import CONFIGS
from launch.jobs.local_queue import surroundings, visible_gpus
from launch.jobs.sweep import Point, plan, read_grid
from launch.training.resolve import Resolver

ROOT = Path(__file__).parents[2]
Fake = Callable[..., Path]
BASE = (
    "-c data/demo.yaml -c trainer/debug.yaml --data.global_batch_size 8 --trainer.max_steps 4 "
    "--trainer.val_check_interval 4 --trainer.enable_progress_bar false"
)
GRID = f"""
base: {BASE}
axes:
  model: [gpt2_tiny]
  data.samples_per_rule: [20, 30]
  seed: [0, 1]
"""
NAMES = ["gpt2_tiny-20-s0", "gpt2_tiny-20-s1", "gpt2_tiny-30-s0", "gpt2_tiny-30-s1"]


@pytest.fixture
def grid(in_tmp_path: Path) -> Path:
    path = in_tmp_path / "grid.yaml"
    path.write_text(GRID)
    return path


def finish(run: Path, state: str = "finished", max_steps: int = 4) -> None:
    run.mkdir(parents=True, exist_ok=True)
    (run / "summary.json").write_text(json.dumps({"state": state, "max_steps": max_steps}))


def started(out: Path) -> list[str]:
    """Names of the runs of the newest array."""
    newest = max((out / "jobs").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)
    return [Path(line).name for line in (newest / "runs.txt").read_text().splitlines()]


def test_points(grid: Path) -> None:
    points = read_grid(grid)
    assert [point.name for point in points] == NAMES
    configs = ("-c", "data/demo.yaml", "-c", "trainer/debug.yaml", "-c", "model/gpt2_tiny.yaml")
    assert points[1].arguments[:7] == ("fit", *configs)
    assert points[1].arguments[-3:] == ("--data.samples_per_rule=20", "--seed_everything=1", "--model.seed=1")


def test_a_repeat_has_other_puzzles_as_well(grid: Path) -> None:
    grid.write_text("axes: {model: [gpt2_tiny], repeat: [0, 1]}")
    assert [point.name for point in read_grid(grid)] == ["gpt2_tiny-r0", "gpt2_tiny-r1"]
    options = ("--seed_everything=1", "--model.seed=1", "--data.seed=1")
    assert read_grid(grid)[1].arguments == ("fit", "-c", "model/gpt2_tiny.yaml", *options)


def test_variants_have_names_and_options_of_their_own(grid: Path) -> None:
    """Their configs override those of the base, and their options all others."""
    grid.write_text("base: -c data/demo.yaml --trainer.max_steps 4\naxes:\n  data.samples_per_rule: [20]\n  variant:\n"
                    "    plain: -c model/mdm_tiny.yaml\n"
                    "    wide: --model.network.width 96 -c model/mdm_tiny.yaml --model.network.depth 4\n")  # fmt: skip
    plain, wide = read_grid(grid)
    assert (plain.name, wide.name) == ("20-plain", "20-wide")
    common = ("fit", "-c", "data/demo.yaml", "-c", "model/mdm_tiny.yaml", "--trainer.max_steps", "4")
    assert plain.arguments == (*common, "--data.samples_per_rule=20")
    more = ("--data.samples_per_rule=20", "--model.network.width", "96", "--model.network.depth", "4")
    assert wide.arguments == (*common, *more)


def test_a_variant_overrides_the_base_whatever_both_are(grid: Path) -> None:
    (grid.parent / "mine.yaml").write_text("model: {ema_decay: 0.5}\ntrainer: {val_check_interval: 7}\n")
    grid.write_text(
        "base: -c model/gpt2_tiny.yaml -c recipe/steady.yaml -c data/demo.yaml --trainer.max_steps 100\n"
        f"axes: {{variant: {{plain: --model.ema_decay 0.9, mine: -c {grid.parent}/mine.yaml, "
        "large: -c model/gpt2_small.yaml --trainer.max_steps 200}}"
    )
    points = {point.name: list(point.arguments) for point in read_grid(grid)}
    resolver = Resolver(points["plain"])
    plain, mine, large = (resolver.resolve(points[name]) for name in ("plain", "mine", "large"))
    assert plain["model"]["init_args"]["ema_decay"] == 0.9
    assert mine["trainer"]["val_check_interval"] == 7
    alone, steady = (
        resolver.resolve(["fit", "-c", f"model/{name}.yaml", "-c", "recipe/steady.yaml", "-c", "data/demo.yaml"])
        for name in ("gpt2_small", "gpt2_tiny")
    )
    network = large["model"]["init_args"]["network"]
    assert network["init_args"]["width"] == alone["model"]["init_args"]["network"]["init_args"]["width"]
    assert large["trainer"]["max_steps"] == 200
    assert plain["model"]["init_args"]["schedule"] == steady["model"]["init_args"]["schedule"]


def test_a_grid_without_axes_is_one_run_with_a_name(grid: Path) -> None:
    grid.write_text("tiers: {first: {base: -c model/gpt2_tiny.yaml, axes: {}}, more: {axes: {repeat: [1, 2]}}}")
    assert [point.name for point in read_grid(grid)] == ["base", "r1", "r2"]


def test_names_of_other_values(grid: Path) -> None:
    grid.write_text("axes: {data.held_out: [[1, 2], none], model: [my/net.yaml], data.samples_per_rule: [null], "
                    "model.ema_decay: [0.99], trainer.benchmark: [true]}")  # fmt: skip
    points = read_grid(grid)
    assert [point.name for point in points] == [
        f"{held_out}-net-samples_per_rulenull-ema_decay0.99-benchmarkTrue" for held_out in ("1+2", "none")
    ]
    options = ["--data.held_out=[1, 2]", "--data.samples_per_rule=null", "--model.ema_decay=0.99"]
    assert list(points[0].arguments[3:6]) == options
    assert points[0].arguments[6] == "--trainer.benchmark=true"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("axis: {}", "got axis"),
        ("[1]", "got list"),
        ("axes: {seed: 3}", "write [3]"),
        ("axes: {seed: []}", "list of values for seed"),
        ("axes: {seed: [1, 1]}", "two of s1"),
        ("axes: {seed: {}}", "list of values for seed"),
        ("axes: {variant: {a: 3}}", "options of fit in one string for each name of variant"),
        ("axes: {variant: {a: ''}}", "options of fit in one string for each name of variant"),
        ("{base: [x], axes: {seed: [1]}}", "in one string"),
        ("axes: [", "expected a YAML file"),
        (f"axes: {{seed: {list(range(1001))}}}", "at most 1000 runs"),
        ("{base: --run_dir mine, axes: {seed: [1]}}", "without --run_dir, which the name of each run"),
        ("axes: {run_dir: [p, q]}", "without --run_dir"),
        (f"axes: {{data.rules: [[{', '.join(RULE_ID)}]]}}", "names of runs of 200 bytes at most, got"),
        (GRID.replace("[20, 30]", "[20, many]"), "run gpt2_tiny-many-s0: "),
        (GRID.replace("size 8", "size 7"), "run gpt2_tiny-20-s0: expected a global_batch_size"),
        (GRID.replace("gpt2_tiny", "gpt3"), "did you mean"),
    ],
)
def test_grids_that_are_refused(
    text: str, message: str, grid: Path, fake_slurm: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fake_slurm()
    grid.write_text(text)
    assert main(["sweep", str(grid), "--gpus-per-node", "2"]) == 2
    assert message in capsys.readouterr().err
    assert list(grid.parent.iterdir()) == [grid]
    assert not calls.exists() or "sbatch" not in calls.read_text()


def test_only_what_is_missing_or_failed_is_started(
    grid: Path, fake_slurm: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, out = ["sweep", str(grid), "--max-parallel", "2"], grid.parent / "runs" / "grid"
    fake_slurm(sbatch="20")
    assert main(sweep) == 0
    assert started(out) == NAMES
    assert "--array=0-3%2" in next(out.glob("jobs/*/job.sbatch")).read_text()
    assert json.loads((out / NAMES[2] / "job" / "spec.json").read_text())["job"] == "20_2"
    fake_slurm(squeue="20_1|RUNNING|None\n20_2|PENDING|Priority", sbatch="21")
    finish(out / NAMES[0])
    finish(out / NAMES[3], "failed")
    assert main(sweep) == 0
    assert started(out) == [NAMES[3]]
    for name in NAMES:
        finish(out / name)
    fake_slurm(sbatch=("must not be called", 1))
    assert main(sweep) == 0
    assert "4 done or at work, 0 to start" in capsys.readouterr().out
    finish(out / NAMES[1], max_steps=3)  # of an earlier, shorter grid
    assert main([*sweep, "--dry-run"]) == 0
    assert "1 to start\n" + NAMES[1] in capsys.readouterr().out


@pytest.mark.usefixtures("no_slurm")
def test_runs_that_are_done_by_another_base_are_told(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line where weights are the same; else it is refused, after the name of the first."""
    out = grid.parent / "runs" / "grid"
    for run in plan(read_grid(grid), out, None, None)[:2]:
        finish(run.folder)
        (run.folder / "config.yaml").write_text(yaml.safe_dump(run.config))
    sweep = ["sweep", str(grid), "--local", "1", "--dry-run"]
    assert main(sweep) == 0
    assert "with other options" not in capsys.readouterr().out
    grid.write_text(GRID.replace(BASE, f"{BASE} --best_by c3 --trainer.limit_val_batches 5"))
    assert main(sweep) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == (
        f"2 done with other options than now, such as {NAMES[0]}: best_by 'completion' instead of 'c3', "
        "trainer.limit_val_batches None instead of 5"
    )
    assert "2 done or at work, 2 to start" in said[1]
    grid.write_text(GRID.replace(BASE, f"{BASE} --trainer.gradient_clip_val 0.5"))
    assert main(sweep) == 2
    assert f"run {NAMES[0]}: expected " in (said := capsys.readouterr().err)
    assert "got a run with trainer.gradient_clip_val 1.0 instead of 0.5" in said


@pytest.mark.usefixtures("no_slurm")
def test_what_a_study_keeps_is_not_trained_again(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its config, whatever its name or place; not what was trained for fewer steps, or was interrupted."""
    grid.write_text(GRID.replace("[20, 30]", "[20]"))
    out = grid.parent / "elsewhere"
    done, other = (run.config for run in plan(read_grid(grid), out, None, None))
    del done["trainer"]["profiler"]  # an older run, which lacks what makes no difference
    kept = {"mine": ("finished", 4, done), "short": ("finished", 3, other), "failed": ("failed", 4, other)}
    files = {name: Record(out, {"state": state, "max_steps": steps}, config)
             for name, (state, steps, config) in kept.items()}  # fmt: skip
    add_to_study(grid.parent / "study", files)
    sweep = ["sweep", str(grid), "--local", "1", "--dry-run", "--done-in"]
    assert main([*sweep, str(grid.parent)]) == 0
    said = capsys.readouterr().out
    assert "1 done or at work, 1 to start" in said
    assert [line.split()[0] for line in said.splitlines()[1:]] == [NAMES[1]]
    assert main([*sweep, str(out)]) == 2
    assert f"expected --done-in to be the folder of a study, got {out}" in capsys.readouterr().err


def test_a_refusing_sbatch_leaves_nothing(grid: Path, fake_slurm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake_slurm(sbatch=("sbatch: error: too many jobs", 1))
    assert main(["sweep", str(grid)]) == 2
    assert "too many jobs" in capsys.readouterr().err
    assert list(grid.parent.iterdir()) == [grid]


@pytest.mark.usefixtures("no_slurm")
def test_a_disk_without_room_for_the_code_is_said(
    grid: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(source: str, place: str, *args: Any, **settings: Any) -> None:
        raise shutil.Error([(source, place, "[Errno 28] No space left on device")])

    monkeypatch.setattr(shutil, "copytree", full)
    assert main(["sweep", str(grid), "--local", "1"]) == 2
    assert "([Errno 28] No space left on device): choose another." in capsys.readouterr().err
    assert list(grid.parent.iterdir()) == [grid]


@pytest.mark.slow
@pytest.mark.usefixtures("no_slurm")
def test_the_study_is_112_runs_that_all_resolve(in_tmp_path: Path) -> None:
    """Each model is resolved once, and one of them with all data: the two do not meet in any check."""
    grid = CONFIGS / "sweep" / "study.yaml"
    assert yaml.safe_load(grid.read_text())["axes"]["data.samples_per_rule"] == [400, 4000, 40000, 400000]
    points = read_grid(grid)
    assert len(points) == 112
    assert points[0].name == "edm_base-400-split0"
    chosen = [p for p in points if p.name.endswith("-400-split0") or p.name.startswith("gpt2_small_joint-")]
    assert len(chosen) == 14 + 7
    assert [run.point for run in plan(chosen, in_tmp_path, None, None)] == chosen


def test_gpus_of_local_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert visible_gpus() == ["2", "5"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


def test_local_runs_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)))
    environment = surroundings(3, ["2", "5"], 4)
    assert (environment["OMP_NUM_THREADS"], environment["CUDA_VISIBLE_DEVICES"]) == ("3", "5")
    assert "SLURM_NTASKS" not in environment
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert surroundings(0, [], 4)["OMP_NUM_THREADS"] == "7"


@pytest.mark.slow
@pytest.mark.usefixtures("no_slurm", "at_once")
def test_local_runs(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second is told a cache folder that is a file."""
    Path("blocked").touch()
    small = "--model.network.width 24 --model.network.depth 1 --model.network.num_heads 2 --data.samples_per_rule 30"
    base = f"-c model/gpt2_tiny.yaml {BASE} {small} --trainer.accelerator cpu"
    Path("grid.yaml").write_text(f"base: {base}\naxes: {{data.cache_dir: [good, blocked]}}")
    assert main(["sweep", "grid.yaml", "--local", "2"]) == 1
    said = capsys.readouterr().out
    assert "good: finished" in said
    assert "blocked: ended with exit code" in said
    Path("blocked").unlink()
    assert main(["sweep", "grid.yaml", "--local", "2"]) == 0
    assert "1 done or at work, 1 to start" in capsys.readouterr().out
    assert {json.loads(path.read_text())["state"] for path in Path("runs/grid").glob("*/summary.json")} == {"finished"}


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_or_a_closed_terminal_ends_local_runs(number: signal.Signals, in_tmp_path: Path) -> None:
    base = f"-c model/gpt2_tiny.yaml {BASE} --trainer.accelerator cpu --trainer.max_steps 100000"
    Path("grid.yaml").write_text(f"base: {base}\naxes: {{seed: [0, 1, 2]}}")
    command = [sys.executable, "-m", "launch.cli", "sweep", "grid.yaml", "--local", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    heeded = partial(signal.signal, number, signal.SIG_DFL)  # also where the tests run in the background
    with subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heeded
    ) as process:  # fmt: skip
        notes = [Path(f"runs/grid/s{i}/job/spec.json") for i in (0, 1)]
        wait_for(lambda: all(path.exists() for path in notes))
        wait_for(lambda: all((path.parents[1] / "summary.json").exists() for path in notes))
        pids = [json.loads(path.read_text())["pid"] for path in notes]
        process.send_signal(number)
        assert process.wait(90) == 130
        assert process.stderr is not None
        assert process.stderr.read().endswith("genraven: interrupted\n")
    assert not Path("runs/grid/s2/summary.json").exists()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def wait_for(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_tiers_come_in_their_order(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid.write_text("base: --trainer.max_steps 4\ntiers:\n  first: {axes: {model: [gpt2_tiny], seed: [0, 1]}}\n"
                    "  more: {base: --trainer.max_steps 8, axes: {model: [mdm_tiny]}}\n")  # fmt: skip
    points = read_grid(grid)
    assert [point.name for point in points] == ["gpt2_tiny-s0", "gpt2_tiny-s1", "mdm_tiny"]
    assert points[2].arguments[-4:] == ("--trainer.max_steps", "4", "--trainer.max_steps", "8")
    assert [point.name for point in read_grid(grid, "more")] == ["mdm_tiny"]
    assert main(["sweep", str(grid), "--local", "1", "--tier", "last"]) == 2
    grid.write_text("axes: {model: [gpt2_tiny]}")
    assert main(["sweep", str(grid), "--local", "1", "--tier", "more"]) == 2
    refused = capsys.readouterr().err
    assert "first, more, got last" in refused
    assert "expected a grid with tiers for --tier more" in refused


def test_the_whole_study_gives_both_families_as_many_puzzles() -> None:
    points = read_grid(CONFIGS / "sweep" / "whole.yaml")
    assert len(points) == 18 + 6 + 18 + 9 + 6 + 18
    resolver = Resolver(list(points[0].arguments))
    last = {point.name.split("-")[-1]: point for point in points}  # one of each recipe
    seen = {}
    for name, point in last.items():
        config = resolver.resolve([*point.arguments, "--run_dir", "x"])
        seen[name] = config["trainer"]["max_steps"] * config["data"]["global_batch_size"]
    assert seen.pop("ar_double") == seen.pop("mdm_double") == 1_600_000
    assert set(seen.values()) == {800_000}


def test_the_study_between_the_families_is_the_little_data_study_but_for_one_choice() -> None:
    """As many puzzles seen of the same data, and no run of it again; in float32, the same on every machine."""
    points = read_grid(CONFIGS / "sweep" / "between.yaml")
    assert len(points) == 20 + 6 + 40
    assert {point.name[:3] for point in points[:10]} == {"100"}
    assert all("-r0-" in point.name for point in points[:20])
    reference = read_grid(CONFIGS / "sweep" / "little_data.yaml")
    resolver = Resolver(list(points[0].arguments))

    def config(point: Point) -> dict[str, Any]:
        return resolver.resolve([*point.arguments, "--run_dir", "x"])

    known = {point.name: config(point) for point in reference if re.match(r"(100|1600)-r0-(gpt2|mdm)$", point.name)}
    assert len(known) == 4
    for point in (*points[:20], *points[20:22]):
        found, alike = config(point), known[f"{point.name.split('-')[0]}-r0-gpt2"]
        assert found["trainer"] == alike["trainer"] | {"precision": "32-true"}
        assert found["data"] == alike["data"]
        assert all(found["model"] != other["model"] for other in known.values())
