"""Who started a process: what the environment says is believed when it is whole, and forgotten when it is left over."""

import os

import pytest

from genraven.errors import InputError
from launch.cli import main
from launch.processes.process_group import ProcessGroup
from launch.processes.started_by import by_scheduler, check_nodes, check_size, is_alone, settle_starter, tasks
from launch.schedulers.scheduler import RANKS

TASKS = tasks()

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1",
    "MASTER_ADDR": "n1", "MASTER_PORT": "1234",
}  # fmt: skip
ALLOCATION = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "1"}
BATCH = {**ALLOCATION, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
STEP = {**BATCH, "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2"}


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in {*RANKS, *TASKS, *TORCHRUN, *STEP}:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("environment", "group"),
    [
        ({}, ProcessGroup()),
        ({"RANK": "3"}, ProcessGroup()),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "4"}, ProcessGroup()),
        ({"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "n1", "MASTER_PORT": "1"}, ProcessGroup()),
        (ALLOCATION, ProcessGroup()),
        (BATCH, ProcessGroup()),
        ({**BATCH, "RANK": "3", "MASTER_ADDR": "n1"}, ProcessGroup()),
        ({**STEP, "SLURM_STEP_NUM_TASKS": "1"}, ProcessGroup()),
        (TORCHRUN, ProcessGroup(3, 4, 1)),
        (TORCHRUN | ALLOCATION, ProcessGroup(3, 4, 1)),
        # srun starts torchrun on each of two nodes
        (TORCHRUN | STEP | {"SLURM_STEP_NUM_TASKS": "2"}, ProcessGroup(3, 4, 1)),
        (STEP, ProcessGroup(2, 4, 2)),
        ({**STEP, "RANK": "3", "LOCAL_RANK": "0"}, ProcessGroup(2, 4, 2)),
        ({**STEP, "SLURM_JOB_NAME": "interactive"}, ProcessGroup(2, 4, 2)),
        ({**STEP, **TORCHRUN}, ProcessGroup(2, 4, 2)),  # a wrapper that says again what srun says
    ],
)
def test_only_what_is_whole_is_believed(
    environment: dict[str, str], group: ProcessGroup, settled: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        settled.setenv(name, value)
    settle_starter()
    assert ProcessGroup.of_environment() == group
    assert is_alone() == (group.size == 1)
    assert bool(by_scheduler()) == (group.size > 1 and "SLURM_PROCID" in os.environ)
    left = {name for name in (*RANKS, *TASKS) if name in os.environ}
    assert left.isdisjoint(TASKS if not by_scheduler() else RANKS)
    assert not (is_alone() and left)
    assert os.environ.get("SLURM_JOB_ID") == environment.get("SLURM_JOB_ID")


@pytest.mark.parametrize("before", [True, False])
def test_it_is_settled_wherever_a_plugin_is_named(before: bool, settled: pytest.MonkeyPatch) -> None:
    settled.setenv("SLURM_NTASKS", "2")
    words, plugin = ["fit", "--no_such_option"], ["--plugin", "colorsys"]
    assert main([*plugin, *words] if before else [*words, *plugin]) == 2
    assert "SLURM_NTASKS" not in os.environ


def test_what_is_ignored_is_said(settled: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    settled.setenv("RANK", "3")
    settle_starter()
    said = capsys.readouterr().err
    assert said.startswith("genraven: ignored RANK=3 of the environment, because neither srun, torchrun nor `genraven")


def test_several_nodes_need_somebody_who_starts_them(settled: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^expected a process on each of 2 nodes, got this one alone: .*srun"):
        check_nodes(2)
    for name, value in {"MASTER_ADDR": "n1", "MASTER_PORT": "1234", "NODE_RANK": "1"}.items():
        settled.setenv(name, value)
    check_nodes(2)
    assert os.environ["NODE_RANK"] == "1"
    check_nodes(1)
    assert not {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} & set(os.environ)


@pytest.mark.parametrize("environment", [TORCHRUN, STEP])
def test_as_many_processes_as_devices(environment: dict[str, str], settled: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        settled.setenv(name, value)
    settle_starter()
    check_size(4)
    with pytest.raises(
        InputError, match=r"trainer.devices, 2, got 4 \(.*: start as many, with srun or `genraven launch`"
    ):
        check_size(2)
