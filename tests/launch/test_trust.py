"""From an untrained model to decisions: calibrate, complete with a promise, score, and what they refuse."""

import json
import re
import shutil
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny import TINY, fit

import genraven
from genraven.errors import InputError
from genraven.metrics.completion import asked_and_held
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.trust.audit import puzzles_of, read_records
from genraven.trust.calibration import Calibration
from genraven.trust.decision import Decided, decide
from genraven.trust.familiarity import ALARM
from launch.cli import main
from launch.runs.folder import find_checkpoint
from launch.trained.completions import drawn_puzzles
from launch.trained.load import load_run
from launch.trained.numerics import Numerics
from launch.trained.selective_risk import Calibrated

torch.set_num_threads(1)
ROOT = Path(__file__).parents[2]
FEW = ["--puzzles", "60", "--puzzles-to-choose", "30", "--candidates", "3", "--device", "cpu"]
CHECKERS = """
import numpy as np
def right(rows):
    assert rows.shape[1:] == (3, 3, 9, 3)
    return np.ones(len(rows), bool)
def wrong(rows): return np.zeros(len(rows), bool)
def number(rows): return 1.0
def breaks(rows): raise KeyError("a key")
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of two steps."""
    folder = tmp_path_factory.mktemp("runs")
    short = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.limit_val_batches", "0"]
    commands = {
        "gpt2": fit(folder / "gpt2", *short),
        "mdm": ["fit", "-c", "model/mdm_tiny.yaml", *TINY, "--run_dir", str(folder / "mdm"), *short],
        "sit": fit(folder / "sit", *short, family="diffusion"),
    }
    for command in commands.values():
        assert main(command) == 0
    return {name: folder / name for name in commands}


@pytest.fixture
def here(in_tmp_path: Path) -> Path:
    Path("checkers.py").write_text(CHECKERS)
    np.save("p.npy", generate(3, 0, 5).numpy())
    return in_tmp_path


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()
    errors = [line for line in said if line.startswith("genraven: error: ")]
    assert len(errors) == 1
    return errors[0]


@pytest.mark.parametrize("name", ["gpt2", "mdm", "sit"])
def test_from_calibration_to_decision(
    name: str, runs: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(runs[name])
    assert main(["calibrate", run, *FEW, "--rules-from", "checkers:right", "--out", "c.json"]) == 0
    assert "at most 5% wrong: expects to accept 100%" in capsys.readouterr().out
    body = json.loads(Path("c.json").read_text())
    tried = {"agreement", "strongest"} | ({"log_probability"} if name != "sit" else set())
    assert set(body["areas"]) == tried | {"mdm": {"stability"}, "sit": {"recovery"}}.get(name, set())
    options = ["--max-error", "0.05", "--calibration", "c.json", "--device", "cpu", "--exchanges", "2"]
    command = ["complete", run, "p.npy", *options, "--out", "done.npy", "--review", "review.html"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.index("expects to accept 100%") < said.index("5 of 5 accepted")
    records, done = read_records(Path("done.audit.jsonl")), torch.from_numpy(np.load("done.npy"))
    assert [record.decision for record in records] == ["accept"] * 5
    kept, mask = puzzles_of(records)
    assert torch.equal(kept, done)
    assert torch.equal(mask, last_panel_mask(5))
    for record in records:
        assert record.score == body["score"]
        scores = [candidate.score for candidate in record.candidates]
        assert len(scores) == 3 and record.chosen == scores.index(max(scores))
        assert record.rests_on is not None and len(record.rests_on) == 8
        assert record.checker is None or "no part" in record.checker["note"]
        assert record.promise is not None and record.promise["max_error"] == 0.05
    assert main(["complete", run, "p.npy", *options, "--out", "again.npy"]) == 0
    assert Path("again.audit.jsonl").read_text() == Path("done.audit.jsonl").read_text()
    model = genraven.load(run, device="cpu", batch_size=6)  # two puzzles at once
    decided = model.decide(np.load("p.npy"), max_error=0.05, calibration="c.json")
    assert torch.equal(decided.completed, done) and decided.accepted.all()
    chosen = [record.candidates[record.chosen].score for record in records]
    assert decided.scores.tolist() == pytest.approx(chosen, abs=1e-6)
    assert str(decided.check) == records[0].promise["check"]["in_words"]  # type: ignore[index]


def test_an_evaluation_says_how_far_a_model_knows(
    runs: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On puzzles that the calibration has not seen; what was scored before is not scored again; TensorBoard has it."""
    run = Path(shutil.copytree(runs["gpt2"], here / "gpt2"))
    command = ["evaluate", str(run), "--puzzles-per-rule", "4", "--device", "cpu"]
    assert "expected a calibration in" in error_of([*command, "--trust"], capsys)
    assert main(["calibrate", str(run), *FEW]) == 0
    assert main(command) == main([*command, "--trust"]) == main([*command, "--trust"]) == 0
    plain, trusted = json.loads((run / "evaluation.json").read_text())["results"]
    assert plain["metrics"] == trusted["metrics"]
    assert plain["seconds"] == trusted["seconds"]  # the same scoring
    found = trusted["certainty"]
    assert found["count"] == 12
    assert found["seconds"] > 0
    assert trusted["weights"] == plain["weights"] == json.loads((run / "calibration.json").read_text())["model"]
    assert found["area"]["value"] == found["random_area"] == 1.0  # untrained: all are wrong
    assert found["accepted"]["0.05"] == {"accepted": 0, "wrong": 0}
    assert found["check"]["puzzles"] == 12 and found["check"]["size"] == 10
    said = capsys.readouterr().out
    assert "at 5% error 0 accepted, 0 of them wrong" in said and found["check"]["in_words"] in said
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert {"trust/area", "trust/calibration_error", "trust/accepted_at_0.05_error"} <= set(events.Tags()["scalars"])
    assert [point.value for point in events.Scalars("trust/risk_at_percent_accepted")] == [1.0] * 100
    assert "expected completions as they were" in error_of([*command, "--trust", "--temperature", "0.5"], capsys)
    fewer = ["evaluate", str(run), "--puzzles-per-rule", "3", "--device", "cpu"]
    assert main([*fewer, "--trust"]) == main(fewer) == 0
    trusted, plain = json.loads((run / "evaluation.json").read_text())["results"][2:]
    assert plain["seconds"] == trusted["seconds"]  # also when what is beside the scores came first
    assert "certainty" not in plain and plain["calibration"] is None


def test_puzzles_of_another_kind_are_not_accepted(
    runs: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a whole: a promise is of puzzles like those of the calibration. What cannot tell does not say."""
    states = torch.randint(701, (100, 81), generator=torch.Generator().manual_seed(0))
    np.save("noise.npy", layout.tokens_to_puzzles(layout.states_to_tokens(states)).numpy())
    for name, can_tell in (("gpt2", True), ("sit", False)):
        run = str(runs[name])
        assert main(["calibrate", run, *FEW, "--rules-from", "checkers:right", "--out", f"{name}.json"]) == 0
        options = ["--max-error", "0.05", "--calibration", f"{name}.json", "--device", "cpu", "--exchanges", "0"]
        command = [
            "complete",
            run,
            "noise.npy",
            *options,
            "--out",
            "done.npy",
            "--review",
            "review.html",
            "--overwrite",
        ]
        capsys.readouterr()
        assert main(command) == 0
        said = capsys.readouterr()
        assert ("unlike those of the calibration" in said.err) is can_tell
        assert f"{0 if can_tell else 100} of 100 accepted" in said.out
        assert ("as a whole, are unlike" in Path("review.html").read_text()) is can_tell
        record = read_records(Path("done.audit.jsonl"))[0]
        assert record.promise is not None
        assert (record.familiarity is not None) is ("unlike_p_value" in record.promise) is can_tell
        words = record.promise["check"]["in_words"]
        assert words in said.out and words in Path("review.html").read_text()
        assert words.startswith("100 different puzzles checked" if can_tell else "It was not checked whether")
        assert main([*command, "--accept-unlike"]) == 0
        assert "100 of 100 accepted" in capsys.readouterr().out
    model = load_run(find_checkpoint(runs["gpt2"]), "cpu")[0]
    noise, mask = torch.from_numpy(np.load("noise.npy")), last_panel_mask(100)
    decided = decide(model, noise, mask, "gpt2.json", max_error=0.05)
    assert decided.check.p_value is not None and decided.check.p_value < ALARM
    assert not decided.accepted.any()
    assert "they are unlike those" in str(decided.check)


@pytest.fixture
def unseen(here: Path) -> np.ndarray:
    """(3, 60, 3, 9, 9) puzzles of the three rules of ``TINY`` that no run was trained on."""
    return np.stack([generate(rule, 0, 60, split="val").numpy() for rule in (0, 10, 20)])


def test_a_source_of_several_parts_is_calibrated_on(runs: dict[str, Path], here: Path, unseen: np.ndarray) -> None:
    Path("own").mkdir()
    for attribute, puzzles in enumerate(unseen):
        np.save(f"own/{attribute}_0.npy", puzzles)
    command = ["calibrate", str(runs["gpt2"]), *FEW, "--rules-from", "checkers:right", "--out", "c.json"]
    for seed in range(3):
        assert main([*command, "--source", "own", "--seed", str(seed)]) == 0
        rules = json.loads(Path("c.json").read_text())["rules"]
        assert set(rules) == {"shape.constant", "size.constant", "color.constant"}
        assert sum(all_of_it for _, all_of_it in rules.values()) == 60


def test_puzzles_without_a_rule_to_ask_for_are_not_counted(
    runs: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By our rules no completion of them is right; by a checker of one's own it may be."""
    run = Path(shutil.copytree(runs["gpt2"], here / "gpt2"))
    good, mixed = torch.cat([generate(rule, 500, 40) for rule in (3, 14, 25)]), generate(0, 900, 40)
    mixed[:, :, 3:6] = generate(37, 900, 40)[:, :, 3:6]
    np.savez("own.npz", puzzles=torch.cat([mixed, good]).numpy())
    command = ["calibrate", str(run), *FEW, "--source", "own.npz"]
    assert main(command) == 0
    assert " without a rule to ask for" in capsys.readouterr().err
    body = json.loads((run / "calibration.json").read_text())
    assert 0 < body["source"]["left_out"]["without a rule to ask for"] <= 40
    assert main([*command, "--rules-from", "checkers:right", "--out", "c.json"]) == 0
    assert "without a rule to ask for" not in json.loads(Path("c.json").read_text())["source"]["left_out"]
    trained, rules = genraven.load(str(run)), torch.full((160,), -1)
    found = Calibrated.of(find_checkpoint(run)).measure(trained, torch.cat([mixed, good]), rules, None, split="test")
    asked, _ = asked_and_held(torch.cat([mixed, good]), rules)
    assert found["count"] == int(asked.sum()) < 160
    np.savez("own.npz", puzzles=torch.cat([mixed[~asked[:40]], good]).numpy()[:95])
    assert "have no rule to ask for): lower" in error_of(command, capsys)


def test_copies_and_training_puzzles_are_not_counted(
    runs: dict[str, Path], here: Path, unseen: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["calibrate", str(runs["gpt2"]), *FEW, "--rules-from", "checkers:right", "--source", "own.npz"]
    rows = layout.puzzles_to_rows(torch.from_numpy(unseen[0]))
    turned = layout.rows_to_puzzles(rows[:, [1, 2, 0]]).numpy()
    trained = np.concatenate([generate(rule, 0, 30).numpy() for rule in (0, 10, 20)])
    for puzzles, says in (
        (np.concatenate([unseen[0]] * 10), "got 60 in own.npz (0 of 600 were trained on, 540 are copies)"),
        (np.concatenate([unseen[0], turned]), "got 60 in own.npz (0 of 120 were trained on, 60 are copies)"),
        (trained, "got 0 in own.npz (90 of 90 were trained on, 0 are copies)"),
    ):
        np.savez("own.npz", puzzles=puzzles)
        error = error_of([*command, "--out", "c.json"], capsys)
        assert "expected 90 different puzzles that the model was not trained on, " + says in error
        assert not Path("c.json").exists()
    np.savez("own.npz", puzzles=np.concatenate([*unseen[:2], turned, trained[:10]]))
    assert main([*command, "--out", "c.json"]) == 0
    assert "left out of own.npz: " in capsys.readouterr().err
    body = json.loads(Path("c.json").read_text())
    assert body["tested"]["total"] == [60]
    left_out = body["source"]["left_out"]
    assert 0 < left_out["trained on"] <= 10 and 0 < left_out["copies"] <= 60
    np.savez("own.npz", puzzles=np.concatenate(unseen))
    assert main([*command, "--out", "c.json"]) == 0
    assert json.loads(Path("c.json").read_text())["source"]["left_out"] == {"trained on": 0, "copies": 0}
    assert "genraven:" not in capsys.readouterr().err


def test_what_a_model_was_trained_on_may_not_be_known(
    runs: dict[str, Path], here: Path, unseen: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    """Then that is said, and kept. A file that holds the generated calibration puzzles is noticed as well."""
    np.save("train.npy", drawn_puzzles((0, 10, 20), 200, 0)[0].numpy())
    np.save("own.npy", np.concatenate(unseen))
    short = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "2", "--trainer.limit_val_batches", "0"]
    source = ["--data.source", "train.npy", "--data.samples_per_rule", "null"]
    assert main(fit(here / "run", *short, *source, "--init_from", str(runs["gpt2"]))) == 0
    command = ["calibrate", "run", *FEW, "--rules-from", "checkers:right"]
    capsys.readouterr()
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "left out of the calibration split: " in said and " trained on" in said
    assert "whether the weights that the run began with" in said
    Path("train.npy").rename("gone.npy")
    assert main([*command, "--source", "own.npy"]) == 0
    assert "whether the model was trained on some of these puzzles is not known: expected" in capsys.readouterr().err
    assert len(json.loads(Path("run/calibration.json").read_text())["source"]["not_known"]) == 2


def test_what_the_check_could_see_is_measured_and_said(
    runs: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a file of a puzzle it sees nothing, and copies are one puzzle."""
    run, states = str(runs["gpt2"]), torch.randint(701, (1, 81), generator=torch.Generator().manual_seed(0))
    noise = layout.tokens_to_puzzles(layout.states_to_tokens(states)).numpy()
    assert main(["calibrate", run, *FEW, "--rules-from", "checkers:right", "--out", "c.json"]) == 0
    assert "fewer than 3 puzzles are never taken for unlike" in capsys.readouterr().out
    power = json.loads(Path("c.json").read_text())["power"]
    rules = [kind for kind in power if kind.startswith("never trained: ")]
    corrupted = ["2% of the cells replaced", "10% of the cells replaced", "random cells"]
    assert list(power) == ["the same kind", *corrupted, *rules] and len(rules) == 6
    assert "never trained: shape.constant" not in rules
    assert all(list(of_kind) == ["1", "2", "3", "5", "10"] for of_kind in power.values())
    assert all(of_kind["2"] == [0, 200] for of_kind in power.values()) and power["random cells"]["10"][0] > 100
    command = ["complete", run, "n.npy", "--max-error", "0.05", "--calibration", "c.json", "--exchanges", "0"]
    for puzzles, says in (
        (noise, "1 puzzle checked, as a whole, against 60 of the calibration: no alarm"),
        (noise.repeat(20, 0), "1 puzzle checked"),
        (generate(0, 0, 7, split="test").numpy(), "7 different puzzles checked"),
    ):
        np.save("n.npy", puzzles)
        assert main([*command, "--device", "cpu", "--out", "done.npy", "--review", "r.html", "--overwrite"]) == 0
        said = capsys.readouterr().out
        assert f"{len(puzzles)} of {len(puzzles)} accepted" in said
        words = read_records(Path("done.audit.jsonl"))[0].promise["check"]["in_words"]  # type: ignore[index]
        assert words.startswith(says) and words in said and words in Path("r.html").read_text()
        assert ("can see nothing here" in words) is (len(puzzles) != 7)
    decided = decide(load_run(run, "cpu")[0], torch.from_numpy(noise), last_panel_mask(1), "c.json", max_error=0.05)
    assert decided.accepted.all() and "can see nothing here" in str(decided.check)


def test_a_completion_is_right_where_its_own_row_obeys(
    runs: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a first row: the last one, which was given, says nothing of it."""
    mask = np.zeros((9, 9), bool)
    mask[:3, 6:] = True
    np.save("mask.npy", mask)
    command = ["calibrate", str(runs["mdm"]), *FEW, "--mask", "mask.npy", "--out", "c.json"]
    assert main(command) == 0
    found = re.search(r"(\d+) of (\d+) completions are right", capsys.readouterr().out)
    assert found is not None
    assert int(found[1]) < int(found[2]) / 2  # by an untrained model


def test_labels_that_their_puzzles_do_not_follow_are_refused(
    runs: dict[str, Path], here: Path, unseen: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checker of one's own is another matter."""
    np.savez("wrong.npz", puzzles=unseen.reshape(-1, 3, 9, 9), rules=np.repeat([10, 20, 0], 60))
    command = ["calibrate", str(runs["gpt2"]), *FEW, "--source", "wrong.npz", "--out", "c.json"]
    assert "expected puzzles that follow the rules stated in wrong.npz, got others" in error_of(command, capsys)
    assert main([*command, "--rules-from", "checkers:right"]) == 0


def test_what_the_checker_says_decides_nothing(runs: dict[str, Path], here: Path) -> None:
    """The same scores, candidates and decisions whatever it says in the field."""
    run = str(runs["gpt2"])
    assert main(["calibrate", run, *FEW, "--rules-from", "checkers:right", "--out", "c.json"]) == 0
    found = []
    for says in ("right", "wrong"):
        options = ["--max-error", "0.1", "--calibration", "c.json", "--rules-from", f"checkers:{says}"]
        assert main(["complete", run, "p.npy", *options, "--out", f"{says}.npy", "--device", "cpu"]) == 0
        lines = [json.loads(line) for line in Path(f"{says}.audit.jsonl").read_text().splitlines()]
        assert [line.pop("checker")["says_right"] for line in lines] == [says == "right"] * 5
        assert len({line.pop("digest") for line in lines}) == 5
        found.append(lines)
    assert found[0] == found[1]


def test_a_record_makes_its_completion_again(runs: dict[str, Path], here: Path) -> None:
    """Its batch's given cells, seed and settings alone, from another file."""
    run = str(runs["mdm"])
    words = ["--candidates", "2", "--seed", "7", "--batch-size", "6", "--exchanges", "2", "--device", "cpu"]
    assert main(["complete", run, "p.npy", *words, "--out", "first.npy"]) == 0
    records = read_records(Path("first.audit.jsonl"))
    assert records[4].made_by["batch"] == [3, 5]
    puzzles, mask = puzzles_of(records)
    puzzles[mask.unsqueeze(1).expand_as(puzzles)] = -1  # what was written is not read
    np.save("p.npy", puzzles.numpy())
    made = records[4].made_by
    again = ["--candidates", str(made["candidates"]), "--seed", str(made["seed"]), *words[4:]]
    assert main(["complete", run, "p.npy", *again, "--out", "second.npy"]) == 0
    assert read_records(Path("second.audit.jsonl")) == records


def test_an_untrained_model_accepts_nothing(
    runs: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(runs["gpt2"])
    assert main(["calibrate", run, *FEW, "--rules-from", "checkers:wrong"]) == 0
    assert "expects to accept nothing" in capsys.readouterr().out
    assert (runs["gpt2"] / "calibration.json").exists()
    assert main(["complete", run, "p.npy", "--max-error", "0.3", "--device", "cpu", "--review", "r.html"]) == 0
    assert "0 of 5 accepted, 5 to review" in capsys.readouterr().out
    page = Path("r.html").read_text()
    assert page.count("<article") == 5
    assert "http" not in page.replace("http-equiv", "")


def test_candidates_without_a_calibration_are_all_to_review(
    runs: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["complete", str(runs["sit"]), "p.npy", "--exchanges", "0", "--device", "cpu", "--candidates"]
    assert main([*command, "0"]) == 2
    assert "expected --candidates to be 1 or more, got 0" in capsys.readouterr().err
    assert main([*command, "2"]) == 0
    assert "to review (without --max-error nothing is promised, so none can be accepted)" in capsys.readouterr().out
    for record in read_records(Path("completed.audit.jsonl")):
        assert (record.decision, record.confidence, record.promise, record.rests_on) == ("review", None, None, None)


def test_what_cannot_be(runs: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = str(runs["gpt2"]), str(runs["mdm"])
    complete = ["complete", run, "p.npy", "--calibration", "c.json", "--device", "cpu", "--max-error"]
    assert "expected a calibration in c.json, got none (No such file" in error_of([*complete, "0.05"], capsys)
    assert main(["calibrate", run, *FEW, "--rules-from", "checkers:right", "--out", "c.json"]) == 0
    for words, says in (
        ([*complete, "1.5"], "--max-error to lie between 0 and 1, got 1.5"),
        ([*complete, "0.01"], "expected 230 calibration puzzles or more"),
        ([*complete, "0.05", "--temperature", "0.5"], "calibrated, with sampling temperature 1.0, got 0.5"),
        ([*complete, "0.05", "--candidates", "4"], "with candidates 3, got 4"),
        (["complete", other, *complete[2:], "0.05"], "of this model, got one of another"),
        (["calibrate", run, "--puzzles", "44"], "--puzzles to be 45 or more"),
        (["calibrate", run, "--delta", "0"], "--delta to lie between 0 and 1"),
        (["calibrate", run, "--without", "agreeing"], "did you mean agreement?"),
        (["calibrate", run, "--rules-from", "nothing:here"], "--rules-from module:function that can be imported"),
        (["calibrate", run, *FEW, "--rules-from", "checkers:number", "--out", "d.json"], "expected bool of shape ("),
        (["calibrate", run, *FEW, "--rules-from", "checkers:breaks", "--out", "d.json"], "KeyError: 'a key'"),
        (["calibrate", run, *FEW, "--source", "p.npy", "--out", "d.json"], "expected 90 puzzles"),
        (["score", str(runs["sit"]), "p.npy"], "knows how likely a puzzle is, got SiT"),
    ):
        assert says in error_of(words, capsys)
    Path("c.json").write_text(Path("c.json").read_text().replace('"delta": 0.1', '"delta": 0.5'))
    assert "got content that its digest does not fit" in error_of([*complete, "0.05"], capsys)
    damaged = np.load("p.npy")
    damaged[2, :, 3:6, :3] = -1
    np.save("p.npy", damaged)
    says = "none in panel 1 of row 2 of puzzle 2"
    assert says in error_of(["complete", run, "p.npy", "--candidates", "2"], capsys)
    assert sorted(path.name for path in here.iterdir() if path.name != "__pycache__") == [
        "c.json",
        "checkers.py",
        "p.npy",
    ]


@pytest.mark.parametrize("name", ["gpt2", "mdm"])
def test_scores_of_puzzles_and_cells(
    name: str, runs: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(runs[name]), "p.npy", "--spoil", "--device", "cpu"]) == 0  # the former name of --corrupt
    said = capsys.readouterr().out
    assert "that cell ranks first in" in said and "chance is 1.2%" in said
    with np.load("scores.npz") as found:
        assert found["cells"].shape == (5, 9, 9) and found["puzzle"].shape == (5,)
        assert np.allclose(found["cells"].sum((1, 2)), found["puzzle"], rtol=1e-4)
        assert (found["cells"] <= 0).all() and (found["cells_expected"] <= 0).all()


def test_puzzles_of_a_calibration_are_independent_draws_that_no_training_saw() -> None:
    puzzles, rules = drawn_puzzles((0, 10, 20), 300, 0)
    assert 60 < torch.bincount(rules)[[0, 10, 20]].min() < 100  # not the same number of each
    assert torch.equal(puzzles[rules == 10], generate(10, 0, int((rules == 10).sum()), split="calibration"))
    for split in ("train", "val", "test"):
        assert not (puzzles[rules == 10][:, None] == generate(10, 0, 50, split=split)).flatten(2).all(-1).any()


@pytest.mark.parametrize("page", ["README.md", "docs/decide.md", "docs/trust.md"])
def test_the_lines_of_a_page(page: str, runs: dict[str, Path], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As they are written, with a run and puzzles where a page says that they are."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    assert main(["calibrate", str(runs["gpt2"]), *FEW, "--rules-from", "checkers:right", "--out", "c.json"]) == 0
    for name in ("X", "gpt2_tiny"):
        shutil.copytree(runs["gpt2"], f"runs/{name}")
        shutil.copy("c.json", f"runs/{name}/calibration.json")
    np.save("puzzles.npy", generate(3, 0, 4).numpy())
    capsys.readouterr()
    found: dict[str, Any] = {}
    exec(block, found)
    made = [found[name] for name in ("completed", "accepted") if name in found]
    assert made and all(len(puzzles) in (4, 16) and puzzles.shape[1:] == (3, 9, 9) for puzzles in made)
    assert not re.search(r"(sample|complete|score \w+): ", capsys.readouterr().err)  # bars, which a command shows


def test_a_decision_is_of_the_calibrated_weights_and_mask(runs: dict[str, Path], here: Path) -> None:
    assert main(["calibrate", str(runs["mdm"]), *FEW, "--rules-from", "checkers:right", "--out", "c.json"]) == 0
    model, puzzles = genraven.load(runs["mdm"], device="cpu"), generate(3, 0, 4)
    decided = model.decide(puzzles, max_error=0.05, calibration="c.json")
    assert decided.accepted.all() and decided.completed.shape == (4, 3, 9, 9)
    assert ((decided.probability > 0.9) & (decided.probability < 1)).all()
    mask = last_panel_mask(4)
    mask[:, 0, 0] = True
    with pytest.raises(InputError, match="as they were calibrated, with mask"):
        model.decide(puzzles, mask, max_error=0.05, calibration="c.json")
    mask[0, 0, 0] = False
    with pytest.raises(InputError, match="one mask for all puzzles"):
        model.decide(puzzles, mask, max_error=0.05, calibration="c.json")
    with torch.no_grad():
        next(model.module.network.parameters()).add_(1)
    with pytest.raises(InputError, match="of this model, got one of another"):
        model.decide(puzzles, max_error=0.05, calibration="c.json")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_decisions_in_python_are_computed_as_calibrated_or_refused(
    precision: str, runs: dict[str, Path], here: Path
) -> None:
    command = ["calibrate", str(runs["gpt2"]), *FEW, "--rules-from", "checkers:right", "--precision", precision]
    assert main([*command, "--out", "c.json"]) == 0
    model, _, checkpoint = load_run(runs["gpt2"], "cpu")
    puzzles, mask = generate(3, 0, 4), last_panel_mask(4)
    numerics = {name: Numerics.of(checkpoint, model.device, name) for name in ("32-true", "bf16-mixed", "bf16-true")}

    def decided(*contexts: AbstractContextManager[None]) -> Decided:
        with ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context)
            return decide(model, puzzles, mask, "c.json", max_error=0.05)

    for other in ("32-true", "bf16-mixed"):  # both have weights of float32
        if other != precision:
            with pytest.raises(
                InputError, match="of this model" if precision == "bf16-true" else "with numerics precision"
            ):
                decided(numerics[other].at_work(model.device))
    numerics[precision].prepare(model, model.seed)
    at_work = numerics[precision].at_work(model.device)
    assert decided(at_work).accepted.all()
    if precision != "32-true":
        with pytest.raises(InputError, match=f"with numerics .*{precision}.*, got .*give the setting of the"):
            decided()
    model.network.train()
    with pytest.raises(InputError, match="in evaluation mode, got one in training mode.*call model.eval"):
        decided(numerics[precision].at_work(model.device))


def test_an_opened_model_decides_in_its_own_precision_whatever_stands_around_it(
    runs: dict[str, Path], here: Path
) -> None:
    """A calibration in bf16-true is of weights of bf16: those that evaluate and decide compute with."""
    run = Path(shutil.copytree(runs["gpt2"], here / "gpt2"))
    precision = ["--precision", "bf16-true"]
    assert main(["calibrate", str(run), *FEW, "--rules-from", "checkers:right", *precision]) == 0
    assert main(["evaluate", str(run), "--puzzles-per-rule", "1", "--device", "cpu", "--trust", *precision]) == 0
    model, puzzles = genraven.load(run, device="cpu", precision="bf16-true"), generate(3, 0, 4)
    decided = model.decide(puzzles, max_error=0.05)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model.decide(puzzles, max_error=0.05).completed, decided.completed)
            with pytest.raises(InputError, match="of this model"):
                genraven.load(run, device="cpu").decide(puzzles, max_error=0.05)
    finally:
        torch.set_default_dtype(torch.float32)
    with pytest.raises(InputError, match="with numerics .*bf16-true.*, got .*32-true and bf16-true"):
        decide(model.module, puzzles, last_panel_mask(4), run / "calibration.json", max_error=0.05)


def test_a_calibration_of_another_kind_of_device_is_refused(runs: dict[str, Path], here: Path) -> None:
    """One that does not say, since older versions did not note it, is read."""
    assert main(["calibrate", str(runs["gpt2"]), *FEW, "--rules-from", "checkers:right", "--out", "c.json"]) == 0
    found, (model, _, _) = Calibration.read(Path("c.json")), load_run(runs["gpt2"], "cpu")
    puzzles, mask = generate(3, 0, 4), last_panel_mask(4)
    silent = {name: value for name, value in found.completion.items() if name != "device_type"}
    assert decide(model, puzzles, mask, replace(found, completion=silent), max_error=0.05).accepted.all()
    elsewhere = replace(found, completion={**silent, "device_type": "cuda"})
    with pytest.raises(InputError, match="with device_type 'cuda', got 'cpu'"):
        decide(model, puzzles, mask, elsewhere, max_error=0.05)


def test_a_calibration_holds_when_its_method_gets_a_setting(runs: dict[str, Path], here: Path) -> None:
    """What it does not note of sampling was as it is by default; of another value of it the calibration is not."""
    assert main(["calibrate", str(runs["gpt2"]), *FEW, "--rules-from", "checkers:right", "--out", "c.json"]) == 0
    found, model = Calibration.read(Path("c.json")), genraven.load(runs["gpt2"], device="cpu")
    fewer = {name: value for name, value in found.completion["sampling"].items() if name != "top_k"}
    before = replace(found, completion={**found.completion, "sampling": fewer})
    assert "top_k" in found.completion["sampling"]
    assert model.decide(generate(3, 0, 4), max_error=0.05, calibration=before).accepted.all()
    for noted in (fewer | {"temperature": 0.5}, [1]):
        other = replace(before, completion={**found.completion, "sampling": noted})
        with pytest.raises(InputError, match="completions as they were calibrated, with sampling"):
            model.decide(generate(3, 0, 4), max_error=0.05, calibration=other)
    with pytest.raises(InputError, match="completions as they were calibrated, with sampling"):
        model.sampling_by(top_k=3).decide(generate(3, 0, 4), max_error=0.05, calibration=before)


def test_a_decision_needs_objects_in_given_panels(runs: dict[str, Path], here: Path) -> None:
    assert main(["calibrate", str(runs["gpt2"]), *FEW, "--rules-from", "checkers:right", "--out", "c.json"]) == 0
    puzzles = generate(3, 0, 4)
    puzzles[2, :, 3:6, :3] = -1
    with pytest.raises(InputError, match="none in panel 1 of row 2 of puzzle 2"):
        decide(load_run(runs["gpt2"], "cpu")[0], puzzles, last_panel_mask(4), "c.json", max_error=0.05)
