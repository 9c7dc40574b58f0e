"""``genraven evaluate``: the same results however many processes score, and however often it is broken off."""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import fit

import launch.trained.model
from genraven.metrics.table import GENERATED, SCORES, Score
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.report.evaluation import Evaluation
from launch.cli import main
from lightning_modules import PuzzleModule

ROOT = Path(__file__).parents[2]
OPTIONS = ["--puzzles-per-rule", "4", "--batch-size", "5"]
GRID = ["--sampler", "euler,heun", "--steps", "1,2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs."""
    folder = tmp_path_factory.mktemp("trained")
    for family in ("autoregressive", "diffusion"):
        assert main(fit(folder / family, "--trainer.max_steps", "8", family=family)) == 0
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """The same, not yet evaluated."""
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def results(run: Path) -> list[dict[str, Any]]:
    """What was found, without what depends on the machine."""
    found = json.loads((run / "evaluation.json").read_text())["results"]
    return [{k: v for k, v in result.items() if k not in ("seconds", "device", "devices")} for result in found]


@pytest.mark.usefixtures("at_once")
def test_two_processes_find_what_one_finds(runs: Path, tmp_path: Path) -> None:
    alone = Path(shutil.copytree(runs, tmp_path / "alone"))
    assert main(["evaluate", str(alone), *OPTIONS]) == 0
    command = [sys.executable, "-m", "launch.cli", "launch", "--devices", "2", "--", "evaluate", str(runs), *OPTIONS]
    subprocess.run(command, check=True, timeout=180)
    for family in ("autoregressive", "diffusion"):
        assert results(runs / family) == results(alone / family)
        (result,) = json.loads((runs / family / "evaluation.json").read_text())["results"]
        assert result["devices"] == 2
        assert result["metrics"]["completion"]["count"] == 12


def test_no_pass_repeats_another_and_batches_of_any_size_score_alike(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last validation, test, and evaluations of both splits: what chose a checkpoint is not what it is tested by."""
    made: dict[str, list[torch.Tensor]] = {}
    generate_, complete = PuzzleModule.generate, PuzzleModule.complete
    at_work: list[str] = []

    def noted(kind: str, what: Any) -> Any:
        def note(*arguments: Any, **named: Any) -> torch.Tensor:
            made.setdefault(f"{at_work[-1]} {kind}", []).append(found := what(*arguments, **named))
            return found

        return note

    monkeypatch.setattr(PuzzleModule, "generate", noted("generated", generate_))
    monkeypatch.setattr(PuzzleModule, "complete", noted("completed", complete))
    run = runs / "autoregressive"
    config = [*fit(run)[1:], "--trainer.logger", "false"]
    for name, command in {
        "validate": ["validate", *config],
        "test": ["test", *config],
        "evaluate": ["evaluate", str(run), *OPTIONS],
        "evaluate val": ["evaluate", str(run), *OPTIONS, "--split", "val"],
        "by seven": ["evaluate", str(run), "--puzzles-per-rule", "4", "--batch-size", "7"],
    }.items():
        at_work.append(name)
        assert main(command) == 0
    whole = {name: torch.cat(parts).flatten(1) for name, parts in made.items()}
    assert all(len(puzzles) == 12 for puzzles in whole.values())
    assert torch.equal(whole["evaluate generated"], whole["by seven generated"])
    assert torch.equal(whole["evaluate completed"], whole["by seven completed"])
    for one, other in itertools.combinations(("validate", "test", "evaluate", "evaluate val"), 2):
        a, b = whole[f"{one} generated"], whole[f"{other} generated"]
        assert not (a.unsqueeze(0) == b.unsqueeze(1)).all(2).any(), (one, other)
    first, _, by_seven = results(run)
    for name in ("c3", "any_valid", "completion"):
        assert first["metrics"][name] == by_seven["metrics"][name]
    assert first["hits"] == by_seven["hits"]


def test_given_cells_that_are_wrong(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They reach completion alone, and what it writes is scored in the whole puzzle; 0 is the plain evaluation."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    score = PuzzleModule.score

    def noted(model: PuzzleModule, scores: Any, batch: Any, purpose: Any, *, given: Any = None) -> Any:
        made = score(model, scores, batch, purpose, given=given)
        if given is not None:
            seen.append((batch.puzzles, given))
            kept = ~last_panel_mask(len(given)).unsqueeze(1)
            assert torch.equal(made["completed"] * kept, batch.puzzles * kept)
        return made

    monkeypatch.setattr(PuzzleModule, "score", noted)
    run, command = runs / "autoregressive", ["evaluate", str(runs / "autoregressive"), *OPTIONS]
    assert main(command) == 0
    assert main([*command, "--given-corruption", "0,0.3,1"]) == 0
    plain, some, all_cells = results(run)
    assert [result["given_corruption"] for result in (plain, some, all_cells)] == [0, 0.3, 1]
    assert plain["metrics"]["loss"] == some["metrics"]["loss"]
    assert plain["metrics"]["c3"] == some["metrics"]["c3"] == all_cells["metrics"]["c3"]
    whole, corrupted = (torch.cat(part) for part in zip(*seen, strict=True))
    changed = (layout.tokens_to_states(layout.puzzles_to_tokens(whole))
               != layout.tokens_to_states(layout.puzzles_to_tokens(corrupted))).float().mean(1)  # fmt: skip
    assert changed[:12].mean() == pytest.approx(0.3, abs=0.05)
    assert changed[12:].mean() == 1
    assert main([*command, "--given-corruption", "1.5"]) == 2


def test_broken_off_and_started_again(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path(shutil.copytree(runs, tmp_path / "whole"))
    command = ["evaluate", str(runs / "diffusion"), *OPTIONS, *GRID]
    assert main(["evaluate", str(whole / "diffusion"), *OPTIONS, *GRID]) == 0
    assert len(results(whole / "diffusion")) == 4
    score, calls = launch.trained.model.score_model, []

    def interrupted(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(*arguments, **named)

    monkeypatch.setattr(launch.trained.model, "score_model", interrupted)
    assert main(command) == 130
    assert results(runs / "diffusion") == results(whole / "diffusion")[:2]
    assert main(command) == 0
    assert len(calls) == 5  # two found, one lost, the two that were missing
    assert results(runs / "diffusion") == results(whole / "diffusion")
    assert main(command) == 0
    assert len(calls) == 5


def test_a_file_that_changed_and_other_weights_are_scored_anew(tmp_path: Path) -> None:
    """Under the same names; what stays the same is found."""
    file, run = tmp_path / "own.npz", tmp_path / "run"

    def save(start: int) -> None:
        puzzles = torch.cat([generate(rule, start, 8, split="val") for rule in (0, 10, 20)])
        np.savez(file, puzzles=puzzles.numpy(), rules=np.repeat([0, 10, 20], 8))

    save(0)
    assert main(fit(run, "--trainer.max_steps", "2", "--data.eval_source", str(file), family="autoregressive")) == 0
    command = ["evaluate", str(run), *OPTIONS]
    for num in (1, 1):
        assert main(command) == 0
        assert len(results(run)) == num
    save(100)
    assert main(command) == 0
    before, after = results(run)
    assert before["eval_source"] != after["eval_source"]
    assert before["metrics"]["loss"] != after["metrics"]["loss"]
    (checkpoint,) = (run / "checkpoints").glob("step-*.ckpt")
    state = torch.load(checkpoint, weights_only=True)
    name = next(name for name in state["state_dict"] if state["state_dict"][name].ndim == 2)
    for part in ("state_dict", "current_model_state"):  # one of which holds the raw weights of an averaged model
        if name in state.get(part, {}):
            state[part][name] = state[part][name] + 1
    torch.save(state, checkpoint)
    assert main(command) == 0
    *_, last = results(run)
    assert len(results(run)) == 3
    assert last["weights"] != after["weights"] == before["weights"]


def test_results_of_other_rules_are_kept(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs / "autoregressive"
    assert main(["evaluate", str(run), *OPTIONS]) == 0
    found = json.loads((run / "evaluation.json").read_text())
    found["run"]["trained"] = found["run"]["trained"][:1]
    text = json.dumps(found)
    (run / "evaluation.json").write_text(text)
    capsys.readouterr()
    assert main(["evaluate", str(run), *OPTIONS]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "to be of a run with trained" in said
    assert "give another --out" in said
    assert (run / "evaluation.json").read_text() == text


def test_a_run_that_cannot_be_scored_is_passed_over(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for checkpoint in (runs / "diffusion" / "checkpoints").iterdir():
        checkpoint.write_bytes(b"torn")
    assert main(["evaluate", str(runs), *OPTIONS]) == 1
    assert "diffusion: passed over: " in capsys.readouterr().out
    assert len(results(runs / "autoregressive")) == 1
    assert not (runs / "diffusion" / "evaluation.json").exists()


def test_an_option_that_no_run_can_use_is_said(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that some can use is said for the others."""
    assert main(["evaluate", str(runs), *OPTIONS, "--steps", "1"]) == 0
    assert "autoregressive: scored without --steps, which its method does not have" in capsys.readouterr().out
    assert main(["evaluate", str(runs), *OPTIONS, "--remasking", "0.5"]) == 2
    assert "expected --remasking of a method of a run in" in capsys.readouterr().err
    assert len(results(runs / "autoregressive")) == 1


def test_a_new_score_is_counted_where_results_are_there_already(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also a main one that is no fraction; what was counted before stays what it was."""
    command = ["evaluate", str(runs), *OPTIONS]
    assert main(command) == 0
    objects = Score("objects", "objects", "in a puzzle", GENERATED, "number", is_main=True,
                    of_each=lambda puzzles: (puzzles[:, 0] >= 0).flatten(1).sum(1))  # fmt: skip
    monkeypatch.setitem(SCORES, "objects", objects)
    for _ in range(2):
        capsys.readouterr()
        assert main(command) == 0
        for family in ("autoregressive", "diffusion"):
            before, after = (result["metrics"] for result in results(runs / family))
            assert after.pop("objects") > 0
            assert after == before
    heading, *rows = capsys.readouterr().out.splitlines()[2:]
    assert "objects" in heading
    assert len(rows) == 2


def test_results_are_found_when_a_method_gets_a_setting(runs: Path) -> None:
    """What a result does not note of sampling was as it is by default."""
    run = runs / "diffusion"
    command = ["evaluate", str(run), *OPTIONS]
    assert main(command) == 0
    found = json.loads((run / "evaluation.json").read_text())
    assert found["results"][0]["sampling"].pop("guidance_strength") == 1.0
    (run / "evaluation.json").write_text(json.dumps(found))
    for more, num in ([], 1), (["--guidance-strength", "0.5", "--completion", "guidance"], 2):
        assert main([*command, *more]) == 0
        assert len(results(run)) == num


def test_evaluations_at_once_lose_no_result(tmp_path: Path) -> None:
    """Each process adds ten to one file, two of which both have found."""
    code = """
import sys
from pathlib import Path
from genraven.report.evaluation import KEY, Evaluation, Wanted
file = Evaluation(Path(sys.argv[1]))
for seed in range(int(sys.argv[2]), int(sys.argv[2]) + 10):
    file.add({}, Wanted(dict.fromkeys(KEY, 0) | {"seed": seed}), {})
"""
    path = tmp_path / "evaluation.json"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path), str(first)]) for first in (0, 8, 16)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert sorted(result["seed"] for result in Evaluation(path).results()) == list(range(26))


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("kind", "code"), [("InputError", 2), ("MemoryError", 1)])
def test_an_error_of_one_process_reaches_all(kind: str, code: int, runs: Path, tmp_path: Path) -> None:
    """None waits for the one that has failed."""
    script = tmp_path / "failing.py"
    script.write_text(f"""
import os, sys
import launch.trained.scoring
from genraven.errors import InputError
from genraven.report.evaluation import Evaluation
from launch.cli import main

def fail(*arguments):
    if os.environ["RANK"] == "1":
        raise {kind}("too large")
    return score(*arguments)

score = launch.trained.scoring.EvaluationLoader.__iter__
launch.trained.scoring.EvaluationLoader.__iter__ = fail
sys.exit(main(sys.argv[1:]))
""")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, str(script), "evaluate", str(runs / "autoregressive"), *OPTIONS]
    processes = [
        subprocess.Popen(command, env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE,
                         text=True)
        for rank in range(2)
    ]  # fmt: skip
    errors = [process.communicate(timeout=150)[1] for process in processes]
    assert [process.returncode for process in processes] == [code, code]
    assert "too large" in errors[0]
    assert "too large" in errors[1]
    assert not (runs / "autoregressive" / "evaluation.json").exists()
