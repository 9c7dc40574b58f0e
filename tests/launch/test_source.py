"""data.source: its place and contents are a part of what a run is."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny import fit, steps

from genraven.report.reading import read_run
from launch.cli import main
from launch.configs.identity import config_hash, refuse_other
from launch.runs.folder import RunFolder

SHORT = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--data.samples_per_rule", "2"]


@pytest.fixture(autouse=True)
def rows(in_tmp_path: Path) -> None:
    """A file, another under the same name in another folder, and a copy of the first."""
    Path("other").mkdir()
    for seed, name in enumerate(("rows.npy", "other/rows.npy")):
        assert main(["generate", "--seed", str(seed), "--num", "2", "--layout", "published", "--out", name]) == 0
    Path("copy.npy").write_bytes(Path("rows.npy").read_bytes())


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    return line


def command(source: str, run: str = "run", *more: str) -> list[str]:
    return fit(Path(run).absolute(), *SHORT, "--data.source", source, *more)


def replace(path: str, by: str) -> None:
    """Even with the same size and times."""
    before = Path(path).stat()
    Path(path).write_bytes(Path(by).read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_another_file_is_refused(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(command("rows.npy")) == 0
    data = RunFolder(Path("run")).config()["data"]
    assert data["source"] == str(in_tmp_path / "rows.npy")
    state = torch.load(in_tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    assert state["genraven_config"]["data"] == data
    evaluate = ["evaluate", str(in_tmp_path / "run"), "--puzzles-per-rule", "1"]
    longer = ["--trainer.max_steps", "4"]

    monkeypatch.chdir("other")  # the config says rows.npy, too
    run = str(in_tmp_path / "run")
    assert "with data.source_sha256" in error_of(command("rows.npy", run, *longer), capsys)
    assert main(evaluate) == 0
    assert main(command("../copy.npy", run, *longer)) == 0
    assert steps(Path(run))[-1] == 4

    monkeypatch.chdir(in_tmp_path)
    replace("copy.npy", "other/rows.npy")  # which the run was gone on with
    assert "put the former file back, or begin another run" in error_of(evaluate, capsys)
    assert "with data.source_sha256" in error_of(command("copy.npy", "run", *longer), capsys)
    Path("copy.npy").unlink()
    assert main(["sample", "run", "--num", "1"]) == 0
    assert "copy.npy" in error_of(evaluate, capsys)


def test_what_was_submitted_is_what_is_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command("rows.npy")) == 0
    config = Path("run/config.yaml").read_text()
    Path("job.yaml").write_text(config)
    replace("rows.npy", "other/rows.npy")
    assert "put the former file back" in error_of(["fit", "-c", "job.yaml", "--run_dir", "new"], capsys)
    assert not Path("new").exists()


def test_the_file_is_told_by_what_it_holds(tmp_path: Path) -> None:
    def config(source: str, sha256: str | None) -> dict[str, dict[str, str | None]]:
        return {"data": {"source": source, "source_sha256": sha256}}

    assert config_hash(config("/a", "1")) == config_hash(config("/b", "1")) != config_hash(config("/a", "2"))
    assert config_hash(config("/a", None)) != config_hash(config("/b", None))
    refuse_other(config("rows.npy", None), config(str(tmp_path / "rows.npy"), "1"), tmp_path)  # of an older version
    with pytest.raises(ValueError, match="data.source"):
        refuse_other(config("other.npy", None), config(str(tmp_path / "rows.npy"), "1"), tmp_path)


def test_scores_and_report_tell_files_apart(capsys: pytest.CaptureFixture[str]) -> None:
    names = {}
    for run, source in {"a": "rows.npy", "c": "other/rows.npy"}.items():
        assert main(command(source, run)) == 0
        assert main(["evaluate", run, "--puzzles-per-rule", "1"]) == 0
        names[run] = read_run(run, Path(run), "finished")[0].dataset
    assert names["a"] != names["c"]
    facts = {run: json.loads(Path(run, "evaluation.json").read_text())["run"]["data_source"] for run in "ac"}
    assert facts["a"] != facts["c"]
    assert "data_source" in error_of(["evaluate", "c", "--puzzles-per-rule", "2", "--out", "a/evaluation.json"], capsys)


def test_the_seed_of_the_weights_is_a_part_of_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2"]
    assert main(fit(Path("run"), *short, "--seed_everything", "1")) == 0
    before = Path("run/config.yaml").read_text()
    said = error_of(fit(Path("run"), *short, "--seed_everything", "2"), capsys)
    assert "got a run with seed_everything 1 instead of 2" in said
    assert Path("run/config.yaml").read_text() == before
    assert "seed_everything 1 instead of 0" in error_of(fit(Path("run"), *short), capsys)
    going_on = ["--ckpt_path", "run", "--seed_everything", "2"]
    assert "seed_everything 1 instead of 2" in error_of(fit(Path("new"), *short, *going_on), capsys)
    config = yaml.safe_load(before)
    assert config_hash(config) != config_hash(config | {"seed_everything": 2})
    (old,) = Path("run/checkpoints").glob("step-*.ckpt")  # of a version that did not note it
    state = torch.load(old, weights_only=True)
    assert state["genraven_config"].pop("seed_everything") == 1
    torch.save(state, old)
    assert main(fit(Path("run"), "--trainer.max_steps", "4", "--seed_everything", "1")) == 0
    assert steps(Path("run"))[-1] == 4


def test_the_source_is_checked_again_where_it_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    data = np.load("rows.npy")
    assert data.shape[0] == 40
    wrong = command("rows.npy", "run", "--data.source_sha256", "0" * 64)
    assert "with SHA-256 '0000" in error_of(wrong, capsys)
    assert not Path("run").exists()
