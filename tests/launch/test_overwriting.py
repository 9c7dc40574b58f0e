"""What stands there already: nothing of somebody else's is replaced, and no old file speaks of new ones."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import fit

from genraven.errors import InputError
from genraven.puzzles.generate import generate
from genraven.run_folder import RunFiles
from genraven.trust.audit import read_records
from launch.cli import main
from launch.runs.folder import RunFolder
from launch.runs.freeze import replaced

STUDY = Path(__file__).parents[2] / "docs" / "study" / "little_data"
FEW = ["--device", "cpu", "--exchanges", "0", "--candidates", "2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of one step."""
    folder = tmp_path_factory.mktemp("runs") / "gpt2"
    assert main(fit(folder, "--trainer.max_steps", "1", "--trainer.limit_val_batches", "0")) == 0
    return folder


@pytest.fixture
def here(in_tmp_path: Path) -> Path:
    np.save("p.npy", generate(3, 0, 4).numpy())
    return in_tmp_path


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error: ")]
    return said


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ["generate", "--num", "2", "--rules", "0"],  # puzzles.npy, as it is where nobody says
        ["generate", "--num", "2", "--rules", "0", "--layout", "npz", "--out", "o.npz", "--picture", "mine.png"],
        ["generate", "--num", "2", "--rules", "0", "--layout", "folder", "--out", "folder"],
        ["import", "p.npy", "--out", "own.npz"],
        ["import", "own.npz", "--out", "own.npz"],
        ["describe", "p.npy", "--picture", "mine.png"],
        ["sample", "RUN", "--num", "2", "--device", "cpu"],
        ["sample", "RUN", "--num", "2", "--device", "cpu", "--out", "mine.npy"],  # whose picture is mine.png
        ["complete", "RUN", "p.npy", "--device", "cpu", "--out", "p.npy"],
        ["complete", "RUN", "p.npy", "--device", "cpu", "--out", "mine.npy"],
        ["complete", "RUN", "p.npy", *FEW, "--out", "mine.npy", "--picture", "o.png"],  # whose audit is there
        ["complete", "RUN", "p.npy", *FEW, "--out", "o.npy", "--review", "mine.html"],
        ["score", "RUN", "p.npy", "--device", "cpu"],
        ["probe", "RUN", "--device", "cpu", "--out", "mine.json", "--picture", "o.png"],
        ["calibrate", "RUN", "--device", "cpu", "--out", "mine.json"],
        ["report", str(STUDY), "--out", "mine.html"],
        ["report", str(STUDY), "--out", "README.html"],  # whose Markdown is README.md
        ["export", "RUN", "--out", "folder"],
    ],
    ids=lambda words: " ".join(words[:1] + words[-1:]),
)
def test_nothing_of_somebody_elses_is_replaced(
    words: list[str], run: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "p.npy", "--out", "own.npz"]) == 0
    for name in ("puzzles.npy", "samples.npy", "mine.audit.jsonl", "mine.html", "mine.json", "README.md", "scores.npz"):
        Path(name).write_text("made by genraven and me\n")
    Image.new("RGB", (2, 2)).save("mine.png")
    Path("folder").mkdir()
    before = contents(here)
    said = error_of([str(run) if word == "RUN" else word for word in words], capsys)
    assert "not there yet" in said
    assert contents(here) == before


def test_it_is_replaced_where_that_is_asked_for(run: Path, here: Path) -> None:
    """And keeps to whom it was open."""
    Path("o.npy").write_text("mine")
    Path("o.npy").chmod(0o600)
    for words in (["generate", "--num", "3", "--rules", "0"], ["complete", str(run), "p.npy", "--device", "cpu"]):
        assert main([*words, "--out", "o.npy", "--overwrite"]) == 0
        assert len(np.load("o.npy")) in (3, 4)
        assert stat.S_IMODE(Path("o.npy").stat().st_mode) == 0o600
    assert main(["complete", str(run), "p.npy", "--device", "cpu", "--out", "p.npy", "--overwrite"]) == 0


def test_no_old_audit_speaks_of_new_completions(run: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A plain completion has none; nor is one left beside that whose array somebody has removed."""
    command = ["complete", str(run), "p.npy", "--out", "o.npy", "--seed"]
    assert main([*command, "1", *FEW]) == 0
    assert len(read_records(Path("o.audit.jsonl"))) == 4
    assert "not there yet" in error_of([*command, "2", "--device", "cpu"], capsys)
    assert main([*command, "2", "--device", "cpu", "--overwrite"]) == 0
    assert sorted(path.name for path in here.glob("o.*")) == ["o.npy", "o.png"]
    assert main([*command, "1", *FEW, "--overwrite"]) == 0
    Path("o.npy").unlink()
    assert main([*command, "2", "--device", "cpu"]) == 0
    assert not Path("o.audit.jsonl").exists()


def test_our_own_pages_pictures_and_numbers_are_made_anew(
    run: Path, here: Path, study_run: Callable[[str, Path], Path]
) -> None:
    shutil.copytree(run, "run")
    study_run("100-r0-gpt2", Path("runs/a"))
    study_run("100-r0-mdm", Path("runs/b"))
    probe = ["probe", "run", "--device", "cpu", "--fit-per-rule", "2", "--puzzles-per-rule", "2"]
    for words in (["report", "runs"], probe, ["describe", "p.npy", "--picture", "o.png"]):
        assert main(words) == main(words) == 0
    shutil.rmtree("runs/b")
    figures = Path("runs/report_figures")
    assert (figures / "rules-MDM.svg").exists()
    (figures / "rules-mine.svg").write_text("<svg></svg>")
    assert main(["report", "runs"]) == 0
    assert not (figures / "rules-MDM.svg").exists()  # of the page that was there before
    assert (figures / "rules-mine.svg").exists()


@pytest.mark.parametrize("name", ["x" * 246, "é" * 123])
def test_a_name_too_long_is_refused_before_work(
    name: str, run: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of the array is not, but those of what stands beside it."""
    command = ["complete", str(run), "p.npy", "--out", f"{name}.npy", *FEW]
    before = contents(here)
    assert "expected a name of at most 255 bytes for the audit beside --out" in error_of(command, capsys)
    assert contents(here) == before


def test_a_name_that_is_no_utf_8_is_read_and_written(run: Path, here: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    Path("p.npy").rename(f"{name}.npy")
    command = ["complete", str(run), f"{name}.npy", "--out", f"{name}-done.npy", "--review", f"{name}.html", *FEW]
    assert main(command) == 0
    assert r"caf\xe9.npy" in Path(f"{name}.html").read_text(encoding="utf-8")
    assert main(["describe", f"{name}-done.npy", "--picture", f"{name}.png"]) == 0


# Run folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "curve.csv"])
def test_a_folder_that_is_none_of_a_run_is_not_written_into(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine").mkdir()
    (Path("mine") / name).write_text("of: my project\n")
    said = error_of(fit(Path("mine"), "--trainer.max_steps", "1"), capsys)
    assert f"whose {name} belongs to no run" in said
    (here / "mine" / "run.lock").unlink()
    assert contents(here / "mine") == {name: b"of: my project\n"}


@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_a_lock_that_leads_elsewhere_is_refused(
    command: str, run: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, "run")
    Path("mine").write_text("mine")
    for name in ("run.lock", ".evaluation.json.lock"):
        (Path("run") / name).unlink(missing_ok=True)
        (Path("run") / name).symlink_to(here / "mine")
    words = {"fit": fit(Path("run"), "--trainer.max_steps", "2", "--trainer.limit_val_batches", "0"),
             "evaluate": ["evaluate", "run", "--puzzles-per-rule", "1", "--device", "cpu"]}  # fmt: skip
    assert "Too many levels of symbolic links" in error_of(words[command], capsys)
    assert Path("mine").read_text() == "mine"


def test_what_is_none_of_a_job_is_not_removed_with_it(tmp_path: Path) -> None:
    job = RunFiles(tmp_path).job.config
    job.parent.mkdir()
    for name in ("config.yaml", "spec.json", "slurm-7.out", "refused.txt"):
        (job.parent / name).write_text("old")
    with replaced(job.parent) as folder:
        (folder / "config.yaml").write_text("new")
    assert sorted(path.name for path in job.parent.iterdir()) == ["config.yaml", "slurm-7.out"]
    (job.parent / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"files of a job only, got thesis\.tex in .*job:"), replaced(job.parent):
        pass
    assert (job.parent / "thesis.tex").read_text() == "mine"
    assert RunFolder(tmp_path).config() == {}
