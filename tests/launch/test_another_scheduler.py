"""Another scheduler is one class and one entry: submit, sweep, status, a run's lock and its processes find it."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment

from genraven.errors import InputError
from genraven.locks import locked
from genraven.run_folder import RunFiles
from launch.cli import main
from launch.jobs.sweep import Planned, Point, _start_array
from launch.processes.process_group import ProcessGroup, cluster_plugins
from launch.processes.started_by import check_size, is_alone, settle_starter
from launch.runs.starting import occupied
from launch.schedulers import known
from launch.schedulers.job import Cluster, JobSpec
from launch.schedulers.scheduler import Jobs, Place, QueuedJob, own_environment
from launch.schedulers.slurm import Slurm

FIT = ["fit", "-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/debug.yaml"]


class Moab:
    """Everything in memory."""

    name, starter = "moab", "mrun"
    place = Place("MOAB_RANK", "MOAB_SIZE", "MOAB_LOCAL", leftovers=("MOAB_NODES",))

    def __init__(self) -> None:
        self.jobs: Jobs = {}
        self.own: str | None = None

    def is_here(self) -> bool:
        return True

    def own_job(self) -> str | None:
        return self.own

    def own_start(self) -> int:
        return 3

    def environment(self) -> ClusterEnvironment:
        return LightningEnvironment()

    def check(self, cluster: Cluster, *, dry_run: bool) -> None:
        if cluster.nodes > 2:
            raise InputError(f"expected at most 2 nodes, got --nodes {cluster.nodes}: ask for fewer.")

    def script(self, spec: JobSpec) -> str:
        return f"#MOAB nodes={spec.cluster.nodes} of {spec.name}\n"

    def submit(self, script: Path) -> str:
        assert script.read_text().startswith("#MOAB nodes=2 of ")
        handed_on = own_environment("MOAB_")
        assert "PATH" in handed_on and not {"MOAB_NODES", "GENRAVEN_STARTED", "RANK"} & handed_on.keys()
        job = f"{len(self.jobs) + 40}.north"
        self.jobs[job] = QueuedJob("pending", "held by its owner")
        return job

    def queue(self, ids: Iterable[str]) -> Jobs | None:
        return {job: self.jobs[job] for job in ids if job in self.jobs}

    def cancel(self, job: str) -> str:
        return f"mcancel {job}"


@pytest.fixture
def moab(monkeypatch: pytest.MonkeyPatch) -> Moab:
    found = Moab()
    monkeypatch.setattr(known, "SCHEDULERS", [found, Slurm()])
    return found


def test_a_run_is_submitted(
    moab: Moab, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MOAB_NODES", "GENRAVEN_STARTED", "RANK"):  # of a job that this is done in
        monkeypatch.setenv(name, "7")
    submit = ["submit", "--nodes", "2", "--gpus-per-node", "0", "--", *FIT, "--run_dir", "runs/a"]
    assert main(submit) == 0
    said = capsys.readouterr().out
    assert "job 40.north: run folder" in said and "moab-40.north.out" in said and "cancel  mcancel 40.north" in said
    assert json.loads(RunFiles(Path("runs/a")).job.note.read_text())["job"] == "40.north"
    assert main(["status", "runs"]) == 0
    assert "queued" in (line := capsys.readouterr().out.splitlines()[-1])
    assert "job 40.north: held by its owner" in line
    assert main(submit) == 2
    assert "which is job 40.north (pending): wait, or `mcancel 40.north` first" in capsys.readouterr().err
    assert main(["submit", "--nodes", "3", "--", *FIT]) == 2
    assert "expected at most 2 nodes" in capsys.readouterr().err
    for command in (["submit", "--srun=--mpi=none", "--", *FIT], ["sweep", "sweep/demo.yaml", "--srun=--mpi=none"]):
        assert main(command) == 2
        assert "expected settings of moab, got --srun, which is of slurm alone" in capsys.readouterr().err


def test_an_id_that_cannot_be_followed_is_said(
    moab: Moab, in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moab, "submit", lambda script: "gpu/train-40")
    assert main(["submit", "--nodes", "2", "--gpus-per-node", "0", "--", *FIT, "--run_dir", "runs/a"]) == 0
    printed = capsys.readouterr()
    assert "job gpu/train-40: run folder" in printed.out
    assert "got 'gpu/train-40': it is in the queue, but `genraven status` cannot follow it" in printed.err


def test_a_sweep_is_submitted(moab: Moab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [Planned(Point(name, ("fit",)), tmp_path / name, {}) for name in "ab"]
    _start_array(runs, tmp_path, Cluster(nodes=2), None)
    assert "cancel  mcancel 40.north" in capsys.readouterr().out
    notes = [json.loads(RunFiles(run.folder).job.note.read_text())["job"] for run in runs]
    assert notes == ["40.north_0", "40.north_1"]
    moab.jobs = {"40.north_1": QueuedJob("running")}
    assert main(["status", str(tmp_path)]) == 0
    one, other = capsys.readouterr().out.splitlines()[1:]
    assert "gone" in one and "running" in other


def test_a_run_knows_its_job(moab: Moab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moab.own = "7.north"
    assert (known.own_job(), known.own_start()) == ("7.north", 3)
    monkeypatch.setattr("launch.runs.starting.LOST_MACHINE_S", 0.0)
    with locked(lock := RunFiles(tmp_path).lock, lambda note: 0):
        lock.write_text("lost job 7.north")
        with occupied(tmp_path, is_new=False):
            pass  # of this very job, before its machine was lost
    with (
        locked(RunFiles(tmp_path).lock, lambda note: 0, "job 8.north"),
        pytest.raises(InputError, match=r"which job 8\.north on"),
        occupied(tmp_path, is_new=False),
    ):
        pass


def test_its_starter_is_believed(moab: Moab, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MOAB_RANK": "2", "MOAB_SIZE": "4", "MOAB_LOCAL": "0", "RANK": "7"}.items():
        monkeypatch.setenv(name, value)
    settle_starter()
    assert ProcessGroup.of_environment() == ProcessGroup(2, 4, 0)
    assert isinstance(cluster_plugins(2)[0], LightningEnvironment)
    with pytest.raises(InputError, match=r"got 4 \(MOAB_SIZE by mrun\): start as many, with mrun or"):
        check_size(2)


def test_what_is_left_of_it_is_forgotten(
    moab: Moab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"MOAB_NODES": "4", "MOAB_RANK": "2", "RANK": "7"}.items():
        monkeypatch.setenv(name, value)
    settle_starter()
    assert is_alone()
    assert "ignored RANK=7 of the environment, because neither mrun, srun, torchrun nor" in capsys.readouterr().err
