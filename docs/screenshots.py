"""Screenshots of TensorBoard for the docs: ``python docs/screenshots.py RUNS`` writes them beside this file.

Needs a folder of finished runs, Chromium (``apt-get install chromium``) and ``pip install playwright``.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

TABS = {  # tab: width and height in pixels, and the tags to show
    "custom_scalars": (1280, 480, ""),
    "scalars": (1280, 1340, "^(train|cost)/(loss|grad_norm|lr|puzzles_per_s|flops_per_s|device_s)"),
    "images": (1280, 1180, "puzzles"),
    "rules": (1500, 1010, "rules"),
    "hparams": (2500, 300, ""),
}
WAIT_S = 120
SETTLE_MS = 6000


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
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--host", "127.0.0.1"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*command, "--port", str(port)], stdout=quiet, stderr=quiet) as server:
        try:
            wait_for(f"{url}/data/plugin/images/tags")
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
                for tab, (width, height, tags) in TABS.items():
                    page = chromium.new_page(viewport={"width": width, "height": height})
                    shoot(page, url, tab, tags)
                    page.close()
                chromium.close()
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


def shoot(page: Page, url: str, tab: str, tags: str) -> None:
    """Writes what ``tab`` shows of ``tags``, pictures in their own size."""
    page.set_default_timeout(1000 * WAIT_S)
    page.goto(f"{url}/#{'images' if tab == 'rules' else tab}")
    page.wait_for_timeout(SETTLE_MS)
    if tags:
        page.get_by_label("Filter tags (regular expressions supported)").last.fill(tags)
    if tab in ("images", "rules"):
        page.get_by_text("Show actual image size").click()
    page.wait_for_load_state("networkidle")
    if tab == "custom_scalars":
        page.get_by_text("Matches (2)").wait_for()  # the curves of the second chart
    page.wait_for_timeout(SETTLE_MS)
    path = Path(__file__).with_name(f"tensorboard_{tab}.png")
    page.screenshot(path=path)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
