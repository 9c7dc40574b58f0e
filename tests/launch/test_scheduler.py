"""What SLURM says, and what it can hold."""

from collections.abc import Callable
from pathlib import Path

import pytest

from genraven.errors import InputError
from launch.schedulers.job import Cluster
from launch.schedulers.scheduler import QueuedJob
from launch.schedulers.slurm import Slurm, check_cluster, node_groups, require_sbatch

Fake = Callable[..., Path]


def test_partitions(fake_slurm: Fake) -> None:
    fake_slurm()
    assert [(group.partition, group.is_default, group.gpus, group.nodes) for group in node_groups()] == [
        ("gpu", True, 8, 4),
        ("gpu", True, 4, 2),
        ("cpu", False, 0, 10),
    ]


@pytest.mark.parametrize(
    "cluster",
    [
        Cluster(nodes=4, gpus_per_node=8),
        Cluster(nodes=6, gpus_per_node=4, partition="gpu", time="1-00:00:00"),
        Cluster(nodes=10, gpus_per_node=0, partition="cpu", time="30-0"),
        Cluster(nodes=6, gpus_per_node=0, partition="cpu,gpu"),
    ],
)
def test_what_fits(cluster: Cluster, fake_slurm: Fake) -> None:
    fake_slurm()
    check_cluster(cluster, node_groups())


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (Cluster(partition="gpus"), "--partition to be one of cpu, gpu; got gpus"),
        (Cluster(partition="gpu,gpus"), "--partition to be one of cpu, gpu; got gpus"),
        (Cluster(nodes=7, gpus_per_node=0, partition="cpu,gpu"), "at most 6 nodes with 0 GPUs in partition gpu"),
        (Cluster(gpus_per_node=9), "at most 8 GPUs per node in partition gpu, got --gpus-per-node 9"),
        (Cluster(partition="cpu"), "at most 0 GPUs per node in partition cpu"),
        (Cluster(nodes=5, gpus_per_node=8), "at most 4 nodes with 8 GPUs in partition gpu, got --nodes 5"),
        (Cluster(time="1-00:00:01"), "within the limit 1-00:00:00 of partition gpu, got --time 1-00:00:01"),
    ],
)
def test_what_does_not_fit(cluster: Cluster, message: str, fake_slurm: Fake) -> None:
    fake_slurm()
    with pytest.raises(InputError, match=message):
        check_cluster(cluster, node_groups())


def test_queue(fake_slurm: Fake) -> None:
    calls = fake_slurm(squeue="12|RUNNING|None\n13_4|PENDING|JobArrayTaskLimit")
    found = {"12": QueuedJob("running"), "13_4": QueuedJob("pending", "JobArrayTaskLimit")}
    assert Slurm().queue(["12", "13_4", "13_5", "14.north"]) == found  # the last is of another scheduler
    assert " --jobs=12,13 " in calls.read_text()


def test_a_single_job_that_is_over(fake_slurm: Fake) -> None:
    fake_slurm(squeue=("slurm_load_jobs error: Invalid job id specified", 1))
    assert Slurm().queue(["12"]) == {}
    fake_slurm(squeue=("slurm_load_jobs error: Unable to contact slurm controller", 1))
    with pytest.raises(InputError, match="Unable to contact"):
        Slurm().queue(["12"])


def test_submitting(fake_slurm: Fake, tmp_path: Path) -> None:
    calls = fake_slurm(sbatch="15;north")
    assert Slurm().submit(tmp_path / "job.sbatch") == "15"
    assert calls.read_text() == f"sbatch --parsable {tmp_path}/job.sbatch\n"


def test_a_refusal_is_one_line(fake_slurm: Fake) -> None:
    fake_slurm(sbatch=("sbatch: error: Batch job submission failed:\nInvalid qos specification", 1))
    with pytest.raises(InputError, match=r"sbatch to accept the request, got: .*failed: Invalid qos specification$"):
        Slurm().submit(Path("job.sbatch"))


@pytest.mark.usefixtures("no_slurm")
def test_without_slurm() -> None:
    assert Slurm().queue([]) == {}
    assert Slurm().queue(["12"]) is None
    with pytest.raises(InputError, match="expected sbatch on the PATH"):
        require_sbatch()


def test_the_jobs_environment_is_the_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What an allocation or torchrun says of itself neither reaches the job nor beats what its script asks for."""
    tool = tmp_path / "sbatch"
    tool.write_text(f"#!/bin/bash\nenv >{tmp_path}/handed_on\necho 7\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    gone = {
        *("SLURM_CPU_BIND", "SLURM_RESTART_COUNT", "SLURM_JOB_ID", "SBATCH_TIMELIMIT", "SBATCH_PARTITION"),
        *("SRUN_CPUS_PER_TASK", "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK"),
        *("GROUP_RANK", "TORCHELASTIC_RUN_ID", "CUDA_VISIBLE_DEVICES", "SQUEUE_STATES"),
    }
    kept = {"SLURM_CONF", "OMP_NUM_THREADS", "MY_RANK", "WANDB_API_KEY"}
    for name in gone | kept:
        monkeypatch.setenv(name, "1")
    assert Slurm().submit(tmp_path / "script") == "7"
    handed_on = {line.partition("=")[0] for line in (tmp_path / "handed_on").read_text().splitlines()}
    assert (handed_on & gone, handed_on & kept) == (set(), kept)
    assert "did not pass SBATCH_PARTITION, SBATCH_TIMELIMIT of the environment to the job" in capsys.readouterr().err


def test_the_job_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    assert Slurm().own_job() is None
    monkeypatch.setenv("SLURM_JOB_ID", "21")
    assert Slurm().own_job() == "21"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "17")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    assert Slurm().own_job() == "17_4"
    assert Slurm().own_start() == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert Slurm().own_start() == 2
