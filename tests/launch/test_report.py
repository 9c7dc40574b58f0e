"""``genraven report`` on folders of runs that were made up, and its page in a browser."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from made_up import make_run, make_sweep, result

from launch.cli import main

VIEWPORTS = (1280, 400)
FIGURES = 3 + 3 + 2 + 2  # quality against examples and against size, rules of two families, two kinds of cost

SMALLEST_TEXT = """
Math.min(...[...document.querySelectorAll("p, li, td, figcaption")].map(e => parseFloat(getComputedStyle(e).fontSize)))
"""


def row_of(markdown: str, run: str) -> list[str]:
    """The cells of ``run`` in the table of all runs."""
    (line,) = [line for line in markdown.splitlines() if line.startswith((f"| {run} |", f"| [{run}]("))]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_answer_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(make_sweep(tmp_path)), "--goal", "completion", "--examples", "400"]) == 0
    page, twin = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    answer = "Train the autoregressive family (GPT-2, 2 M parameters) for completion with 400 examples per rule."
    printed = capsys.readouterr().out
    assert printed.startswith(answer)
    assert str(tmp_path / "report.html") in printed
    assert re.findall("<h2>(.*?)</h2>", page)[0] == re.findall("^## (.*)$", twin, re.M)[0] == answer
    assert "[autoregressive-400]" in twin  # the run that it rests on


def test_growth_and_budget_change_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["report", str(make_sweep(tmp_path)), "--goal", "generation", "--examples", "4000"]
    assert main([*command, "--growth", "10"]) == 0
    assert "change to the diffusion family" in capsys.readouterr().out
    assert main([*command, "--price", "10", "--budget", "1"]) == 0  # each run took 0.2 hours: 2 of money
    assert capsys.readouterr().out.startswith("Not enough evidence")


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    main(["report", str(make_sweep(tmp_path))])
    page, twin = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len([target for target in loaded if target.startswith("data:image/svg+xml")]) == FIGURES
    assert all(target.startswith("data:") or (tmp_path / target).is_dir() for target in loaded)
    assert "<script" not in page
    pictures = re.findall(r"!\[[^]]+\]\((.*?)\)", twin)
    assert len(pictures) == FIGURES
    assert all((tmp_path / picture).read_text().startswith("<svg") for picture in pictures)


def test_what_is_missing_is_never_zero(tmp_path: Path) -> None:
    make_sweep(tmp_path)
    make_run(tmp_path / "failed", "diffusion", 400, state="failed: no space left", parameters=9_000_000)
    make_run(tmp_path / "unscored", "diffusion", 4000, parameters=9_000_000)
    (tmp_path / "never" / "job").mkdir(parents=True)
    shutil.copy(tmp_path / "failed" / "config.yaml", tmp_path / "never" / "job")
    assert main(["report", str(tmp_path)]) == 0
    twin = (tmp_path / "report.md").read_text()
    for name, state in (("failed", "failed"), ("unscored", "finished"), ("never", "never started")):
        cells = row_of(twin, name)
        assert cells[1] == state
        assert cells[6:9] == ["–"] * 3
    assert row_of(twin, "failed")[-1] == "no space left"
    assert "6 of 9 runs have finished and have scores" in twin
    assert "9 M" not in twin.split("All runs")[0]  # of neither is anything drawn or told


def test_validation_scores_stand_in_and_are_called_so(tmp_path: Path) -> None:
    metrics = {"val/completion": 0.5, "val_count/completion": 200, "val/c3": 0.25, "val_count/c3": 200}
    make_run(tmp_path / "a", "diffusion", 400, metrics=metrics)
    assert main(["report", str(tmp_path)]) == 0
    twin = (tmp_path / "report.md").read_text()
    cells = row_of(twin, "a")
    assert cells[6:9] == ["0.500 [0.431, 0.569]", "0.250 [0.195, 0.314]", "–"]
    assert "Scores of val are of the last validation" in twin


def test_data_sets_are_not_compared_with_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_sweep(tmp_path / "all")
    make_run(tmp_path / "few", "diffusion", 400, 0.9, rules="[shape-constant]")
    assert main(["report", str(tmp_path), "--examples", "400"]) == 0
    twin = (tmp_path / "report.md").read_text()
    assert "## 2 data sets" in twin
    printed = capsys.readouterr().out
    assert "1. Train the autoregressive family" in printed
    assert "2. Not enough evidence" in printed


def test_a_broken_summary_is_named_and_passed_over(tmp_path: Path) -> None:
    make_sweep(tmp_path)
    (tmp_path / "autoregressive-400" / "summary.json").write_text('{"state": "fini')
    (tmp_path / "diffusion-400" / "evaluation.json").write_text('{"version": 99}')
    assert main(["report", str(tmp_path)]) == 0
    passed_over = (tmp_path / "report.md").read_text().partition("## Passed over")[2]
    assert "autoregressive-400/summary.json is broken" in passed_over
    assert "diffusion-400/evaluation.json" in passed_over


def test_ways_of_sampling_are_listed(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "diffusion", 400, results=[result(0.1, 5), result(0.3, 10) | {"own_sampling": False}])
    assert main(["report", str(tmp_path)]) == 0
    table = (tmp_path / "report.md").read_text().partition("## Samplers and steps")[2]
    assert "| a | euler | 5 | 81 | 0.100" in table
    assert "| a | euler | 10 | 81 | 0.300" in table


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--goal", "beauty"], "completion"),
        (["--budget", "0"], "expected --budget above 0, got 0"),
        (["--budget", "much"], "much"),
        (["--examples", "0"], "expected --examples above 0, got 0"),
        (["--growth", "-1"], "expected --growth above 0, got -1"),
        (["--price", "-1"], "expected --price of 0 or more, got -1"),
        (["--out", "page.txt"], "expected --out to end in .html, got page.txt"),
    ],
)
def test_bad_questions(options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(make_sweep(tmp_path).rglob("*"))
    try:
        status: Any = main(["report", str(tmp_path), *options])
    except SystemExit as error:
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("made", [True, False])
def test_no_runs(made: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "runs"
    if made:
        folder.mkdir()
    assert main(["report", str(folder)]) == 2
    assert "runs" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.html"))


def chromium() -> str:
    """Chromium, installed where that can be done; skips elsewhere."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", "-qq", *command], check=True, timeout=300, capture_output=True)
        found = shutil.which("chromium")
    if found is None:
        pytest.skip("needs Chromium, or root and apt-get to install it")
    return found


def test_the_page_in_a_browser(tmp_path: Path) -> None:
    browser_path = chromium()
    from playwright.sync_api import sync_playwright

    make_run(make_sweep(tmp_path) / "failed", "diffusion", 400, state="failed: a reason that is rather long " * 5)
    main(["report", str(tmp_path)])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for width in VIEWPORTS:
            page = browser.new_page(viewport={"width": width, "height": 900})
            said: list[str] = []
            page.on("console", lambda message: said.append(message.text))  # noqa: B023
            page.on("pageerror", lambda error: said.append(str(error)))  # noqa: B023
            page.on("requestfailed", lambda request: said.append(request.url))  # noqa: B023
            page.goto((tmp_path / "report.html").as_uri())
            sizes = page.evaluate("[...document.images].map(i => [i.complete && i.naturalWidth, i.clientWidth])")
            assert len(sizes) == FIGURES
            assert all(natural > 100 and shown >= min(width - 40, 300) for natural, shown in sizes)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate(SMALLEST_TEXT) >= 12
            assert said == []
        browser.close()


def test_a_page_is_made_anew_and_nothing_else_is_touched(tmp_path: Path) -> None:
    make_sweep(tmp_path)
    main(["report", str(tmp_path)])
    first = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    main(["report", str(tmp_path)])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == first
    summary = tmp_path / "diffusion-400" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"state": "failed"}))
    main(["report", str(tmp_path)])
    assert {path for path, text in first.items() if path.read_bytes() != text} >= {tmp_path / "report.html", summary}
