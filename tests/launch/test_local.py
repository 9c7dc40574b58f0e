"""genraven launch: real processes, signalled, interrupted and killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny import fault, fit, leftovers, steps

from genraven.signals import REQUEUE
from launch.cli import main
from launch.processes.launcher import cause, joint_status, newest_checkpoint, option_value

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("codes", "failed", "status"),
    [
        ([0, 0], 1, 0),
        ([75, 75], 0, 75),
        ([0, 75], 1, 75),
        ([1, 2], 0, 2),
        ([2, -9], 0, 2),
        ([130, 1], 0, 130),
        ([1, -9], 1, 137),
        ([75, 1], 0, 1),
        ([-15, -9, 1], 0, 143),
    ],
)
def test_one_status_of_many(codes: list[int], failed: int, status: int) -> None:
    assert joint_status(codes, failed) == status


@pytest.mark.parametrize(
    ("codes", "first", "failed"),
    [
        ([1, -9], 0, 1),  # both had ended when they were looked at
        ([1, None], 0, 0),  # the launcher kills the other one
        ([1, -6], 0, 0),
        ([-6, 1, -11], 0, 2),
        ([-9, -15], 1, 1),
        ([0, 75], 1, 1),
    ],
    ids=str,
)
def test_a_process_that_was_killed_is_the_cause(codes: list[int | None], first: int, failed: int) -> None:
    assert cause(codes, first) == failed


def test_the_run_folder_and_its_newest_checkpoint(tmp_path: Path) -> None:
    assert option_value(["fit", "--run_dir", "a", "--run_dir=b"], "--run_dir") == "b"
    assert option_value(["fit", "-c", "x"], "--run_dir") is None
    (tmp_path / "checkpoints").mkdir()
    assert newest_checkpoint(str(tmp_path)) is None
    for name in ("step-00000009.ckpt", "step-00000010.ckpt", "best.ckpt", ".step-00000011.ckpt.unfinished-a.ckpt"):
        (tmp_path / "checkpoints" / name).touch()
    assert newest_checkpoint(str(tmp_path)) == "step-00000010.ckpt"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--devices", "2", "--", "train"], "expected fit or evaluate after --, got train"),
        (["--devices", "0", "--", "fit"], "--devices of 1 or more"),
        (["--devices", "2", "--", "fit", "--trainer.devices", "4"], "--devices of genraven launch to say how many"),
        (["--devices", "2", "--", "fit", "--trainer.num_nodes=2"], "one machine, which genraven launch is for, got"),
        (["--devices", "2", "--max-restarts", "1", "--", "fit"], "expected --run_dir with --max-restarts"),
        (["--devices", "2", "--max-restarts", "1", "--", "evaluate"], "expected --max-restarts with fit, got it with"),
    ],
)
def test_bad_options(options: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["launch", *options]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("saves", "starts"), [([0, 0, 1], 2), ([0, 1, 1, 1], 4), ([1, 0, 1], 2), ([1, 1, 1, 1, 1], 4)], ids=str
)
def test_a_restart_without_progress_is_the_last(
    saves: list[int], starts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a job script: the first start may leave nothing."""
    (tmp_path / "checkpoints").mkdir()
    made: list[int] = []

    class Crashing:
        asked_to_stop = False

        def __init__(self, *_: Any) -> None:
            if saves[len(made)]:
                (tmp_path / "checkpoints" / f"step-{len(made):08}.ckpt").touch()
            made.append(1)

        def wait(self) -> int:
            return 1

    monkeypatch.setattr("launch.processes.launcher.Ranks", Crashing)
    launch = ["launch", "--devices", "2", "--max-restarts", "3", "--", "fit", "--run_dir", str(tmp_path)]
    assert main(launch) == 1
    assert len(made) == starts


class Launcher:
    """``genraven launch`` in a process of its own."""

    def __init__(self, log: Path, *arguments: str, restarts: int = 0) -> None:
        self.log = log
        command = [sys.executable, "-m", "launch.cli", "launch", "--devices", "2", "--max-restarts", str(restarts)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parents[1])])
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [*command, "--", *arguments], env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    def wait_for_processes(self, num: int) -> None:
        """Until the launcher has started ``num`` processes: from then on it hands signals on."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while self.process.poll() is None and len(children.read_text().split()) < num:
            time.sleep(0.05)

    def signal_at_step(self, run: Path, step: int, *signals: signal.Signals) -> int:
        """The status after ``signals``, sent once there is a checkpoint of ``step``."""
        while step and self.process.poll() is None and (not steps(run) or steps(run)[-1] < step):
            time.sleep(0.05)
        for number in signals:
            self.process.send_signal(number)
            time.sleep(0.1)
        return self.process.wait(120)


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


@pytest.mark.slow
def test_a_signal_while_processes_load_is_handed_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    early = Launcher(tmp_path / "log", *fit(run, "--data.cache_dir", str(tmp_path / "nothing_made_yet")))
    early.wait_for_processes(2)
    assert early.signal_at_step(run, 0, signal.SIGUSR1) == REQUEUE
    assert not run.exists()  # they leave before the data is made, and take the new folder back


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_signals_are_handed_on_to_all_processes(tmp_path: Path) -> None:
    """In training twice, and Ctrl-C: the processes end, nothing else is left."""
    run, log = tmp_path / "run", tmp_path / "log"
    late = Launcher(log, *fit(run, *fault("Slow", step=0)))
    assert late.signal_at_step(run, 5, signal.SIGTERM, signal.SIGUSR1) == REQUEUE
    assert summary(run)["state"] == "preempted"
    assert summary(run)["step"] == steps(run)[-1] < 24
    interrupted = Launcher(log, *fit(run, *fault("Slow", step=0)))
    assert interrupted.signal_at_step(run, 10, signal.SIGINT) == 130
    assert summary(run)["state"] == "interrupted"
    assert [restart["reason"] for restart in summary(run)["restarts"]] == ["signal SIGTERM"]
    assert leftovers(run) == []


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_a_killed_process_is_started_again_while_the_run_makes_progress(tmp_path: Path) -> None:
    """Each start is killed at step 12: the first has saved step 10, the second goes on from there and adds nothing."""
    run = tmp_path / "run"
    launcher = Launcher(tmp_path / "log", *fit(run, *fault("KillInStep", step=12, rank=1)), restarts=5)
    assert launcher.process.wait(120) == 137
    said = (tmp_path / "log").read_text()
    assert said.count("process 1 of 2 was ended by SIGKILL") == 2
    assert "status 137, starting again: 1 of at most 5" in said
    assert "status 137, no new checkpoint since the last restart: not started again" in said
    assert steps(run) == [5, 10]


@pytest.mark.slow
@pytest.mark.usefixtures("at_once")
def test_bad_input_is_not_started_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    launcher = Launcher(tmp_path / "log", *fit(run, "--data.global_batch_size", "7"), restarts=5)
    assert launcher.process.wait(120) == 2
    said = (tmp_path / "log").read_text()
    assert "2 device(s) x 1 accumulated batch(es) divide, got 7: use a multiple of 2, such as 6 or 8" in said
    assert said.count("genraven: error") == 1
    assert not run.exists()
