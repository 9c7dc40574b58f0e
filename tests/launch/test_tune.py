"""A search that is killed, or that several processes work on, ends as one that ran through. Its runs train nothing."""

import errno
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import SEARCH as TINY

from genraven.errors import InputError
from genraven.run_folder import RunFiles
from launch.cli import main
from launch.jobs.tune.search import Budget, Range, Search, read_search

pytest.importorskip("optuna", reason="the extra tune is not installed")

from optuna.storages.journal import JournalFileBackend

from launch.jobs.tune import worker
from launch.jobs.tune.result import write_result
from launch.jobs.tune.storage import JOURNAL, Memory
from launch.jobs.tune.trials import arguments, check_ranges
from launch.jobs.tune.worker import Worker
from launch.training import resolve as training

SEARCH = """
budget: {trials: 6, at_once: 3, rungs: 2, puzzles: 160}
families:
  autoregressive:
    base: -c model/gpt2_tiny.yaml
    ranges:
      model.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
      model.head: [joint, separate]
  diffusion:
    ranges:
      model.lr: {low: 1.0e-4, high: 1.0e-2, log: true}
"""


class Resolver:
    """Takes options as they are."""

    def resolve(self, arguments: list[str]) -> dict[str, Any]:
        options = dict(word.removeprefix("--").split("=") for word in arguments if word.startswith("--"))
        if options.get("model.head") == "separate" and float(options["model.lr"]) > 5e-3:
            raise InputError("expected a smaller rate")
        model = {name.removeprefix("model."): value for name, value in options.items() if name.startswith("model.")}
        return {"model": model, "data": {"global_batch_size": 8}, "trainer": {}}


def train(folder: Path) -> None:
    """What a run leaves: a curve up to where it stops."""
    config = yaml.safe_load(RunFiles(folder).job.config.read_text())
    trainer = config["trainer"]
    stops = [one["init_args"]["step"] for one in trainer.get("callbacks", [])]
    end = min([*stops, trainer["max_steps"]])
    rate = float(config["model"]["lr"])
    at = range(trainer["val_check_interval"], end + 1, trainer["val_check_interval"])
    rows = [f"{step},{1 - abs(rate - 2e-3) * 50 + step / 1e4}\n" for step in at]
    RunFiles(folder).curve.write_text("step,val/completion\n" + "".join(rows))
    state = "finished" if end == trainer["max_steps"] else "stopped"
    RunFiles(folder).summary.write_text(json.dumps({"state": state, "step": end, "max_steps": trainer["max_steps"]}))


@pytest.fixture
def search(tmp_path: Path) -> Search:
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH)
    return read_search(path)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "freeze_code", lambda folder: None)
    monkeypatch.setattr(worker, "POLL_S", 0.0)
    _trains(monkeypatch, train)


def _trains(monkeypatch: pytest.MonkeyPatch, each: Callable[[Path], None]) -> None:
    monkeypatch.setattr(worker, "run_queue", lambda folders, code, num: [each(folder) for folder in folders])


def begin(search: Search, out: Path, num: int = 1) -> Worker:
    return Worker(search, out, Memory(out, search), Resolver(), num)


def outcome(search: Search, out: Path) -> dict[str, Any]:
    memory = Memory(out, search)
    return {
        family.name: [(t.number, t.state.name, t.params, t.intermediate_values) for t in memory.trials(family)]
        for family in search.families
    }


@pytest.fixture
def whole(search: Search, tmp_path: Path) -> Mapping[str, Any]:
    begin(search, tmp_path / "whole").work()
    return outcome(search, tmp_path / "whole")


def test_all_trials_end(whole: Mapping[str, Any]) -> None:
    for trials in whole.values():
        assert len(trials) == 6
        assert {state for _, state, _, _ in trials} <= {"COMPLETE", "PRUNED", "FAIL"}
    assert [state for _, state, _, _ in whole["diffusion"]].count("COMPLETE") == 2


def test_killed_five_times_it_ends_the_same(
    whole: Mapping[str, Any], search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = 5

    def killed(folder: Path) -> None:
        nonlocal left
        if left and len(list((tmp_path / "killed").glob("*/curve.csv"))) >= 2 * (5 - left):
            left -= 1
            raise KeyboardInterrupt
        train(folder)

    _trains(monkeypatch, killed)
    for _ in range(6):
        try:
            begin(search, tmp_path / "killed").work()
        except KeyboardInterrupt:
            continue
    assert left == 0
    assert outcome(search, tmp_path / "killed") == whole


def test_killed_between_any_two_records_of_the_journal_it_ends_the_same(
    whole: Mapping[str, Any], search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process adds three to five records and is killed: also while a trial is suggested."""
    left, append = 0, JournalFileBackend.append_logs

    def killed(backend: JournalFileBackend, records: list[dict[str, Any]]) -> None:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        append(backend, records)

    monkeypatch.setattr(JournalFileBackend, "append_logs", killed)
    num_killed = 0
    for turn in range(200):
        left = 3 + turn % 3
        try:
            begin(search, tmp_path / "killed").work()
        except KeyboardInterrupt:
            num_killed += 1
            continue
        break
    left = 100
    assert num_killed > 10
    assert outcome(search, tmp_path / "killed") == whole


def test_what_failed_does_not_keep_optuna_from_suggesting(search: Search, tmp_path: Path) -> None:
    """A later trial depends on the scores of those before it, though one of them has none."""

    def suggested(name: str, scores: tuple[float, float]) -> list[Mapping[str, Any]]:
        memory, family = Memory(tmp_path / name, search), search.families[0]
        for _ in range(3):
            memory.suggest(family)
        memory.end(family, 0, None, is_whole=False)
        for number, score in enumerate(scores, 1):
            memory.end(family, number, score, is_whole=True)
        return [trial.params for trial in (*memory.trials(family), memory.suggest(family))]

    one, other = suggested("one", (0.1, 0.9)), suggested("other", (0.9, 0.1))
    assert one[:3] == other[:3]
    assert one[3] != other[3]


def test_several_processes_find_the_same(whole: Mapping[str, Any], search: Search, tmp_path: Path) -> None:
    out = tmp_path / "shared"
    workers = [begin(search, out, num) for num in (1, 2)]
    for turn in range(100):
        one = workers[turn % 2]
        waiting, _ = one.look()
        if not waiting:
            break
        for family, stage in waiting[-one.num_at_once :]:  # another order than alone
            train(one._prepare(family, stage))
    assert outcome(search, out) == whole


def test_the_result(search: Search, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one = begin(search, out, 2)
    one.work()
    said: list[str] = []
    write_result(one, said.append)
    best = yaml.safe_load((out / "best-diffusion.yaml").read_text())
    assert best["tuned"] == {"trials": 6, "puzzles": 2 * (3 * 80 + 80)}
    assert abs(float(best["model"]["lr"]) - 2e-3) < 2e-3
    table = (out / "tuning.md").read_text().splitlines()
    assert len([line for line in table if line.startswith(("| autoregressive", "| diffusion"))]) == 12
    assert (out / "diffusion-history.png").stat().st_size > 1000
    assert "no diffusion-importance.png: it needs 10 finished trials or more, got 2" in said
    assert not (out / "diffusion-importance.png").exists()
    assert any("640 puzzles seen in all" in line for line in said)


def test_importance_is_drawn_of_ten_trials(search: Search, tmp_path: Path) -> None:
    one = begin(replace(search, budget=Budget(10, 5, 1, 80)), tmp_path)
    one.work()
    said: list[str] = []
    write_result(one, said.append)
    assert (tmp_path / "diffusion-importance.png").stat().st_size > 1000
    assert str(tmp_path / "diffusion-importance.png") in said


def test_what_was_searched_is_in_the_best_config(
    search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever in a config it stands."""
    ranges = {**search.families[0].ranges, "data.corruption.cells": Range((0.1, 0.2)), "every": Range((None, 2))}
    one_family = replace(search, families=(replace(search.families[0], ranges=ranges),))
    one = begin(one_family, tmp_path)
    one.work()
    resolve = Resolver.resolve

    def nested(self: Resolver, words: list[str]) -> dict[str, Any]:
        given = dict(word.removeprefix("--").split("=") for word in words if word.startswith("--"))
        data = {"global_batch_size": 8, "corruption": {"cells": given["data.corruption.cells"]}}
        return {**resolve(self, words), "data": data, "every": given["every"]}

    monkeypatch.setattr(Resolver, "resolve", nested)
    write_result(begin(one_family, tmp_path), lambda line: None)
    best = yaml.safe_load((tmp_path / "best-autoregressive.yaml").read_text())
    assert best["data"]["corruption"]["cells"] in ("0.1", "0.2")
    assert best["every"] in ("null", "2")


def test_a_trial_whose_curve_lacks_the_score(search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not trained again, and the reason is named."""
    trained: list[str] = []

    def without(folder: Path) -> None:
        train(folder)
        trained.append(folder.name)
        curve = RunFiles(folder).curve
        curve.write_text(curve.read_text().replace("val/completion", "val/c3"))

    _trains(monkeypatch, without)
    one = begin(search, tmp_path)
    one.work()
    assert sorted(trained) == sorted(set(trained))
    with pytest.raises(InputError, match=r"got none of 6 \(failed: its curve has no val/completion\)"):
        write_result(one, lambda line: None)


@pytest.mark.parametrize("score", ["completion_held_out", "nats_per_cell"])
def test_a_score_that_no_validation_has_is_refused(
    score: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Demo data hold out no rule, and SiT has no likelihood."""
    families = {"diffusion": {"base": "-c model/sit_tiny.yaml", "ranges": {"model.optimizer.lr": [1e-3, 1e-2]}}}
    path = tmp_path / "search.yaml"
    path.write_text(json.dumps({**TINY, "score": score, "families": families}))
    assert main(["tune", str(path), "--out", str(tmp_path / "out")]) == 2
    assert f"expected a score that validations of SiT have, got {score}, which needs " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_config_that_changed_is_another_search(search: Search, tmp_path: Path) -> None:
    began = {"diffusion": {"model": {"width": 24, "head": None}}}
    Memory(tmp_path, search, began)
    Memory(tmp_path, search, {"diffusion": {"model": {"width": 24, "head": None, "new_in_this_version": 1}}})
    with pytest.raises(InputError, match="got another model.width, 48 instead of 24: restore them, or choose"):
        Memory(tmp_path, search, {"diffusion": {"model": {"width": 48, "head": None}}})


def test_a_family_without_a_trial_that_ends(search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(folder: Path) -> None:
        RunFiles(folder).summary.write_text(json.dumps({"state": "failed", "reason": "the loss is not finite"}))

    _trains(monkeypatch, lambda folder: fails(folder) if folder.name.startswith("diffusion") else train(folder))
    one = begin(search, tmp_path / "out")
    one.work()
    said: list[str] = []
    with pytest.raises(InputError, match="expected a finished trial of diffusion, got none of 6 .failed: the loss is"):
        write_result(one, said.append)
    assert "lr" in yaml.safe_load((tmp_path / "out" / "best-autoregressive.yaml").read_text())["model"]
    assert "failed: the loss is not finite" in (tmp_path / "out" / "tuning.md").read_text()
    assert any("best-autoregressive.yaml" in line for line in said)
    assert not (tmp_path / "out" / "best-diffusion.yaml").exists()


def test_a_wrong_option_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the command does it, with the options of fit."""
    path, out = tmp_path / "search.yaml", tmp_path / "out"
    for option, values, said in (
        ("model.optimiser.lr", {"low": 1e-4, "high": 1e-2}, "got model.optimiser.lr: did you mean optimizer?"),
        ("model.schedule", ["linear", "cosin"], "got cosin"),
        ("model.network.width", {"low": 24.0, "high": 48.0}, "to be int, got 24.0"),
    ):
        families: Any = TINY["families"]
        family = families["diffusion"]
        family = {**family, "ranges": {**family["ranges"], option: values}}
        path.write_text(json.dumps({**TINY, "families": {"diffusion": family}}))
        assert main(["tune", str(path), "--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert "expected ranges of diffusion with options and values of fit, got others: " in error
        assert said in error
        assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base": "--x 'abc"}, "expected options of fit for base in .*, got an open quote"),
        ({"ranges": {"data.seed": [11, 12]}}, "without data.seed, which seeds of the search sets: leave it out"),
        ({"ranges": {"trainer.max_steps": [5, 12]}}, "without trainer.max_steps, which budget of the search sets"),
        ({"ranges": {"data.global_batch_size": {"low": 8, "high": 32}}}, "a list of values for data.global_batch_size"),
        ({"ranges": {"model.lr": {"low": 2.0, "high": 1.0}}}, "low below high for model.lr of .*, got 2.0 and 1.0"),
        ({"ranges": {"model.lr": {"low": 0, "high": 1, "log": True}}}, "low above 0 for model.lr"),
        ({"ranges": {"model.lr": {"low": "1e-4", "high": "1e-3"}}}, "got '1e-4' and '1e-3': a number like 1e-3 needs"),
        ({"ranges": {"model.lr": [1.0]}}, "two different values or more for model.lr"),
        ({"ranges": {"model.lr": [{}, 1.0]}}, "truth values, null or lists as values for model.lr"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_search_is_named(changes: Mapping[str, Any], said: str, tmp_path: Path) -> None:
    whole = yaml.safe_load(SEARCH)
    if "ranges" in changes:
        whole["families"]["diffusion"]["ranges"] = changes["ranges"]
    else:
        whole |= changes
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(whole))
    with pytest.raises(InputError, match=said):
        read_search(path)


def test_a_range_of_lists_and_of_null(tmp_path: Path) -> None:
    whole = yaml.safe_load(SEARCH)
    betas, clip = [[0.9, 0.95], [0.9, 0.999]], [None, 1.0]
    whole["families"] = {"one": {"ranges": {"model.optimizer.betas": betas, "trainer.gradient_clip_val": clip}}}
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(whole))
    found = read_search(path)
    (family,) = found.families
    values = Memory(tmp_path / "out", found).suggest(family).params
    words = arguments(found, family, values, tmp_path)
    assert any(
        word in words for word in ("--model.optimizer.betas=[0.9, 0.95]", "--model.optimizer.betas=[0.9, 0.999]")
    )
    assert any(word in words for word in ("--trainer.gradient_clip_val=null", "--trainer.gradient_clip_val=1.0"))


def test_a_familys_own_options_override_those_of_all(tmp_path: Path) -> None:
    whole = yaml.safe_load(SEARCH)
    whole["base"] = "-c data/demo.yaml --model.width 24"
    whole["families"]["diffusion"]["base"] = "-c model/mdm_tiny.yaml --model.width 48"
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(whole))
    assert read_search(path).families[1].arguments == (
        "fit", "-c", "data/demo.yaml", "-c", "model/mdm_tiny.yaml", "--model.width", "24", "--model.width", "48",
    )  # fmt: skip


@pytest.mark.parametrize("option", ["--data.seed 5", "--trainer.max_steps=77", "--run_dir mine"])
@pytest.mark.parametrize("place", ["all", "one"])
def test_what_the_search_sets_is_refused_elsewhere(option: str, place: str, tmp_path: Path) -> None:
    whole = yaml.safe_load(SEARCH)
    (whole if place == "all" else whole["families"]["diffusion"])["base"] = option
    path = tmp_path / "search.yaml"
    path.write_text(yaml.safe_dump(whole))
    with pytest.raises(InputError, match=f"without {option.replace('=', ' ').split()[0]}, which .* sets: leave it out"):
        read_search(path)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 4)])
def test_a_range_of_whole_numbers_is_of_an_option_that_has_no_others(low: int, high: int, tmp_path: Path) -> None:
    path, out = tmp_path / "search.yaml", tmp_path / "out"
    base = "-c model/mdm_tiny.yaml -c data/demo.yaml"
    budget = {"trials": 2, "at_once": 2, "rungs": 1, "puzzles": 6400}
    for option, is_fraction in (("model.optimizer.weight_decay", True), ("model.warmup_steps", False)):
        one = {"base": base, "ranges": {option: {"low": low, "high": high}}}
        path.write_text(yaml.safe_dump({"budget": budget, "families": {"one": one}}))
        search = read_search(path)
        resolver = training.Resolver(list(search.families[0].arguments))
        if is_fraction:
            with pytest.raises(InputError, match=f"no whole number, got {low} and {high}: write {low}.0 and {high}.0"):
                check_ranges(resolver, search, search.families[0], out)
        else:
            check_ranges(resolver, search, search.families[0], out)


def test_trials_see_as_many_puzzles_whatever_their_batch(search: Search) -> None:
    Budget(16, 8, 3, 400_000).check_batches({256})
    Budget(16, 8, 3, 409_600).check_batches({64, 256})
    with pytest.raises(InputError, match="a multiple of 1,024, .* batches of 64 and 256 .* got 400,000: take 399,360"):
        Budget(16, 8, 3, 400_000).check_batches({64, 256})
    chosen = replace(search.families[0], ranges={"data.global_batch_size": Range((8, 32))})
    assert (chosen.batches(64), search.families[0].batches(64)) == ({8, 32}, {64})


def test_what_only_some_values_refuse_is_no_mistake(search: Search, tmp_path: Path) -> None:
    """``separate`` is refused with the highest rate, and not with the lowest."""
    for family in search.families:
        check_ranges(Resolver(), search, family, tmp_path)
    (family, _) = search.families
    lone = replace(family, ranges={**family.ranges, "model.lr": Range(low=6e-3, high=1e-2)})
    with pytest.raises(InputError, match="got others: expected a smaller rate"):
        check_ranges(Resolver(), search, lone, tmp_path)


def test_the_memory_of_another_search(search: Search, tmp_path: Path) -> None:
    Memory(tmp_path / "out", search)
    path = tmp_path / "other.yaml"
    path.write_text(SEARCH.replace("1.0e-2", "1.0e-1"))
    with pytest.raises(InputError, match="got one of other ranges or another budget: choose another --out"):
        Memory(tmp_path / "out", read_search(path))
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "optuna.journal").write_text("[1]\n")
    with pytest.raises(InputError, match="expected the journal of a search"):
        Memory(tmp_path / "torn", search)


def test_a_search_goes_on_after_its_disk_was_full(
    search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, family = Memory(tmp_path, search), search.families[0]
    memory.suggest(family)
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()

    def full(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        with journal.open("ab") as file:
            file.write(b'{"op_code": 4, "worker')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", full)
        with pytest.raises(InputError, match="No space left on device.: make room, then the same command goes on"):
            memory.suggest(family)
    assert journal.read_bytes() != whole
    again = Memory(tmp_path, search)
    again.suggest(family)
    assert journal.read_bytes().startswith(whole)
    assert len(again.trials(family)) == 2


def test_a_place_that_is_no_folder(search: Search, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="expected a folder that can be written, got .*file .File exists.: set"):
        Memory(tmp_path / "file", search)


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    path = tmp_path / "search.yaml"
    path.write_text(SEARCH)
    assert main(["tune", str(path)]) == 2
    assert "expected Optuna, which searches, got a Python without it" in capsys.readouterr().err
