"""A real SLURM of two nodes, for the session, and on each node a Python that starts at once."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LAUNCH = HERE.parent / "launch"  # tiny runs and faults
sys.path += [str(HERE), str(LAUNCH)]
import warm  # noqa: E402

SCRIPT = HERE / "cluster.sh"
INSTALL_S, START_S = 300, 120


def missing() -> str | None:
    """Why this machine cannot run it."""
    if os.geteuid() != 0:
        return "needs root, for namespaces and munge"
    installed = shutil.which("slurmctld", path=os.environ["PATH"] + ":/usr/sbin")
    if not installed and not shutil.which("apt-get"):
        return "needs slurmctld, or apt-get to install it"
    return None


@pytest.fixture(scope="session")
def slurm() -> Iterator[Path]:
    """Its folder; its commands work while this lasts."""
    if reason := missing():
        pytest.skip(reason)
    state = Path(tempfile.mkdtemp(prefix="slurm-"))  # not in pytest's folder, which munge finds too private
    log = state / "start.log"
    with log.open("wb") as output, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(state / "slurm.conf"))
        process = subprocess.Popen([SCRIPT, state], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            _wait_until_up(process, state, log)
            yield state
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(state, ignore_errors=True)


def _wait_until_up(process: "subprocess.Popen[bytes]", state: Path, log: Path) -> None:
    deadline = time.monotonic() + INSTALL_S
    while not (state / "slurm.conf").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        shown = subprocess.run(["sinfo", "-hN", "-p", "test", "-o", "%T"], capture_output=True, text=True).stdout
        if shown.split() == ["idle", "idle"]:
            return
        time.sleep(0.2)
    pytest.fail(f"SLURM did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def warm_python(slurm: Path) -> str:
    """What to give for --python, where it is not the start of Python that is tested."""
    for node in ("n1", "n2"):
        serve = f"export OMP_NUM_THREADS=1 PYTHONPATH={LAUNCH}; exec {sys.executable} {warm.__file__} {slurm}"
        command = ["sbatch", "--nodelist", node, "--output", slurm / f"warm-{node}.log", "--wrap", serve]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return warm.stand_in(slurm)
