"""Runs of several processes: the same curve on any number of them, and what happens when one is signalled or lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny import BY_DEVICE, MAX_STEPS, assert_same_run, curves, fault, fit, last_state, leftovers, steps

from callbacks.curve import read_curve
from genraven.installation import command
from genraven.signals import REQUEUE
from launch.cli import main
from launch.processes.started_by import STARTED

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
PLAIN = [  # Adam makes large steps of gradients that are nothing but rounding
    *("--trainer.max_steps", "30", "--trainer.val_check_interval", "15", "--checkpoint_every_n_steps", "15"),
    *("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.1", "--model.network.dropout", "0"),
]


Starts = list[tuple[int, list[str]] | tuple[int, list[str], str]]
RunAll = Callable[[Starts], list[list[int]]]


@pytest.fixture(scope="module")
def run_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunAll]:
    """Makes starts one after the other; the exit codes of the processes of each."""
    environment = os.environ | {"GENRAVEN_CACHE": str(tmp_path_factory.getbasetemp() / "cache")}
    script = [sys.executable, str(HERE / "ranks.py"), str(tmp_path_factory.mktemp("log") / "rank")]
    with subprocess.Popen(
        script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
    ) as ranks:
        assert ranks.stdin is not None
        assert ranks.stdout is not None

        def make(starts: Starts) -> list[list[int]]:
            codes = []
            for start in starts:
                ranks.stdin.write(json.dumps(start) + "\n")
                codes.append(json.loads(ranks.stdout.readline()))
            return codes

        yield make
        ranks.stdin.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, run_all: RunAll) -> Path:
    """A run of two processes that nobody interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert run_all([(2, fit(run))]) == [[0, 0]]
    return run


def test_the_same_losses_on_any_number_of_processes(run_all: RunAll, tmp_path: Path) -> None:
    """1, 2 and 4 processes; 1, 2 and 4 batches accumulated; and all of them in one run that goes on and on."""

    def losses(name: str) -> list[float]:
        logged = curves(tmp_path / name)["train/loss"]
        assert [step for step, _ in logged] == list(range(30))
        return [value for _, value in logged]

    for limit in (8, 4):
        assert main(fit(tmp_path / f"limit{limit}", *PLAIN, "--max_batch_per_device", str(limit))) == 0
    starts = [(2, fit(tmp_path / "ranks2", *PLAIN))]
    parts = [(4, 4, 8), (1, 12, 2), (2, 22, 2)]
    for num, step, limit in parts:
        options = ["--max_batch_per_device", str(limit), *fault("SignalInStep", step=step)]
        starts.append((num, fit(tmp_path / "mixed", *PLAIN, *options)))
    starts.append((4, fit(tmp_path / "mixed", *PLAIN)))
    expected = [[0] * 2, [REQUEUE] * 4, [REQUEUE], [REQUEUE] * 2, [0] * 4]
    assert run_all(starts) == expected
    one = losses("limit8")
    assert one[0] > one[-1] + 0.1
    for name in ("limit4", "ranks2", "mixed"):
        assert losses(name) == pytest.approx(one, abs=2e-5), name
        assert curves(tmp_path / name)["val_count/c3"] == curves(tmp_path / "limit8")["val_count/c3"]


def test_a_validation_between_two_logged_steps_has_the_training_loss_of_all(run_all: RunAll, tmp_path: Path) -> None:
    options = [*PLAIN, "--trainer.max_steps", "5", "--trainer.val_check_interval", "5"]
    options += ["--trainer.log_every_n_steps", "4"]
    assert main(fit(tmp_path / "one", *options)) == 0
    assert run_all([(2, fit(tmp_path / "two", *options))]) == [[0, 0]]
    one, two = (read_curve(tmp_path / name / "curve.csv")[5] for name in ("one", "two"))
    for name in ("train/loss", "train/grad_norm", "val/loss"):
        assert float(two[name]) == pytest.approx(float(one[name]), abs=2e-5), name


def test_two_processes_see_the_missing_cells_of_one(run_all: RunAll, tmp_path: Path) -> None:
    """Also where a network that can read missing cells sees none: each of its parameters takes part in each step."""
    for name, options in {
        "missing": ["--data.corruption.missing", "0.3"],
        "none": ["--model.network.reads_unknown", "true"],
    }.items():
        options += [*PLAIN, "--trainer.max_steps", "20", "--trainer.val_check_interval", "20"]
        assert main(fit(tmp_path / f"{name}1", *options)) == 0
        assert run_all([(2, fit(tmp_path / f"{name}2", *options))]) == [[0, 0]]
        one, two = ([value for _, value in curves(tmp_path / f"{name}{num}")["train/loss"]] for num in (1, 2))
        assert two == pytest.approx(one, abs=2e-5)
        assert len(one) == 20


def test_a_step_that_is_not_logged_exchanges_gradients_once_and_nothing_else(run_all: RunAll, tmp_path: Path) -> None:
    """Beside the question of the guard, which runs on and which nobody waits for."""
    file = tmp_path / "counts.json"
    counter = ["--trainer.callbacks+=faults.CountCollectives", f"--trainer.callbacks.path={file}"]
    options = ["--trainer.log_every_n_steps", "3", "--max_batch_per_device", "2", "--trainer.max_steps", "8"]
    never = ["--trainer.val_check_interval", "100", "--checkpoint_every_n_steps", "100"]
    assert run_all([(2, fit(tmp_path / "run", *counter, *options, *never))]) == [[0, 0]]
    batches = json.loads(file.read_text())[4:14]  # DDP settles its buckets in the first two steps
    assert all(batch["bucket_view"] and not batch["buffers"] for batch in batches)
    assert [batch["step"] for batch in batches] == [2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    exchanges = [(batch["all"], batch["beside"]) for batch in batches]
    not_logged = [([], 0), (["gradients"], 1)]
    logged = [([], 0), (["all_reduce", "gradients"], 1)]  # and the loss
    assert exchanges == logged + not_logged * 2 + logged + not_logged


@pytest.mark.parametrize("stop", [[], fault("SignalInStep", step=4)], ids=["finished", "stopped"])
def test_what_outlives_python_does_not_fail_a_run_of_several(stop: list[str], in_tmp_path: Path, at_once: None) -> None:
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    arguments = fit(Path("run"), "--trainer.callbacks+=faults.AbortWithPython", *stop)
    launched = [*command(), "launch", "--devices", "2", "--", *arguments, "--trainer.max_steps", "8"]
    done = subprocess.run(launched, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == (REQUEUE if stop else 0), done.stderr
    assert [Path(f"left_open_{rank}").read_text() for rank in (0, 1)] == ["written"] * 2


@pytest.mark.parametrize(
    ("ends", "status"), [("return 3", 3), ("sys.exit(4)", 4), ("sys.exit()", 0), ("sys.exit('no')", 1), ("0 / 0", 1)]
)
def test_a_process_among_others_keeps_its_status(ends: str, status: int) -> None:
    """One that is alone ends as Python does, which here aborts it."""
    script = f"""import os, sys
from launch.processes.leaving import Leaving
class Late:
    def __del__(self, abort=os.abort):
        abort()
def command():
    sys.late = Late()
    {ends}
sys.exit(Leaving().after(command))"""
    for others, expected in ({}, -signal.SIGABRT), (dict.fromkeys(STARTED, "0"), status):
        done = subprocess.run([sys.executable, "-c", script], env=os.environ | others, stderr=subprocess.DEVNULL)
        assert done.returncode == expected


def test_torchrun_starts_the_same_run_and_starts_it_again(whole: Path, tmp_path: Path, warm_python: str) -> None:
    """As any launcher that says RANK, WORLD_SIZE and MASTER_ADDR: from the newest checkpoint, to the same weights."""
    run, died = tmp_path / "run", fault("KillInStep", step=12, rank=1, start=0)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    places = {
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
        "OMP_NUM_THREADS": "1",
        "PYTHON_EXEC": warm_python,  # of its processes
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }  # else a second start may find the addresses of the first
    command = [*torchrun, "--max-restarts", "1", "-m", "launch.cli", *fit(run, *died), "--trainer.devices", "2"]
    done = subprocess.run(command, env=os.environ | places, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    assert_same_run(run, whole)
    (again,) = json.loads((run / "summary.json").read_text())["restarts"]
    assert (again["step"], again["devices"]) == (10, 2)


def test_signals_to_skewed_processes_four_times_in_a_row(run_all: RunAll, whole: Path, tmp_path: Path) -> None:
    """The signal comes to one process in the middle of a step, while the other waits for its gradients.

    Ten times in a row on a SLURM of two nodes: tests/slurm/test_survival.py.
    """
    run = tmp_path / "run"
    starts = [(2, fit(run, *fault("SignalInStep", step=3 + 5 * i, rank=i % 2))) for i in range(4)]
    assert run_all([*starts, (2, fit(run))]) == [[REQUEUE, REQUEUE]] * 4 + [[0, 0]]
    assert_same_run(run, whole)
    assert len(json.loads((run / "summary.json").read_text())["restarts"]) == 4


def test_signals_around_a_validation(run_all: RunAll, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    starts = [
        (2, fit(run, *fault("SignalBeforeValidation", step=8, rank=1))),
        (2, fit(run, *fault("SignalInValidation", step=8, rank=0))),
        (2, fit(run, *fault("SignalInValidation", step=16, rank=1, times=2))),
        (2, fit(run)),
    ]
    assert run_all(starts) == [[REQUEUE, REQUEUE]] * 3 + [[0, 0]]
    assert_same_run(run, whole)


KILLS: list[tuple[str, int, int, int]] = [  # a fault, its step, who is killed, and the step of the last checkpoint then
    ("KillInStep", 0, 1, 0),
    ("KillInStep", 12, 0, 10),
    ("KillInSave", 15, 0, 10),
    ("KillInValidation", 16, 1, 15),
    ("KillInBackward", 22, 1, 20),
]


def test_killed_processes_lose_the_steps_since_the_last_checkpoint(
    run_all: RunAll, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    starts = [(2, fit(run, *fault(name, step=step, rank=rank))) for name, step, rank, _ in KILLS]
    killed = [[-9, 1] if rank == 0 else [1, -9] for _, _, rank, _ in KILLS]
    assert run_all([*starts, (2, fit(run))]) == [*killed, [0, 0]]
    restarts = json.loads((run / "summary.json").read_text())["restarts"]
    assert [restart["step"] for restart in restarts] == [saved for *_, saved in KILLS]
    assert_same_run(run, whole)
    assert leftovers(run) == []


def test_a_frozen_process_ends_the_others_when_the_time_is_out(run_all: RunAll, tmp_path: Path) -> None:
    codes = run_all([(2, fit(tmp_path / "run", "--timeout_s", "5", *fault("Freeze", step=7, rank=1)))])
    assert codes == [[1, -9]]  # the second by the test, as a scheduler would
    assert steps(tmp_path / "run") == [5]


def test_weights_that_are_not_finite_end_all_processes(run_all: RunAll, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_all([(2, fit(run, *fault("NotANumber", step=12, rank=1)))]) == [[2, 2]]
    assert last_state(run)["global_step"] == 10
    summary = json.loads((run / "summary.json").read_text())
    assert summary["state"] == "failed"
    assert "the last checkpoint is of step 10" in summary["reason"]
    assert summary["max_steps"] == MAX_STEPS


def test_a_disk_that_is_full_at_the_end_ends_all_processes(run_all: RunAll, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ["--trainer.callbacks+=faults.FullDiskAtTheEnd", "--trainer.max_steps", "3"]
    assert run_all([(2, fit(run, *options))]) == [[2, 2]]
    assert json.loads((run / "summary.json").read_text())["state"] == "failed"


@pytest.mark.parametrize("change", ["data", "checkpoint"])
def test_an_error_of_one_process_before_the_training_is_one_of_all(
    change: str, run_all: RunAll, tmp_path: Path
) -> None:
    """At once, not when the others have waited for their time."""
    run = tmp_path / "run"
    assert run_all([(2, fit(run), change)]) == [[2, 2]]
    assert not (run / "summary.json").exists()


def test_the_first_process_chooses_the_checkpoint_for_all(run_all: RunAll, whole: Path, tmp_path: Path) -> None:
    """Past a torn one, which it renames before the other would look."""
    run = tmp_path / "run"
    assert run_all([(2, fit(run, *fault("SignalInStep", step=11)))]) == [[REQUEUE, REQUEUE]]
    newest = max((run / "checkpoints").glob("step-*.ckpt"))
    assert steps(run)[0] == 10
    newest.write_bytes(newest.read_bytes()[:1000])
    assert run_all([(2, fit(run), "look")]) == [[0, 0]]
    assert json.loads((run / "summary.json").read_text())["restarts"][0]["step"] == 10
    assert_same_run(run, whole)


def test_all_processes_train_on_verified_puzzles(
    run_all: RunAll, whole: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Where one has found the files broken when the other had opened them already."""
    cache = tmp_path / "cache"
    shutil.copytree(tmp_path_factory.getbasetemp() / "cache", cache)
    for path in cache.glob("*-n30.npy"):
        puzzles = np.load(path)
        np.save(path, puzzles[::-1])
    run = tmp_path / "run"
    assert run_all([(2, fit(run, "--data.cache_dir", str(cache)), "verify")]) == [[0, 0]]
    assert_same_run(run, whole)


def test_processes_compute_in_one_precision(
    run_all: RunAll, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """On unlike devices each would choose its own, and gradients of unlike networks would be averaged."""
    run = tmp_path / "run"
    assert run_all([(2, fit(run, *BY_DEVICE), "precision")]) == [[2, 2]]
    assert not run.exists()
    said = "".join(path.read_text() for path in tmp_path_factory.getbasetemp().glob("log[0-9]/rank-*.txt"))
    assert said.count("expected one --trainer.precision in all processes, got bf16-mixed, 32-true") == 2
    assert run_all([(2, fit(run), "precision")]) == [[0, 0]]
