"""``genraven report`` on folders of runs that were made up, and its page in a browser."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import STEADY, make_run, make_sweep, result

from genraven.report import figures
from genraven.trust.fitting import Labelled, calibrated, with_trust
from launch.cli import main

VIEWPORTS = (1280, 400)
FIGURES = 3 + 3 + 3 + 2 + 2  # against examples, along the training, against size, rules of two families, two costs

SMALLEST_TEXT = """
Math.min(...[...document.querySelectorAll("p, li, dd, td, figcaption")]
    .map(e => parseFloat(getComputedStyle(e).fontSize)))
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares the drawing, for tests that look at words and numbers."""
    monkeypatch.setattr(figures, "chart", lambda lines, *labels: "<svg/>" if any(x.points for x in lines) else None)
    monkeypatch.setattr(figures, "per_rule", lambda fractions, look: "<svg/>")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep and its report, to be read alone."""
    folder = make_sweep(tmp_path_factory.mktemp("swept"))
    assert main(["report", str(folder)]) == 0
    return folder


def row_of(markdown: str, run: str) -> list[str]:
    """The cells of ``run`` in the table of all runs."""
    (line,) = [line for line in markdown.splitlines() if line.startswith((f"| {run} |", f"| [{run}]("))]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.usefixtures("quick")
def test_the_answer_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(make_sweep(tmp_path)), "--goal", "completion", "--examples", "400"]) == 0
    page, twin = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    answer = ("Train the autoregressive family (GPT-2, 2 M parameters) for completion with 400 examples per rule, "
              "within 0.2 device-hours of training.")  # fmt: skip
    printed = capsys.readouterr().out
    assert printed.startswith(answer)
    assert str(tmp_path / "report.html") in printed
    assert re.findall("<h2>(.*?)</h2>", page)[0] == re.findall("^## (.*)$", twin, re.M)[0] == answer
    for word in ("How sure", "When to switch", "What it would cost", "What to measure next"):
        assert f"{word}: " in printed
        assert f"<dt>{word}</dt>" in page.partition("</section>")[0]
        assert f"- **{word}:** " in twin.partition("\n## In more detail")[0]
    assert "autoregressive-400-s0, autoregressive-400-s1" in twin  # the runs that it rests on


@pytest.mark.usefixtures("quick")
def test_growth_and_budget_change_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["report", str(make_sweep(tmp_path)), "--goal", "generation", "--examples", "4000"]
    assert main([*command, "--growth", "10"]) == 0
    assert "change to the diffusion family" in capsys.readouterr().out
    assert main([*command, "--price", "10", "--budget", "1"]) == 0  # each run took 0.2 hours: a cost of 2
    assert capsys.readouterr().out.startswith("Not enough evidence")


@pytest.mark.usefixtures("quick")
def test_a_year_of_puzzles_and_reviews_is_reckoned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["report", str(make_sweep(tmp_path)), "--examples", "400", "--price", "10"]
    assert main([*command, "--puzzles-per-year", "1440000", "--review-price", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "Training took 0.2 device-hours, which cost 2.00" in printed
    assert "Writing 1,440,000 puzzles a year takes 1 device-hour, which costs 10.00." in printed  # 1 s for 400
    assert "is not known until `genraven calibrate` has calibrated these runs" in printed
    assert "12.00" in printed


@pytest.mark.usefixtures("quick")
def test_what_calibrations_say_is_there_and_an_edited_one_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for family, edited in (("autoregressive", False), ("diffusion", True)):
        run, correct = make_run(tmp_path / family, family, 400, 0.5), rng.random(600) < 0.8
        of = Labelled({"agreement": rng.random(600) + correct}, {"agreement": correct}, np.full(600, "a rule"))
        found = calibrated(*of.split(200), model="m", completion={"candidates": 8}, source={}, delta=0.1)
        with_trust(found, of.split(200)[1]).write(run / "calibration.json")
        if edited:
            text = (run / "calibration.json").read_text()
            (run / "calibration.json").write_text(text.replace('"delta": 0.1', '"delta": 0.2'))
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.md").read_text()
    table = page.split("## Which model knows when it is wrong?")[1].split("##")[0]
    assert "| autoregressive | agreement |" in table
    assert "| 1.00 |" in table
    assert "diffusion/calibration.json is passed over: " in page
    assert "a file of 1 puzzle" in page and "It was not checked whether these puzzles are like those" in page


@pytest.mark.usefixtures("quick")
def test_results_on_corrupted_puzzles_stand_apart(tmp_path: Path) -> None:
    """They are no result of the model: neither the better nor the later one."""
    for seed in range(3):
        found = [result(0.5), result(0.9) | {"given_corruption": 0.02}, result(0.1) | {"given_corruption": 0.1}]
        make_run(tmp_path / f"gpt2-{seed}", "autoregressive", 400, seed=seed, results=found)
    make_run(tmp_path / "sit", "diffusion", 400, 0.7)
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.md").read_text()
    table = page.split("## When given cells are wrong")[1].split("##")[0]
    assert "| 0.0% wrong | 2.0% wrong | 10.0% wrong |" in table
    rows = {
        line.split("|")[1].split(",")[0].strip(): line.split("|")[3:6] for line in table.splitlines() if "400" in line
    }
    assert [cell.strip()[:5] for cell in rows["GPT-2"]] == ["0.500", "0.900", "0.100"]
    assert [cell.strip()[:5] for cell in rows["SiT"]] == ["0.700", "–", "–"]
    runs_table = page.split("## All runs")[1]
    assert runs_table.count("| 0.500 ") >= 3
    assert "0.900" not in runs_table


@pytest.mark.usefixtures("quick")
def test_a_price_that_the_runs_noted_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for family in ("autoregressive", "diffusion"):
        make_run(tmp_path / family, family, 400, 0.5, price_per_device_hour=5.0)
    assert main(["report", str(tmp_path)]) == 0
    assert "diffusion: Training took 0.2 device-hours, which cost 1.00." in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_one_seed_each_is_no_verdict_and_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(make_sweep(tmp_path, repeats=1)), "--examples", "400"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("Not enough evidence")
    assert (
        "a verdict needs at least 3 repeats of each family. So far the autoregressive family seems to be ahead."
        in printed
    )
    assert "(95% over the puzzles only, because there is one seed each)" in printed
    assert "Train 2 more repeats of GPT-2" in printed


def test_the_page_needs_nothing_else(swept: Path) -> None:
    page, twin = (swept / "report.html").read_text(), (swept / "report.md").read_text()
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len([target for target in loaded if target.startswith("data:image/svg+xml")]) == FIGURES
    assert all(target.startswith("data:") or (swept / target).is_dir() for target in loaded)
    assert "<script" not in page
    pictures = re.findall(r"!\[[^]]+\]\((.*?)\)", twin)
    assert len(pictures) == FIGURES
    assert all((swept / picture).read_text().startswith("<svg") for picture in pictures)


def test_every_figure_has_its_numbers_and_a_text_instead(swept: Path) -> None:
    twin = (swept / "report.md").read_text()
    assert twin.count("<details") == twin.count("</details>") == 5
    figures = re.findall("<figure>.*?</figure>", (swept / "report.html").read_text(), re.S)
    assert len(figures) == 5
    for figure in figures:
        assert all(len(alt) > 40 for alt in re.findall('<img alt="(.*?)"', figure, re.S))
        assert "<summary>The same in numbers</summary>" in figure
        assert figure.count("<tr>") > 2


def test_a_command_in_a_sentence_is_code(swept: Path) -> None:
    page, twin = (swept / "report.html").read_text(), (swept / "report.md").read_text()
    assert "<code><span>genraven</span> <span>calibrate</span></code> finds the fraction" in page
    assert "`genraven calibrate` finds the fraction" in twin
    assert "`" not in page


@pytest.mark.usefixtures("quick")
def test_markup_in_a_name_or_message_is_text(tmp_path: Path) -> None:
    make_run(make_sweep(tmp_path) / "a<b>", "diffusion", 400, state="failed: <script>alert(1)</script>")
    main(["report", str(tmp_path)])
    page = (tmp_path / "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.usefixtures("quick")
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
        assert cells[7:10] == ["–"] * 3
    assert row_of(twin, "failed")[-1] == "no space left"
    assert "18 of 21 runs have ended with scores" in twin
    assert "9 M" not in twin.split("All runs")[0]  # of neither is anything drawn or told


@pytest.mark.usefixtures("quick")
def test_nothing_to_compare_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "failed", "diffusion", 400, state="failed")
    make_run(tmp_path / "new", "autoregressive", 400)
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("Not enough evidence: no finished run that counts here has scores")


@pytest.mark.usefixtures("quick")
def test_a_stream_is_a_point_at_the_puzzles_that_it_gave(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "stream", "diffusion", None, 0.5)
    assert main(["report", str(tmp_path)]) == 0
    assert "With 1,600 examples per rule the diffusion family" in capsys.readouterr().out  # 100 steps of 64, four rules
    row = row_of((tmp_path / "report.md").read_text(), "stream")
    assert row[5] == "1,600 of a stream"
    assert row[7].startswith("0.500 [")


@pytest.mark.usefixtures("quick")
def test_runs_cut_by_a_time_limit_count_at_the_steps_they_reached(tmp_path: Path) -> None:
    for seed, step in enumerate((60, 70, 80)):
        make_run(tmp_path / f"cut{seed}", "diffusion", 400, seed=seed, state="stopped", step=step,
                 results=[result(0.5, step=step, seed=seed)])  # fmt: skip
    assert main(["report", str(tmp_path)]) == 0
    twin = (tmp_path / "report.md").read_text()
    assert "at step 60 to 80 of 100, by a limit" in twin
    assert "| SiT, 2 M parameters | 400 | 1,600 | 0.500 [" in twin


@pytest.mark.usefixtures("quick")
def test_validation_scores_stand_in_and_are_called_so(tmp_path: Path) -> None:
    metrics = {"val/completion": 0.5, "val_count/completion": 200, "val/c3": 0.25, "val_count/c3": 200}
    make_run(tmp_path / "a", "diffusion", 400, metrics=metrics)
    assert main(["report", str(tmp_path)]) == 0
    twin = (tmp_path / "report.md").read_text()
    cells = row_of(twin, "a")
    assert cells[7:10] == ["0.500 [0.431, 0.569]", "0.250 [0.195, 0.314]", "–"]
    assert "Scores of val come from the last validation" in twin


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rules": ["shape.constant"]}, "trained on shape.constant"),
        ({"eval_rules": ["color.XOR"]}, "evaluated on color.xor"),
        ({"corruption": {"noise": 0.2}}, "corruption noise 0.2"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_differs_is_not_compared_and_said(
    changed: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sweep(tmp_path / "all")
    make_run(tmp_path / "few", "diffusion", 400, 0.9, data=changed)
    assert main(["report", str(tmp_path), "--examples", "400"]) == 0
    twin = (tmp_path / "report.md").read_text()
    assert "## 2 data sets" in twin
    assert said.lower() in twin.partition("## 2 data sets")[2].partition("##")[0].lower()
    printed = capsys.readouterr().out
    assert "1. Train the autoregressive family" in printed
    assert "2. Not enough evidence" in printed


@pytest.mark.usefixtures("quick")
def test_other_recipes_are_points_of_their_own_and_said(tmp_path: Path) -> None:
    make_sweep(tmp_path)
    make_run(tmp_path / "dropped", "autoregressive", 400, 0.9, model={"dropout": 0.1})
    assert main(["report", str(tmp_path)]) == 0
    twin = (tmp_path / "report.md").read_text()
    apart = twin.partition("## Runs that are never averaged together")[2].partition("##")[0]
    assert "| GPT-2, 2 M parameters | dropout 0.1 | 1 |" in apart
    assert "| GPT-2, 2 M parameters | none of the settings named here | 9 |" in apart


@pytest.mark.usefixtures("quick")
def test_a_steady_training_gives_a_curve(tmp_path: Path) -> None:
    for family, end in (("autoregressive", 0.5), ("diffusion", 0.9)):
        for seed in range(3):
            results = [result(end * step / 100, step=step, seed=seed) for step in (25, 50, 100)]
            make_run(tmp_path / f"{family}{seed}", family, 400, seed=seed, results=results, model=STEADY)
    assert main(["report", str(tmp_path)]) == 0
    twin = (tmp_path / "report.md").read_text()
    along = twin.partition("## Quality along the training")[2].partition("\n## ")[0]
    assert "| SiT, 2 M parameters | 25 | 1.6k | 1 | 750T | 0.05 | 0.225 [" in along  # 1 600 puzzles of 4 x 400
    assert "| GPT-2, 2 M parameters | 400 | at step 100 | rises | 0.250 [" in twin
    assert "| SiT, 2 M parameters | completion 0.9 | 3P, 3 of 3 runs | 0.2, 3 of 3 runs |" in twin
    assert "| GPT-2, 2 M parameters | completion 0.9 | never in 3 of 3 runs, up to 3P |" in twin


@pytest.mark.usefixtures("quick")
def test_a_broken_summary_is_named_and_passed_over(tmp_path: Path) -> None:
    make_sweep(tmp_path)
    (tmp_path / "autoregressive-400-s0" / "summary.json").write_text('{"state": "fini')
    (tmp_path / "diffusion-400-s0" / "evaluation.json").write_text('{"version": 99}')
    assert main(["report", str(tmp_path)]) == 0
    passed_over = (tmp_path / "report.md").read_text().partition("## What was passed over")[2]
    assert "autoregressive-400-s0/summary.json is broken" in passed_over
    assert "diffusion-400-s0/evaluation.json" in passed_over


@pytest.mark.usefixtures("quick")
def test_ways_of_decoding_are_listed(tmp_path: Path) -> None:
    make_run(tmp_path / "a", "diffusion", 400, results=[result(0.1, 5), result(0.3, 10) | {"own_sampling": False}])
    assert main(["report", str(tmp_path)]) == 0
    table = (tmp_path / "report.md").read_text().partition("## Ways of decoding")[2]
    assert "| a | sampler euler, num_sampling_steps 5 | 81 | 0.100" in table
    assert "| a | sampler euler, num_sampling_steps 10 | 81 | 0.300" in table


@pytest.mark.usefixtures("quick")
def test_transfer_stands_beside_learning_from_nothing(tmp_path: Path) -> None:
    for seed in range(3):
        make_run(tmp_path / f"fresh{seed}", "diffusion", 16, 0.1, seed=seed)
        make_run(tmp_path / f"begun{seed}", "diffusion", 16, 0.6, seed=seed,
                 init_from={"checkpoint": f"/runs/{seed}/checkpoints/step.ckpt", "step": 4000})  # fmt: skip
    assert main(["report", str(tmp_path)]) == 0
    table = (tmp_path / "report.md").read_text().partition("## Transfer")[2].partition("\n## ")[0]
    assert "| SiT, 2 M parameters, init_from trained weights of step 4000 | 16 | 0.600 [" in table
    assert "| 0.100 [" in table


def test_the_page_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    make_run(make_sweep(tmp_path) / "übung", "diffusion", 400, 0.5, parameters=9)
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", "import sys; from launch.cli import main; sys.exit(main(sys.argv[1:]))"]
    done = subprocess.run([*command, "report", str(tmp_path)], env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "übung" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "übung" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--goal", "beauty"], "completion"),
        (["--budget", "0"], "expected a finite --budget above 0, got 0"),
        (["--budget", "much"], "much"),
        (["--examples", "0"], "--examples above 0, got 0"),
        (["--growth", "-1"], "expected a finite --growth above 0, got -1"),
        (["--price", "-1"], "expected --price of 0 or more, got -1"),
        (["--puzzles-per-year", "-1"], "expected --puzzles-per-year of 0 or more, got -1"),
        (["--puzzles-per-year", "1", "--review-price", "nan"], "expected --review-price of 0 or more, got nan"),
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
    summary = tmp_path / "diffusion-400-s0" / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"state": "failed"}))
    main(["report", str(tmp_path)])
    assert {path for path, text in first.items() if path.read_bytes() != text} >= {tmp_path / "report.html", summary}
