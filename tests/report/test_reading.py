"""What is read of run folders: new ones, old ones without hits and names, and broken ones."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from genraven.metrics.intervals import Interval, wilson
from genraven.report.dataset import flat
from genraven.report.evaluation import pack_hits, unpack_hits
from genraven.report.points import Point
from genraven.report.reading import _later, is_setting, read_run
from genraven.report.study import SHIPPED
from launch.configs.identity import with_defaults

PARTS = ("model", "data")
CELL = {"value": 0.75, "hits": 3, "count": 4, "interval95": [0.3, 0.95]}
OLD: dict[str, Any] = {
    "checkpoint": "step-00000100.ckpt", "step": 100, "split": "test", "seed": 0, "puzzles_per_rule": 4, "batch_size": 4,
    "sampling": {}, "own_sampling": True, "metrics": {"completion": CELL, "rule_entropy_bits": 1.5},
}  # fmt: skip


def folder(path: Path, results: list[Any], config: dict[str, Any] | None = None, **summary: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    facts = {"family": "diffusion", "architecture": "SiT", "parameters": 1000, "trained": ["shape.constant"],
             "samples_per_rule": summary.get("samples_per_rule", 10), "held_out": [], "data_seed": 3}  # fmt: skip
    (path / "summary.json").write_text(json.dumps({"step": 100, "seed": 1, **facts, **summary}))
    (path / "evaluation.json").write_text(json.dumps({"version": 1, "run": facts, "results": results}))
    (path / "config.yaml").write_text(yaml.safe_dump(config or {}))
    return path


@pytest.mark.parametrize("num", [0, 1, 8, 13, 300])
def test_hits_come_back(num: int) -> None:
    hits = np.random.default_rng(num).random(num) < 0.5
    text = pack_hits(hits)
    assert (unpack_hits(text) == hits).all()
    assert len(text) < num / 5 + 10


def test_the_format_of_hits() -> None:
    assert pack_hits([1, 0, 1, 1]) == "4:sA=="  # 1011 0000


@pytest.mark.parametrize("text", ["", "4", "4:", "x:sA==", "40:sA==", "4:?"])
def test_hits_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|invalid|padding|base64|discontinuous|length|Only"):
        unpack_hits(text)


def test_hits_and_names_of_puzzles_are_read(tmp_path: Path) -> None:
    new = OLD | {"hits": {"completion": pack_hits([1, 1, 0, 1])}, "eval_seed": 7, "eval_rules": ["shape.constant"]}
    run, notes = read_run("a", folder(tmp_path, [new]), "finished")
    assert notes == []
    assert run.final is not None
    outcomes = run.final.scores["completion"].outcomes
    assert outcomes is not None
    assert outcomes.tolist() == [True, True, False, True]
    assert run.final.puzzles is not None
    assert "7" in run.final.puzzles


def test_old_files_still_read(tmp_path: Path) -> None:
    run, notes = read_run("a", folder(tmp_path, [OLD], device_seconds=7200), "finished")
    assert notes == []
    assert run.final is not None
    assert (run.final.scores["completion"].hits, run.final.scores["completion"].outcomes) == (3, None)
    assert run.final.numbers["rule_entropy_bits"].value == 1.5
    assert (run.device_hours, run.seeds.noise, run.seeds.data) == (2.0, 1, 3)
    other, _ = read_run("b", folder(tmp_path / "b", [OLD]), "finished")
    assert other.final is not None
    assert other.final.puzzles == run.final.puzzles  # one seed of data: the same evaluation puzzles


def test_device_hours_are_of_training_alone(tmp_path: Path) -> None:
    run, _ = read_run("a", folder(tmp_path, [OLD], device_seconds=7200, training_device_seconds=3600), "finished")
    assert run.device_hours == 1.0


def test_likelihoods_are_read(tmp_path: Path) -> None:
    cell = {"value": 1.25, "standard_error": 0.02, "kind": "bound", "count": 4}
    metrics = {"completion": CELL, "nats_per_cell": cell}
    run, _ = read_run("a", folder(tmp_path, [OLD | {"metrics": metrics}]), "finished")
    assert run.final is not None
    nats = run.final.numbers["nats_per_cell"]
    assert (nats.value, nats.standard_error, nats.is_bound) == (1.25, 0.02, True)


@pytest.mark.parametrize(
    "broken",
    [
        {"step": 100},
        "text",
        OLD | {"hits": {"completion": pack_hits([1, 0, 0, 0])}},  # of which 3 are said to be right
        OLD | {"metrics": {"completion": {"hits": "many", "count": 4}}},
    ],
)
def test_a_broken_result_is_named_and_the_others_count(broken: Any, tmp_path: Path) -> None:
    run, notes = read_run("a", folder(tmp_path, [broken, OLD]), "finished")
    assert run.final is not None
    assert run.final.scores["completion"].hits == 3
    assert len(notes) == 1
    assert notes[0].startswith("a: evaluation.json: result 0 is broken, and passed over")


@pytest.mark.parametrize("odd", [{"metrics": [1]}, {"trained": 5}, {"step": "many"}, {"training_device_seconds": "x"}])
def test_files_of_another_kind_cost_their_run_alone(odd: dict[str, Any], tmp_path: Path) -> None:
    path = folder(tmp_path, [], **odd)
    (path / "evaluation.json").unlink()
    run, notes = read_run("a", path, "finished")
    assert (run.name, run.is_evidence) == ("a", False)
    assert notes[0].startswith("a is passed over: its files hold what genraven does not write")


def test_the_curve_gives_validation_scores_at_earlier_steps(tmp_path: Path) -> None:
    path = folder(tmp_path, [OLD], metrics={"val/completion": 0.8, "val_count/completion": 10})
    (path / "curve.csv").write_text("step,val/completion,val_count/completion\n50,0.5,10\n60,,\n100,0.8,10\n")
    run, notes = read_run("a", path, "finished")
    assert notes == []
    assert run.final is not None
    assert run.final.split == "test"
    assert run.validation("completion", of=run.final) == 0.8
    assert [(result.step, result.scores["completion"].value) for result in run.series("completion")] == [
        (50, 0.5),
        (100, 0.8),
    ]
    best = [OLD | {"checkpoint": "best.ckpt", "step": 50, "split": split} for split in ("test", "val")]
    run, _ = read_run("a", folder(tmp_path, [OLD, *best]), "finished")  # chosen for its score: no point of a curve
    assert [(result.step, result.split) for result in run.series("completion")] == [(50, "val"), (100, "val")]
    assert run.series("completion")[0].scores["completion"].value == 0.5
    (path / "curve.csv").write_text("step\nnever\n")
    assert read_run("a", path, "finished")[1] == [f"{path / 'curve.csv'} is broken, and passed over."]


def of_file(digest: str | None, **more: Any) -> dict[str, Any]:
    """A result on a file of puzzles."""
    hits = {"completion": pack_hits([1, 1, 0, 1])}
    return OLD | {"hits": hits} | ({} if digest is None else {"eval_source": digest}) | more


def on_a_file(path: Path, *results: Any, name: str = "test.npz", **summary: Any) -> Any:
    config = settings()
    config["data"] |= {"eval_source": name, "eval_seed": 7}
    return read_run("a", folder(path, list(results), config, **summary), "finished")


def test_the_evaluation_file_is_told_by_what_it_holds(tmp_path: Path) -> None:
    a, _ = on_a_file(tmp_path / "a", of_file("aa"), name="here.npz")
    b, _ = on_a_file(tmp_path / "b", of_file("aa"), name="there.npz")
    c, _ = on_a_file(tmp_path / "c", of_file("cc"), name="here.npz")
    assert a.dataset == b.dataset != c.dataset
    assert a.final.puzzles == b.final.puzzles != c.final.puzzles
    generated, _ = read_run("a", folder(tmp_path / "g", [of_file(None)], settings()), "finished")
    assert a.dataset != generated.dataset and "evaluation_file" not in generated.dataset
    validated, _ = on_a_file(tmp_path / "v", eval_source="aa")
    assert validated.dataset == a.dataset


def test_of_a_file_that_changed_the_newest_counts(tmp_path: Path) -> None:
    low = {"metrics": {"completion": CELL | {"hits": 1}}, "hits": {"completion": pack_hits([1, 0, 0, 0])}}
    for name, before in (("known", of_file("aa")), ("unknown", of_file(None))):
        run, notes = on_a_file(tmp_path / name, before, of_file("cc", **low))
        assert [result.scores["completion"].hits for result in run.results] == [1]
        assert notes == ["a: 1 result with other evaluation rules, or of another evaluation file, is passed over."]
    run, notes = on_a_file(tmp_path / "old", of_file(None))  # of a file of which nothing but the path was noted
    assert (run.final.puzzles, notes) == (None, [])


def test_of_several_results_of_one_kind_the_newest_counts(tmp_path: Path) -> None:
    before, now = OLD | {"weights": "a"}, OLD | {"weights": "b", "metrics": {"completion": CELL | {"hits": 1}}}
    run, _ = read_run("a", folder(tmp_path, [before, now]), "finished")
    assert run.final is not None
    assert (run.final.weights, run.final.scores["completion"].hits) == ("b", 1)


def from_all(data: dict[str, Any], path: Path, **summary: Any) -> Any:
    config = settings()
    config["data"] |= {"samples_per_rule": None, **data}
    return read_run("a", folder(path, [OLD], config, samples_per_rule=None, **summary), "finished")


def test_all_that_a_file_or_a_stream_gives_is_a_number_of_examples(tmp_path: Path) -> None:
    stream, notes = from_all({}, tmp_path / "stream", global_batch_size=32, puzzles=4000)
    assert (stream.samples_per_rule, stream.is_stream, notes) == (3200, True, [])  # of its last step, 100
    assert stream.spent("epochs") == 4000 / 3200
    file, notes = from_all({"source": "x.npy"}, tmp_path / "file", examples_per_rule=7.5, global_batch_size=32)
    assert (file.samples_per_rule, file.is_stream, notes) == (8, False, [])
    before, notes = from_all({"source": "x.npy"}, tmp_path / "before", global_batch_size=32)
    assert before.samples_per_rule is None
    assert notes == ["a: its number of examples per rule is not known, so it is in no comparison."]


def settings(**model: Any) -> dict[str, Any]:
    data = {"rules": "all", "held_out": "split0", "seed": model.pop("data_seed", 0), "eval_rules": [0]}
    return {"seed_everything": model.pop("weights", 0), "model": {"init_args": model}, "data": data,
            "trainer": {"max_steps": 5}, "run_dir": "somewhere"}  # fmt: skip


def test_results_of_other_evaluation_rules_are_no_results_of_these(tmp_path: Path) -> None:
    other = {"eval_rules": ["color.constant"], "step": 200}
    run, notes = read_run(
        "a", folder(tmp_path, [OLD | {"eval_rules": [0]}, OLD | other], settings(), step=200), "finished"
    )
    assert [result.step for result in run.results] == [100]
    assert notes[0] == "a: 1 result with other evaluation rules, or of another evaluation file, is passed over."


def test_seeds_and_places_are_no_settings(tmp_path: Path) -> None:
    a, _ = read_run("a", folder(tmp_path / "a", [OLD], settings(seed=1, data_seed=4, weights=8)), "finished")
    b, _ = read_run("b", folder(tmp_path / "b", [OLD], settings(seed=2, data_seed=5, weights=9)), "finished")
    c, _ = read_run("c", folder(tmp_path / "c", [OLD], settings(seed=1, dropout=0.1)), "finished")
    assert a.settings == b.settings != c.settings
    assert (a.seeds.weights, a.seeds.noise, a.seeds.data) == (8, 1, 4)


def test_an_option_that_came_later_does_not_split_a_recipe(tmp_path: Path) -> None:
    def read(name: str, **options: Any) -> Mapping[str, str]:
        config = {"model": {"class_path": "lightning_modules.DiffusionModule", "init_args": {"seed": 1, **options}}}
        return read_run(name, folder(tmp_path / name, [OLD], config), "finished")[0].settings

    before, same, other = read("a"), read("b", decay_all=True), read("c", decay_all=False)
    assert before == same != other


def test_what_a_run_did_before_there_was_an_option_is_noted() -> None:
    """Else that run and one of today would be two recipes in a report: give what it did in ``reading.LATER``."""
    unsaid, seen = set[str](), set[frozenset[str]]()
    for table in sorted(SHIPPED.glob("*/runs.jsonl")):
        for line in table.read_text().splitlines():
            config = json.loads(line)["config"]
            before = dict(flat({part: config.get(part) for part in ("model", "data")}))
            if frozenset(before) not in seen:
                seen.add(frozenset(before))
                noted = before | _later(before)
                today = dict(flat({part: with_defaults(config)[part] for part in PARTS}))
                came_later = today.keys() - noted.keys()
                unsaid |= {name for name in came_later if is_setting(name) and today[name] is not None}
    assert len(seen) > 10
    assert unsaid == set()


def test_data_sets_are_told_apart_however_they_are_spelt(tmp_path: Path) -> None:
    def dataset(name: str, **changed: Any) -> Any:
        config = settings()
        config["data"] |= changed
        summary = {"data_source": changed.pop("digest")} if "digest" in changed else {}
        return read_run(name, folder(tmp_path / name, [OLD], config, **summary), "finished")[0].dataset

    same = dataset("a", eval_rules=["shape.constant"])
    assert same["corruption"] == "none"
    assert dataset("b") == same
    others: list[dict[str, Any]] = [
        {"eval_rules": [1]},
        {"held_out": "none"},
        {"corruption": {"noise": 0.1}},
        {"source": "x.npy"},
        {"digest": "ab"},
    ]
    for i, changed in enumerate(others):
        assert dataset(f"other{i}", **changed) != same


@pytest.mark.parametrize(("stated", "draws"), [(None, 30), (60, 60), (1e9, 90), (-1, 30), ("x", 30)])
def test_the_rows_of_a_puzzle_count_for_as_many_draws_as_they_tell(stated: Any, draws: int, tmp_path: Path) -> None:
    """Files of before do not say it, and what a file says is at most the number of rows."""
    rows = {"value": 1 / 3, "hits": 30, "count": 90, "interval95": [0.0, 1.0]}
    told = rows if stated is None else rows | {"effective_count": stated}
    result = OLD | {"metrics": OLD["metrics"] | {"any_valid": told, "c3": rows}}
    run, _ = read_run("a", folder(tmp_path, [result]), "finished")
    assert run.final is not None
    fraction = run.final.scores["any_valid"]
    assert (fraction.count, fraction.interval) == (90, Interval(1 / 3, *map(float, wilson(1 / 3, draws))))
    point = Point((run,), (run.final,)).interval("any_valid")
    assert point is not None
    assert (point.low, point.high) == (fraction.interval.low, fraction.interval.high)
    assert run.final.scores["c3"].weight == 90


def test_a_validation_of_a_curve_counts_rows_by_their_puzzles(tmp_path: Path) -> None:
    path = folder(tmp_path, [])
    (path / "curve.csv").write_text("step,val/any_valid,val_count/any_valid\n5,0.5,90\n")
    run, _ = read_run("a", path, "finished")
    assert run.results[0].scores["any_valid"].weight == 30


def test_missing_cells_are_of_the_data_and_a_run_of_before_had_none(tmp_path: Path) -> None:
    def run(name: str, reads: dict[str, Any], **corruption: float) -> Any:
        config = settings()
        config["data"]["corruption"] = corruption
        config["model"]["init_args"]["network"] = {"init_args": {"width": 48, **reads}}
        return read_run(name, folder(tmp_path / name, [OLD], config), "finished")[0]

    before = run("before", {}, cells=0.1, exceptions=0.0)
    now = run("now", {"reads_unknown": None}, cells=0.1, exceptions=0.0, missing=0.0, missing_panels=0.0)
    missing = run("missing", {"reads_unknown": True}, cells=0.1, exceptions=0.0, missing=0.3, missing_panels=0.0)
    assert now.dataset == before.dataset != missing.dataset
    assert missing.dataset["corruption"] == "cells 0.1, missing 0.3"
    assert now.settings == before.settings == missing.settings, "what a network reads follows from the data"
