"""Runs of two nodes that a cluster stops again and again: they end as a run that nobody disturbed, to the last bit."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from jobs import CPUS, ended, job_of, summary_of
from tiny import assert_same_run, fault, fit, leftovers

from launch.cli import main

pytestmark = pytest.mark.slurm
LENGTH = ["--trainer.max_steps", "32"]
# One a start, each in the middle of a step, of an epoch of 12 steps; the process that is late is one or the other.
SIGNALS = [fault("SlurmSignalInStep", start=i, step=3 * i + 1, rank=i % 2) for i in range(10)]
KILLS = [  # one a start
    fault("KillInStep", start=0, step=2, rank=1),
    fault("KillInSave", start=1, step=10, rank=0),
    fault("KillInValidation", start=2, step=16, rank=1),
    fault("KillInBackward", start=3, step=22, rank=1),
    fault("KillInStep", start=4, step=27, rank=0),
]
SAVED = [0, 5, 15, 20, 25]  # the steps gone on from after each


@dataclass(frozen=True)
class Job:
    run: Path
    id: str

    def said(self) -> str:
        return ended(self.run, self.id)


def submit(run: Path, python: str, faults: list[list[str]]) -> Job:
    options = [option for one in faults for option in one]
    cluster = [*CPUS, "--nodes", "2", "--python", python]
    assert main(["submit", *cluster, "--", *fit(run, *LENGTH, *options)]) == 0
    return Job(run, job_of(run))


@pytest.fixture(scope="module")
def jobs(warm_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """All at once, since a requeued job waits for seconds."""
    folder = tmp_path_factory.mktemp("survival")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENRAVEN_CACHE", str(folder / "cache"))
        plans = {"calm": [], "signalled": SIGNALS, "killed": KILLS}
        return {name: submit(folder / name, warm_python, plan) for name, plan in plans.items()}


@pytest.fixture(scope="module")
def calm(jobs: dict[str, Job]) -> Path:
    said = jobs["calm"].said()
    assert said.rstrip().endswith("genraven: finished"), said
    assert "requeued" not in said
    return jobs["calm"].run


def test_signals_to_skewed_processes_ten_times_in_a_row(jobs: dict[str, Job], calm: Path) -> None:
    """Each start saves, and is requeued."""
    said, run = jobs["signalled"].said(), jobs["signalled"].run
    assert said.rstrip().endswith("genraven: finished"), said
    assert [said.count(f"requeued: {i} of at most 20") for i in range(1, 12)] == [1] * 10 + [0]
    restarts = summary_of(run)["restarts"]
    assert [restart["reason"] for restart in restarts] == ["signal SIGUSR1"] * 10
    saved = [restart["step"] for restart in restarts]
    assert all(step - (3 * i + 1) in (1, 2) for i, step in enumerate(saved)), saved
    assert_same_run(run, calm)
    assert leftovers(run / "checkpoints") == []


def test_a_process_killed_at_five_moments(jobs: dict[str, Job], calm: Path) -> None:
    """The run loses the steps since its last checkpoint, and no more."""
    said, run = jobs["killed"].said(), jobs["killed"].run
    assert said.rstrip().endswith("genraven: finished"), said
    assert [said.count(f"requeued: {i} of at most 20") for i in range(1, 7)] == [1] * 5 + [0]
    assert [restart["step"] for restart in summary_of(run)["restarts"]] == SAVED
    assert_same_run(run, calm)
    assert leftovers(run / "checkpoints") == []
