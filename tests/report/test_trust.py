import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genraven.report.reading import read_run
from genraven.report.selective import trust_cells
from genraven.report.trust import Trust, file_digest, fraction_to_review, read_trust
from genraven.run_folder import RunFiles
from genraven.trust.fitting import Labelled, calibrated, with_trust


def write(folder: Path, knows: float, num: int = 600) -> None:
    rng = np.random.default_rng(0)
    correct = rng.random(num) < 0.8
    scores = rng.random(num) + knows * correct
    chosen, tested = Labelled({"s": scores}, {"s": correct}, np.full(num, "a rule")).split(num // 3)
    found = calibrated(chosen, tested, model="m", completion={"candidates": 8}, source={}, delta=0.1)
    folder.mkdir(parents=True, exist_ok=True)
    with_trust(found, tested).write(RunFiles(folder).calibration)


def trust_of(run: Path) -> Trust:
    file = RunFiles(run).calibration
    return read_trust(file.read_text(), file)


def test_runs_side_by_side(tmp_path: Path) -> None:
    for name, knows in (("knows", 2.0), ("guesses", 0.0)):
        write(tmp_path / name, knows)
    knows, guesses = (trust_of(tmp_path / name) for name in ("knows", "guesses"))
    assert knows.knowledge == pytest.approx(1)
    assert guesses.knowledge == pytest.approx(0, abs=0.25)
    assert knows.accepted[0.05] > 0.7
    assert trust_cells(knows)[2] == "1.00"
    assert trust_cells(guesses)[4] == "0%"
    assert fraction_to_review([knows, guesses]) == pytest.approx(1 - knows.accepted[0.05] / 2)
    assert list(knows.sight) == [1, 20] and "not checked whether" in knows.sight[1]  # no familiarity
    assert fraction_to_review([knows, None]) is fraction_to_review([]) is None


def test_what_cannot_be_said_is_absent(tmp_path: Path) -> None:
    write(tmp_path / "few", 2.0, 60)  # 40 tested
    few = trust_of(tmp_path / "few")
    assert set(few.accepted) == {0.1}
    assert trust_cells(few)[4] == "-"
    assert fraction_to_review([few]) is None


CELL = {"value": 0.75, "hits": 3, "count": 4, "interval95": [0.3, 0.95]}


def scored(folder: Path, **more: Any) -> None:
    """An evaluation beside the calibration."""
    result = {"checkpoint": "step-00000100.ckpt", "step": 100, "split": "test", "puzzles_per_rule": 4, "sampling": {},
              "own_sampling": True, "metrics": {"completion": CELL}, **more}  # fmt: skip
    facts = {"family": "diffusion", "architecture": "SiT", "samples_per_rule": 10}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.json").write_text(json.dumps({"version": 1, "run": facts, "results": [result]}))


@pytest.mark.parametrize(
    ("weights", "says"),
    [("m", None), ("n", "it is of weights other than those that were scored"), (None, "is not known")],
)
def test_a_calibration_counts_for_the_weights_that_were_scored(
    weights: str | None, says: str | None, tmp_path: Path
) -> None:
    write(tmp_path, 2.0)
    scored(tmp_path, **({} if weights is None else {"weights": weights}))
    run, notes = read_run("a", tmp_path, "finished")
    assert (run.trust is not None) == (says is None)
    assert [says in note for note in notes if says] == ([True] if says else [])


def test_what_a_reviewed_completion_takes_is_of_this_very_calibration(tmp_path: Path) -> None:
    write(tmp_path, 2.0)
    timed = {"seconds": 8.0, "count": 4}
    scored(tmp_path, weights="m", calibration=file_digest(RunFiles(tmp_path).calibration), certainty=timed)
    trust = read_run("a", tmp_path, "finished")[0].trust
    assert trust is not None
    assert trust.seconds == 2.0
    scored(tmp_path, weights="m", calibration="another", certainty=timed)
    trust = read_run("a", tmp_path, "finished")[0].trust
    assert trust is not None
    assert trust.seconds is None
