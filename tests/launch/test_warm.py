"""What is forked instead of started is as if it had been started."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SHOW = """
import os, signal, sys
print(__name__, sys.argv, sys.path, os.getcwd(), *sorted(os.environ.items()), sep="\\n")
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), [signal.getsignal(number) for number in (1, 2, 10, 12, 15)])
sys.stdin.read() == "ask" or sys.exit(int(sys.argv[1]))
0 / 0
"""
STAY = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"


def begin() -> None:
    """As ``nohup`` and ``genraven launch`` start processes."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])


@pytest.mark.parametrize("words", [["-c", SHOW], ["-m", "show"], ["folder/show.py"]], ids=["code", "module", "script"])
def test_it_finds_what_a_python_finds(words: list[str], warm_python: str, in_tmp_path: Path) -> None:
    Path("folder").mkdir()
    for path in ("show.py", "folder/show.py"):
        Path(path).write_text(SHOW)
    environment = os.environ | {"PYTHONPATH": "a:b"}
    for asked, status in (("", 3), ("ask", 1)):
        real, forked = (
            subprocess.run([python, *words, "3", "x y"], input=asked, env=environment, capture_output=True, text=True,
                           preexec_fn=begin)
            for python in (sys.executable, warm_python)
        )  # fmt: skip
        assert forked.stdout.splitlines() == real.stdout.splitlines()
        assert (forked.returncode, real.returncode) == (status, status)
        assert forked.stderr.splitlines()[-1:] == real.stderr.splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_it_dies_with_the_one_it_stands_for(number: signal.Signals, warm_python: str) -> None:
    with subprocess.Popen([warm_python, "-c", STAY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(30) == -number
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
