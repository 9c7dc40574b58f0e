"""Which names in a run folder are ours."""

import json
from pathlib import Path

import pytest

from genraven.run_folder import RunFiles, home, read_json, read_note, step_checkpoints, step_name, step_of

FOREIGN = [
    "step-final.ckpt", "step-00000015-keep.ckpt", "step-15.ckpt", "step-000000015.ckpt", "step-00000015.ckpt.torn",
    "xstep-00000015.ckpt", "step-00000015.pt", "step--0000015.ckpt", "step-00000015.ckpt ", "best.ckpt",
]  # fmt: skip


@pytest.mark.parametrize("step", [0, 15, 99_999_999, 100_000_000, 10**10])
def test_a_name_says_its_step(step: int) -> None:
    assert step_of(Path("run/checkpoints") / step_name(step)) == step


@pytest.mark.parametrize("name", FOREIGN)
def test_other_names_are_not_ours(name: str) -> None:
    assert step_of(Path(name)) is None


def test_the_newest_comes_first(tmp_path: Path) -> None:
    """Also past eight digits, which no longer sort as words."""
    for name in (*FOREIGN, step_name(5), step_name(10**8), step_name(99_999_999)):
        (tmp_path / name).touch()
    assert list(step_checkpoints(tmp_path)) == [10**8, 99_999_999, 5]
    assert step_checkpoints(tmp_path / "nowhere") == {}


def test_the_folder_of_a_checkpoint(tmp_path: Path) -> None:
    assert home(tmp_path / "run" / "checkpoints" / "best.ckpt") == tmp_path / "run"
    assert home(tmp_path / "export" / "model.safetensors") == tmp_path / "export"


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_what_is_no_object_reads_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "summary.json").write_text(text)
    assert read_json(tmp_path / "summary.json") == {}


@pytest.mark.parametrize(
    ("job", "is_one"),
    [
        *((job, True) for job in ("7", "12_3", "77.north", "12[3].pbs-1", "a@b")),
        *((job, False) for job in ("", "-M other", "7;ls", "7 8", "$(ls)", "../7", "7\n", "x" * 101, "\u0667")),
    ],
)
def test_a_job_is_the_word_of_a_scheduler(job: str, is_one: bool, tmp_path: Path) -> None:
    """It is shown in commands to type."""
    note = RunFiles(tmp_path).job.note
    note.parent.mkdir()
    note.write_text(json.dumps({"job": job}))
    assert read_note(tmp_path) == ({"job": job} if is_one else {})
