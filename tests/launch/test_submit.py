"""genraven submit, with a SLURM that only says what it is told to."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from genraven.locks import locked
from genraven.run_folder import JobFiles, RunFiles, step_name
from launch.cli import main
from launch.jobs.submit import write_note
from launch.runs import freeze
from launch.runs.freeze import PACKAGES, freeze_code, replaced
from launch.schedulers.cluster_options import add_cluster_arguments, read_cluster
from launch.schedulers.job import Cluster

Fake = Callable[..., Path]
FIT = [
    *("fit", "-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/debug.yaml"),
    *("--data.global_batch_size", "8"),
]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_job_is_frozen_and_explained(in_tmp_path: Path, fake_slurm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    calls = fake_slurm(sbatch="15")
    assert main(["submit", "--nodes", "2", "--gpus-per-node", "4", "--", *FIT, "--run_dir", "runs/a"]) == 0
    run = in_tmp_path / "runs" / "a"
    assert calls.read_text().splitlines()[-1] == f"sbatch --parsable {run}/job/job.sbatch"
    config = yaml.safe_load((run / "job" / "config.yaml").read_text())
    trainer = config["trainer"]
    assert (trainer["num_nodes"], trainer["devices"], trainer["accelerator"]) == (2, 4, "gpu")
    assert config["model"]["init_args"]["network"]["init_args"]["width"] == 48
    assert {path.name for path in (run / "job" / "code").iterdir()} == set(PACKAGES)
    note = json.loads((run / "job" / "spec.json").read_text())
    assert (note["job"], note["cluster"]["nodes"]) == ("15", 2)
    said = capsys.readouterr().out
    for hint in ("slurm-15.out", "genraven status", "scancel 15", "--nodes=2 --gpus-per-node=4 -- fit", "runs/a"):
        assert hint in said


def test_a_dry_run_writes_nothing(in_tmp_path: Path, fake_slurm: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    calls = fake_slurm()
    assert main(["submit", "--dry-run", "--", *FIT]) == 0
    assert capsys.readouterr().out.startswith("#!/bin/bash")
    assert list(in_tmp_path.iterdir()) == []
    assert "sbatch" not in calls.read_text()


@pytest.mark.usefixtures("no_slurm")
def test_without_sbatch(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected sbatch on the PATH" in error_of(["submit", "--", *FIT], capsys)
    assert main(["submit", "--dry-run", "--", *FIT]) == 0
    assert list(in_tmp_path.iterdir()) == []


def test_a_refusing_sbatch_leaves_all_as_it_was(
    in_tmp_path: Path, fake_slurm: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    submit = ["submit", "--", *FIT, "--run_dir", "deep/runs/a"]
    fake_slurm(sbatch=("sbatch: error: no such account", 1))
    assert "no such account" in error_of(submit, capsys)
    assert list(in_tmp_path.iterdir()) == []
    fake_slurm(sbatch="15")
    assert main(submit) == 0
    (in_tmp_path / "deep/runs/a/job/slurm-15.out").write_text("said")
    before = files(in_tmp_path)
    fake_slurm(sbatch=("sbatch: error: no such account", 1))
    error_of(submit, capsys)
    assert files(in_tmp_path) == before
    fake_slurm(sbatch="16")
    assert main(submit) == 0
    assert (in_tmp_path / "deep/runs/a/job/slurm-15.out").read_text() == "said"


@pytest.mark.parametrize(
    ("flags", "fit", "message"),
    [
        (["--gpus-per-node", "3"], FIT, "global_batch_size that 3 device"),
        (["--gpus-per-node", "9"], FIT, "at most 8 GPUs"),
        (["--time", "1:00"], FIT, "longer than the 120 s"),
        ([], [*FIT, "--trainer.devices", "2"], "--gpus-per-node"),
        ([], [*FIT, "--trainer.accelerator", "cpu"], "got trainer.accelerator cpu"),
        ([], [*FIT, "--data.sample_per_rule", "2"], "--data.sample_per_rule"),
        ([], [*FIT, "--data.held_out", "split99"], "split99"),
        ([], [*FIT, "--model.optimizer.lr", "-1"], "Invalid learning rate"),
        ([], [*FIT, "--trainer.val_check_interval", "0"], "trainer.val_check_interval, in steps, to be 1 or more"),
        ([], [*FIT, "--checkpoint_every_n_steps", "0"], "--checkpoint_every_n_steps to be 1 or more"),
        ([], ["train"], "after --"),
        ([], [], "after --"),
        (["--cluster", "cluster/gpus.yaml"], FIT, "did you mean cluster/gpu.yaml"),
    ],
)
def test_bad_input_is_found_before_submission(
    flags: list[str], fit: list[str], message: str, in_tmp_path: Path, fake_slurm: Fake,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    calls = fake_slurm()
    calls.touch()
    assert message in error_of(["submit", *flags, "--", *fit], capsys)
    assert list(in_tmp_path.iterdir()) == []
    assert "sbatch" not in calls.read_text()


def test_the_folder_of_another_run_is_refused(
    in_tmp_path: Path, fake_slurm: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_slurm(sbatch="15")
    submit = ["submit", "--", *FIT, "--run_dir", "a"]
    assert main(submit) == 0
    config = yaml.safe_load(Path("a/job/config.yaml").read_text())
    Path("a/config.yaml").write_text(yaml.safe_dump(config))
    before = files(in_tmp_path)
    assert "data.samples_per_rule 16000 instead of 50" in error_of([*submit, "--data.samples_per_rule", "50"], capsys)
    fake_slurm(squeue="15|PENDING|Priority")
    assert "which is job 15 (pending)" in error_of(submit, capsys)
    fake_slurm()
    Path("a/summary.json").write_text(json.dumps({"state": "preempted", "step": 100, "wall_seconds": 1000}))
    slow = ["submit", "--time", "2:00:00", *submit[1:]]
    assert "one checkpoint interval, 167 minutes" in error_of(slow, capsys)
    with locked(RunFiles(Path("a")).lock, lambda note: 0):
        assert "a, which is running: wait for it, or end it first." in error_of(submit, capsys)
    RunFiles(Path("a")).lock.unlink()
    (checkpoint := RunFiles(Path("a")).checkpoints / step_name(30)).parent.mkdir()
    checkpoint.touch()
    fewer = error_of([*submit, "--trainer.max_steps", "20"], capsys)
    assert "--trainer.max_steps of at least 30, the step of " in fewer and "/step-00000030.ckpt, got 20" in fewer
    checkpoint.unlink()
    checkpoint.parent.rmdir()
    Path("a/summary.json").unlink()
    assert files(in_tmp_path) == before


def test_ctrl_c_while_sbatch_answers_leaves_the_job_its_files(
    in_tmp_path: Path, fake_slurm: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    sbatch = fake_slurm(sbatch="15").parent / "sbatch"
    sbatch.write_text(sbatch.read_text().replace("cat >", "kill -INT $PPID\ncat >", 1))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # also where tests run in the background
    try:
        assert main(["submit", "--", *FIT, "--run_dir", "a"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert json.loads(Path("a/job/spec.json").read_text())["job"] == "15"
    assert "scancel 15" in capsys.readouterr().out


def test_a_checkpoint_to_start_from_is_found_from_anywhere(
    in_tmp_path: Path, fake_slurm: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_slurm()
    monkeypatch.setattr("launch.runs.folder.read_checkpoint", lambda path: {"genraven_config": {}})
    monkeypatch.setattr("launch.configs.identity.refuse_other", lambda *_: None)
    Path("x.ckpt").touch()
    assert main(["submit", "--", *FIT, "--run_dir", "a", "--ckpt_path", "x.ckpt"]) == 0
    assert yaml.safe_load(Path("a/job/config.yaml").read_text())["ckpt_path"] == str(in_tmp_path / "x.ckpt")


def test_two_submissions_in_one_second(in_tmp_path: Path, fake_slurm: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENRAVEN_STARTED", "now")
    for job in ("15", "16"):
        fake_slurm(sbatch=job)
        assert main(["submit", "--", *FIT]) == 0
    notes = sorted(in_tmp_path.glob("runs/*/job/spec.json"))
    assert [json.loads(note.read_text())["job"] for note in notes] == ["15", "16"]
    assert notes[1].parents[1].name == notes[0].parents[1].name + "-2"
    assert f"run_dir={notes[1].parents[1]}\n" in notes[1].with_name("job.sbatch").read_text()


def test_a_refusing_sbatch_leaves_no_default_folder(
    in_tmp_path: Path, fake_slurm: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_slurm(sbatch=("sbatch: error: no such account", 1))
    error_of(["submit", "--", *FIT], capsys)
    assert list(in_tmp_path.iterdir()) == []


def test_a_job_is_named_where_its_note_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_note(JobFiles(tmp_path / "nowhere"), "15", Cluster(), FIT)
    assert "job 15" in capsys.readouterr().err


def test_what_cannot_be_tidied_up_fails_no_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job").mkdir()

    def fail(folder: Path) -> None:
        raise OSError(f"{folder} is busy")

    monkeypatch.setattr("shutil.rmtree", fail)
    with replaced(tmp_path / "job") as folder:
        (folder / "new").touch()
    assert (tmp_path / "job" / "new").exists()


def test_the_checkpoint_to_start_from_is_checked(
    in_tmp_path: Path, fake_slurm: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = fake_slurm()
    calls.touch()
    submit = ["submit", "--", *FIT, "--run_dir", "a", "--ckpt_path", "x.ckpt"]
    assert "/x.ckpt (No such file" in error_of(submit, capsys)
    torch.save({"genraven_config": {"model": {"class_path": "other"}}}, "x.ckpt")
    assert "/x.ckpt to be of this config" in error_of(submit, capsys)
    assert not Path("a").exists()
    assert "sbatch" not in calls.read_text()


def test_a_run_whose_queue_cannot_be_seen_is_left_alone(
    in_tmp_path: Path, fake_slurm: Fake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_slurm(sbatch="15")
    submit = ["submit", "--", *FIT, "--run_dir", "a"]
    assert main(submit) == 0
    monkeypatch.setattr("launch.schedulers.slurm.Slurm.queue", lambda self, ids: None)
    assert "job 15: cannot see the queue" in error_of(submit, capsys)


def test_a_failed_block_puts_a_folder_back(tmp_path: Path) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "config.yaml").touch()

    def fail() -> None:
        with replaced(tmp_path / "job") as folder:
            (folder / "new").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert files(tmp_path) == {"job/config.yaml": b""}


def test_flags_beat_the_cluster_file(tmp_path: Path) -> None:
    import argparse

    path = tmp_path / "mine.yaml"
    path.write_text("time: 12:00:00\nnodes: 2\npartition: null\nsbatch: [--exclusive]\n")
    parser = argparse.ArgumentParser()
    add_cluster_arguments(parser)
    cluster = read_cluster(parser.parse_args(["--cluster", str(path), "--nodes", "3", "--sbatch=--comment=x"]))
    assert (cluster.time, cluster.nodes, cluster.partition) == ("12:00:00", 3, None)
    assert cluster.sbatch == ("--exclusive", "--comment=x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("node: 2", "did you mean nodes?"),
        ("nodes: two", "expected one number for nodes"),
        ("setup: module load x", "expected a list of texts for setup"),
        ("- nodes", "got list"),
        ("nodes: [", "expected a YAML file"),
    ],
)
def test_cluster_files_that_are_refused(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert message in error_of(["submit", "--cluster", str(path), "--", "fit"], capsys)


@pytest.mark.parametrize("name", ["cluster/gpu.yaml", "cluster/cpu.yaml"])
def test_shipped_clusters(name: str, in_tmp_path: Path, fake_slurm: Fake) -> None:
    fake_slurm()
    assert main(["submit", "--dry-run", "--cluster", name, "--", *FIT]) == 0


def test_a_refused_run_leaves_its_reason(
    in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GENRAVEN_REFUSAL", "reason.txt")
    message = error_of(["generate", "--num", "0"], capsys)
    assert message == "genraven: error: " + Path("reason.txt").read_text().strip()


def test_a_copy_of_read_only_code_can_be_removed_by_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of an installation that nobody may write."""
    for package in PACKAGES:
        (tmp_path / "code" / package / "inner").mkdir(parents=True)
        (tmp_path / "code" / package / "inner" / "a.py").touch()
    for path in (tmp_path / "code").rglob("*"):
        path.chmod(0o444 if path.is_file() else 0o555)
    monkeypatch.setattr(freeze, "ROOT", tmp_path / "code")
    (tmp_path / "job").mkdir()
    freeze_code(tmp_path / "job")
    copies = list((tmp_path / "job" / "code").rglob("*"))
    assert len(copies) == 3 * len(PACKAGES)
    assert all(path.stat().st_mode & 0o200 for path in copies)
