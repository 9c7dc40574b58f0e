"""Studies: finished runs in a few tables, which are read as their folders were."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_up import make_run, result

from genraven.errors import InputError
from genraven.report import figures, study
from genraven.report.reading import read_run, run_of
from genraven.report.record import Record, read_record
from genraven.report.study import add_to_study, read_study
from launch.cli import main

pytestmark = pytest.mark.usefixtures("no_slurm")
CURVE = "step,val/completion,val_count/completion,odd\n50,0.25,200,\n100,0.5,200,1e-3\n"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Of both families, one in a folder of its own, with a curve and a calibration."""
    folder = tmp_path / "runs"
    for seed in range(2):
        make_run(folder / f"a{seed}", "autoregressive", 400, 0.5, seed=seed)
        make_run(folder / "more" / f"d{seed}", "diffusion", 400, seed=seed,
                 results=[result(0.25, seed=seed), result(0.3, 50, seed=seed)])  # fmt: skip
    (folder / "a0" / "curve.csv").write_text(CURVE)
    (folder / "a1" / "calibration.json").write_text("{}\n")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_a_study_is_read_as_its_runs_are(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every word of their small files is there, in tables of plain JSON and CSV."""
    place = tmp_path / "docs" / "study"
    assert main(["study", "add", str(runs), str(place)]) == 0
    assert f"{place}: 4 runs added" in capsys.readouterr().out
    kept = read_study(place)
    assert list(kept) == ["a0", "a1", "more/d0", "more/d1"]
    for name, files in kept.items():
        notes: list[str] = []
        assert replace(files, place=runs / name) == read_record(runs / name, notes)
        theirs, told = read_run(name, runs / name, "finished")
        ours, ours_told = run_of(name, files, "finished")
        assert replace(theirs, path=None) == ours
        assert [note.replace(str(runs), str(place)) for note in told] == ours_told
    rows = [json.loads(line) for line in (place / "runs.jsonl").read_text().splitlines()]
    assert [(row["run"], row["family"], row["config"]["seed_everything"]) for row in rows] == [
        ("a0", "autoregressive", 0), ("a1", "autoregressive", 1),
        ("more/d0", "diffusion", 0), ("more/d1", "diffusion", 1),
    ]  # fmt: skip
    with (place / "curves.csv").open() as file:
        assert [(row["run"], row["step"], row["odd"]) for row in csv.DictReader(file)] == [
            ("a0", "50", ""), ("a0", "100", "1e-3"),
        ]  # fmt: skip
    assert len((place / "outcomes.jsonl").read_text().splitlines()) == 6


def test_report_and_status_of_a_study(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page is that of the runs, but for links to folders that are not there."""
    monkeypatch.setattr(figures, "chart", lambda lines, *labels: "<svg/>")
    monkeypatch.setattr(figures, "per_rule", lambda fractions, look: "<svg/>")
    (runs / "a1" / "calibration.json").unlink()
    place = tmp_path / "study"
    assert main(["study", "add", str(runs), str(place)]) == 0
    pages = []
    for folder in (runs, place):
        capsys.readouterr()
        assert main(["status", str(folder)]) == 0
        table = capsys.readouterr().out
        assert main(["report", str(folder), "--out", str(tmp_path / "report.html")]) == 0
        page = (tmp_path / "report.md").read_text()
        pages.append((table, re.sub(r"\[([^\]!]+)\]\((?!report_figures)[^)]+\)", r"\1", page)))
    assert pages[0] == pages[1]
    assert "more/d0" in pages[1][0]


def test_runs_are_added_to_what_is_there(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "study"
    assert main(["study", "add", str(runs / "more"), str(place)]) == 0
    before = contents(place)
    assert main(["study", "add", str(runs / "more" / "d0"), str(place)]) == 0
    assert "0 runs added, 1 already there" in capsys.readouterr().out
    assert contents(place) == before
    assert main(["study", "add", str(runs / "a1"), str(runs / "a0"), str(place)]) == 0
    assert list(read_study(place)) == ["a0", "a1", "d0", "d1"]
    assert main(["study", "add", str(runs / "more"), str(runs / "a0"), str(tmp_path / "other")]) == 0
    assert main(["study", "add", str(runs / "a1"), str(tmp_path / "other")]) == 0
    assert contents(tmp_path / "other") == contents(place)


def test_a_run_that_was_started_again_and_trained_nothing_is_the_same(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place, summary = tmp_path / "study", runs / "a0" / "summary.json"
    assert main(["study", "add", str(runs), str(place)]) == 0
    before = contents(place)
    again = {"updated": "2027-01-01T00:00:00+00:00", "wall_seconds": 9e9, "device_seconds": 9e9}
    summary.write_text(json.dumps(json.loads(summary.read_text()) | again))
    assert main(["study", "add", str(runs), str(place)]) == 0
    assert "0 runs added, 4 already there" in capsys.readouterr().out
    assert contents(place) == before


def test_what_a_run_got_since_is_added(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An evaluation in another order, and its first calibration; what is lost since is refused."""
    place, file = tmp_path / "study", runs / "a0" / "evaluation.json"
    assert main(["study", "add", str(runs), str(place)]) == 0
    known, before = json.loads(file.read_text()), contents(place)
    other = known["results"][0] | {"sampling": {"order": "panels"}, "own_sampling": False}
    file.write_text(json.dumps(known | {"results": [*known["results"], other]}))
    (runs / "a0" / "calibration.json").write_text("{}\n")
    assert main(["study", "add", str(runs), str(place)]) == 0
    assert "0 runs added, 1 with further evaluations, 3 already there" in capsys.readouterr().out
    assert read_study(place)["a0"].results[-1] == other
    assert read_study(place)["a0"].calibration == "{}\n"
    assert contents(place).keys() == before.keys()
    after = contents(place)
    file.write_text(json.dumps(known))
    assert main(["study", "add", str(runs), str(place)]) == 2
    assert "a run of that name with other content" in capsys.readouterr().err
    assert contents(place) == after


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: f"<<<<<<< HEAD\n{text}=======\n",
        lambda text: text.replace(",", ";"),
        lambda text: text[:-3],
        lambda text: text.replace("\n", ",\n"),
        lambda text: text + "a0,7\n",
        lambda text: "",
        None,
    ],
)
def test_damaged_curves_of_a_study_are_refused_and_kept(
    damage: Any, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "study"
    assert main(["study", "add", str(runs / "a0"), str(place)]) == 0
    curves = place / "curves.csv"
    if damage is None:
        curves.unlink()
    else:
        curves.write_text(damage(curves.read_text()))
    before = contents(place)
    assert main(["study", "add", str(runs / "a1"), str(place)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"genraven: error: expected a table of a study in {curves}, got what cannot be read (")
    assert len(error.splitlines()) == 1
    assert contents(place) == before


def test_a_run_is_no_study(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(runs / "a1")
    assert main(["study", "add", str(runs / "a0"), str(runs / "a1")]) == 2
    assert "which is that of a run: name the study last." in capsys.readouterr().err
    assert contents(runs / "a1") == before


def other_content(runs: Path) -> None:
    summary = json.loads((runs / "a0" / "summary.json").read_text())
    (runs / "a0" / "summary.json").write_text(json.dumps(summary | {"flops": 1.0}))


def unfinished(runs: Path) -> None:
    make_run(runs / "z", "diffusion", 400, 0.5, state="interrupted")


def unscored(runs: Path) -> None:
    make_run(runs / "z", "diffusion", 400)


def without_config(runs: Path) -> None:
    (make_run(runs / "z", "diffusion", 400, 0.5) / "config.yaml").unlink()


def of_another_version(runs: Path) -> None:
    run = make_run(runs / "z", "diffusion", 400, 0.5)
    (run / "evaluation.json").write_text(json.dumps({"version": 7, "run": {}, "results": []}))


def broken(runs: Path) -> None:
    (make_run(runs / "z", "diffusion", 400, 0.5) / "curve.csv").write_bytes(b"\xff\xfe\x00")


def too_long(runs: Path) -> None:
    (make_run(runs / "z", "diffusion", 400, 0.5) / "curve.csv").write_text("step,val/c3\n10,0.5,5\n")


def cut(runs: Path) -> None:
    summary = make_run(runs / "z", "diffusion", 400, 0.5) / "summary.json"
    summary.write_text(summary.read_text()[:50])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_content, "a run of that name with other content"),
        (unfinished, "expected runs that are finished, got z, which is interrupted"),
        (unscored, "expected runs with scores, got z without scores: run `genraven evaluate"),
        (without_config, "expected runs with their settings, got z without config.yaml: copy it from"),
        (of_another_version, "expected an evaluation of version 1"),
        (broken, "curve.csv is broken"),
        (too_long, "curve.csv is broken"),
        (cut, "expected runs whose files can be read, got z: "),
    ],
)
def test_what_is_refused_changes_nothing(
    change: Any, said: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "study"
    assert main(["study", "add", str(runs / "a0"), str(place)]) == 0
    before = contents(place)
    change(runs)
    assert main(["study", "add", str(runs), str(place)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert contents(place) == before


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("runs.jsonl", '"study_version": 1', '"study_version": 2', "expected a study of version 1"),
        ("runs.jsonl", '"evaluation_version": 1', '"evaluation_version": 0', "with scores of version 1"),
        ("runs.jsonl", '"run": "a0"', '"run": "../a0"', "what cannot be read"),
        ("runs.jsonl", '"run": "a0"', '"run": "a1"', "got a1 twice"),
        ("outcomes.jsonl", '"run": "a0"', '"run": 3', "what cannot be read"),
        ("outcomes.jsonl", "}}\n", "}\n", "what cannot be read"),
    ],
)
def test_tables_that_are_broken_or_of_another_version(
    file: str, old: str, new: str, said: str, runs: Path, tmp_path: Path
) -> None:
    add_to_study(tmp_path / "s", {name: read_record(runs / name, []) for name in ("a0", "a1")})
    text = (tmp_path / "s" / file).read_text()
    assert old in text
    (tmp_path / "s" / file).write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=re.escape(said)):
        read_study(tmp_path / "s")


def test_what_was_cut_short_counts_for_nothing(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of runs takes its place last; what others have of a run that it lacks is left out when one is added."""
    place, (one, two) = tmp_path / "s", [read_record(runs / name, []) for name in ("a0", "a1")]
    add_to_study(place, {"a0": one})
    old = (place / "runs.jsonl").read_text()
    add_to_study(place, {"a1": two})
    (place / "runs.jsonl").write_text(old)  # as it was before
    assert list(read_study(place)) == ["a0"]
    add_to_study(place, {"a2": two})
    assert {json.loads(line)["run"] for line in (place / "outcomes.jsonl").read_text().splitlines()} == {"a0", "a2"}
    before = contents(place)
    monkeypatch.setattr(study, "_csv", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        add_to_study(place, {"a1": two})
    assert contents(place) == before


def test_a_column_of_the_studys_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="with the key config, which names a column of the study"):
        add_to_study(tmp_path / "s", {"a": Record(tmp_path, {"config": 1})})
    assert contents(tmp_path / "s") == {}


def test_committed_studies_are_whole() -> None:
    """Each run has outcomes, a curve and a config that says what it learned."""
    places = sorted((Path(__file__).parents[2] / "docs" / "study").glob("*/runs.jsonl"))
    assert len(places) >= 7
    kept = [files for place in places for files in read_study(place.parent).values()]
    assert len(kept) >= 160
    for files in kept:
        run, notes = run_of(files.place.name, files, "finished")
        assert (run.is_evidence, notes) == (True, [])
        assert files.curve
        assert yaml.safe_dump(files.config)


def test_a_folder_of_runs_and_studies(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "add", str(runs / "a0"), str(runs / "kept")]) == 0
    shutil.rmtree(runs / "a0")
    assert main(["status", str(runs)]) == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]
    assert shown == ["kept/a0", "a1", "more/d0", "more/d1"]


def test_a_table_of_somebody_elses_makes_no_study(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "a0" / "runs.jsonl").write_text('{"id": 7}\n')
    assert main(["status", str(runs)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
