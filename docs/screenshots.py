"""Screenshots of TensorBoard for the docs: ``python docs/screenshots.py RUNS`` writes them beside this file.

Needs Chromium (``apt-get install chromium``) and a folder of finished runs.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

SHOTS = {"custom_scalars": 480, "scalars": 900, "images": 1500, "hparams": 520, "text": 900}  # tab, height in pixels
WAIT_S = 120


def main() -> None:
    """Starts a server, opens each tab, and stops the server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="what tensorboard --logdir would show")
    runs = parser.parse_args().runs
    browser = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    if browser is None or not runs.is_dir():
        sys.exit(f"expected Chromium and a folder of runs, got {browser} and {runs}.")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    host, port = address.split(":")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--host", host, "--port", port]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for(f"http://{address}/data/plugin/images/tags")
            for tab, height in SHOTS.items():
                shoot(browser, f"http://{address}/#{tab}", Path(__file__).with_name(f"tensorboard_{tab}.png"), height)
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    """Waits until the server has read its runs."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                if reply.read() != b"{}":
                    return
        except OSError:
            pass
        time.sleep(0.5)
    sys.exit(f"expected pictures at {url} within {WAIT_S} s, got none.")


def shoot(browser: str, url: str, path: Path, height: int) -> None:
    """Writes a picture of ``url``, 1280 pixels wide."""
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=20000"]
    subprocess.run(
        [browser, *flags, f"--window-size=1280,{height}", f"--screenshot={path}", url],
        check=True, capture_output=True, timeout=WAIT_S,
    )  # fmt: skip
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
