"""describe, import, generate --layout and what else reads files, as commands."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tiny import fit

from genraven.puzzles.generate import generate
from launch.cli import main
from launch.data.files import BAD_CELL


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def own() -> None:
    """Puzzles with a copy, a bad cell, missing cells and rules that are not all known or right."""
    puzzles = torch.cat([generate(rule, 0, 3) for rule in (0, 37)]).numpy().astype(np.float32)
    puzzles[1] = puzzles[0]
    puzzles[2, :, 0, 0] = 3, 0.5, 3
    known = np.ones((6, 9, 9), bool)
    known[5, 3:6, 3:6] = False
    np.savez("own.npz", puzzles=puzzles, rules=[0, 0, 0, 37, 0, -1], known=known, notes=[1])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_describe_says_what_a_file_holds(capsys: pytest.CaptureFixture[str]) -> None:
    own()
    np.save("test.npy", torch.cat([generate(37, 0, 1), generate(1, 0, 3)]).numpy())
    assert main(["describe", "own.npz", "--against", "test.npy", "--picture", "own.png"]) == 0
    said = lines(capsys)
    assert said[:4] == [
        "own.npz: puzzles, float32 (6, 3, 9, 9)",
        "puzzles 6",
        f"bad 1 with {BAD_CELL}; not counted below",
        "not read notes",
    ]
    assert "missing 9 of 405 cells are unknown, in 1 puzzles, which count for nothing below" in said
    assert "C3 4 of 4 (100.0%) puzzles have a rule in all rows, 0 more than one" in said
    assert "stated the rule of 4 puzzles, 1 of which do not follow it, and of 1 none" in said
    assert "copies 1 of 4 puzzles, 1 of 4 puzzles up to the order of rows, 3 of 12 rows are copies of others" in said
    assert (
        "leak of test.npy, 1 of 4 puzzles, 1 of 4 puzzles up to the order of rows, 3 of 12 rows stand in it, too"
        in said
    )
    assert "shape.constant 2 3 1" in said
    assert "position.xor 2 1 0" in said
    assert Path("own.png").stat().st_size > 1000


@pytest.mark.parametrize("what", ["rules", "known"])
def test_a_file_is_not_written_beside_what_is_said_of_other_puzzles(
    what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("side.npy", generate(37, 0, 2).numpy())
    np.save(f"side.{what}.npy", np.array([37, 0]) if what == "rules" else np.zeros((2, 9, 9), bool))
    assert main(["describe", "side.npy"]) == 0
    assert f"beside side.{what}.npy" in lines(capsys)
    before = Path("side.npy").read_bytes()
    own()
    for command in (
        ["generate", "--rules", "size.xor", "--num", "2", "--out", "side.npy", "--overwrite"],
        ["import", "own.npz", "--out", "side.npz"],
    ):
        assert main(command) == 2
        said = f"expected --out without a file of {what} of other puzzles beside it, got side.np"
        assert said in capsys.readouterr().err
    assert Path("side.npy").read_bytes() == before and not Path("side.npz").exists()


def test_a_long_reading_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    own()
    for every_s, says in ((60.0, False), (0.0, True)):
        monkeypatch.setattr("genraven.progress.EVERY_S", every_s)
        monkeypatch.setattr("genraven.progress._last_line_s", None)
        assert main(["describe", "own.npz"]) == 0
        assert ("describe: 6 of 6 puzzles" in capsys.readouterr().err) == says


def test_import_keeps_what_is_good_and_says_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    own()
    assert main(["import", "own.npz", "--out", "ours.npz"]) == 0
    said = lines(capsys)
    assert said[0] == "read 6 puzzles of own.npz: puzzles, float32 (6, 3, 9, 9)"
    assert said[1] == f"dropped 1 puzzle with {BAD_CELL}, 0 rows left over"
    assert said[2] == "not mapped notes; rules of 1 puzzles are not stated"
    with np.load("ours.npz") as ours, np.load("own.npz") as theirs:
        kept = [0, 1, 3, 4, 5]
        assert {name: array.dtype for name, array in ours.items()} == {
            "puzzles": np.int8,
            "rules": np.int64,
            "known": np.bool_,
        }
        known = theirs["known"][kept]
        assert np.array_equal(ours["puzzles"], np.where(known[:, None], theirs["puzzles"][kept], 0))
        assert np.array_equal(ours["rules"], theirs["rules"][kept])
        assert np.array_equal(ours["known"], known)


def test_import_leaves_out_rows_that_make_no_puzzle(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--num", "2", "--layout", "published", "--out", "all.npy"]) == 0
    np.save("short.npy", np.load("all.npy")[:, :5])
    capsys.readouterr()
    assert main(["import", "short.npy", "--out", "ours.npz"]) == 0
    assert f"dropped 0 puzzles with {BAD_CELL}, 80 rows left over" in lines(capsys)
    with np.load("ours.npz") as ours:
        assert np.array_equal(ours["puzzles"], torch.cat([generate(rule, 0, 1) for rule in range(40)]).numpy())
        assert ours["rules"].tolist() == list(range(40))


@pytest.mark.parametrize(
    ("layout", "out", "num"),
    [("npz", "puzzles.npz", 40), ("published", "all.pt", 40), ("folder", "aR", 40), ("split", "new_split7.npy", 35)],
)
def test_each_layout_is_generated_and_imported(
    layout: str, out: str, num: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "--num", "2", "--layout", layout, "--out", out]) == 0
    assert main(["import", out, "--out", "ours.npz"]) == 0
    with np.load("ours.npz") as ours:
        assert len(ours["puzzles"]) == 2 * num
        for rule in np.unique(ours["rules"]).tolist():
            assert np.array_equal(ours["puzzles"][ours["rules"] == rule], generate(rule, 0, 2).numpy())
        assert len(np.unique(ours["rules"])) == num


def test_missing_cells_are_generated_imported_described_and_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    rules = ["--rules", "0", "10", "20"]
    made = ["generate", *rules, "--num", "20", "--layout", "npz", "--missing", "0.2"]
    assert main([*made, "--out", "missing.npz", "--picture", "first.png"]) == 0
    assert main(["import", "missing.npz", "--out", "ours.npz"]) == 0
    with np.load("missing.npz") as missing, np.load("ours.npz") as ours:
        assert missing["known"].shape == (60, 9, 9)
        whole = torch.cat([generate(rule, 0, 20) for rule in (0, 10, 20)]).numpy()
        assert np.array_equal(missing["puzzles"], np.where(missing["known"][:, None], whole, 0))
        assert all(np.array_equal(missing[name], ours[name]) for name in ("puzzles", "rules", "known"))
        num = int((~missing["known"]).sum())
        is_whole = missing["known"].all((1, 2))
    assert main(["describe", "ours.npz", "--picture", "some.png"]) == 0
    said = lines(capsys)
    assert (
        f"missing {num:,} of 4,860 cells are unknown, in {60 - is_whole.sum()} puzzles, which count for nothing below"
        in said
    )
    assert Path("first.png").stat().st_size > 1000
    options = ["--data.source", "ours.npz", "--data.samples_per_rule", "null", "--trainer.max_steps", "2"]
    assert main(fit(Path("r"), *options, "--trainer.val_check_interval", "2")) == 0
    assert yaml.safe_load(Path("r/config.yaml").read_text())["model"]["init_args"]["network"]["init_args"][
        "reads_unknown"
    ]


BAD = [
    (["describe", "missing.npy"], "missing.npy (No such file"),
    (["describe", "trap.pt"], "trap.pt (a pickle of other things than tensors, which is not run)"),
    (["describe", "trap.npy"], "trap.npy (a pickle, which is not run)"),
    (["describe", "raven.npz"], "expected puzzles as numbers, got pictures of RAVEN or I-RAVEN in raven.npz"),
    (["describe", "good.npy", "--against", "trap.pt"], "not run"),
    (["describe", "good.npy", "--picture", "p.foo"], "end in .png"),
    (["describe", "run"], "expected puzzles, got the run folder run: name a file of puzzles there"),
    (["import", "trap.pt", "--out", "ours.npz"], "not run"),
    (["import", "bad.npy", "--out", "ours.npz"], "a puzzle whose cells are in their ranges, got none"),
    (["import", "good.npy", "--out", "ours.npy"], "--out to end in .npz"),
    (["import", "good.npy", "--out", "file/ours.npz"], "can be written"),
    (["import", "slabs.npy", "--source-split", "split10", "--out", "ours.npz"], "got 'split10' as the split"),
    (["generate", "--layout", "split", "--out", "train.pt"], "in the name of the file, got train.pt"),
    (["generate", "--layout", "split", "--out", "train_split0.npz"], "to end in .npy or .pt, got train_split0.npz"),
    (["generate", "--layout", "npz", "--out", "own.npy"], "to end in .npz, got own.npy"),
    (["generate", "--layout", "folder", "--out", "a.npy"], "to end in no suffix, got a.npy"),
    (["generate", "--missing", "0.1"], "expected --layout npz with --missing, got puzzles"),
    (["generate", "--layout", "npz", "--missing", "0.6"], "expected --missing to be a fraction from 0 to 0.5, got 0.6"),
    (
        ["generate", "--layout", "published", "--rules", "shape"],
        "expected all 40 rules for the published layout, got 10",
    ),
]


@pytest.mark.parametrize(("arguments", "says"), BAD)
def test_bad_input_is_one_line_and_writes_nothing(
    arguments: list[str], says: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("good.npy", generate(0, 0, 2).numpy())
    np.save("bad.npy", generate(0, 0, 2).numpy() * 100)
    np.save("slabs.npy", np.zeros((35, 3, 3, 9, 3), np.int8))
    np.savez("raven.npz", image=np.zeros((16, 160, 160), np.uint8), target=3, structure=["Scene", "/"])
    torch.save(Trap(), "trap.pt")
    Path("trap.npy").write_bytes(pickle.dumps(Trap()))
    Path("file").write_text("in the way")
    Path("run", "checkpoints").mkdir(parents=True)
    before = set(in_tmp_path.iterdir())
    assert main(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert says in line
    assert set(in_tmp_path.iterdir()) == before


def test_a_run_learns_and_is_scored_from_files_that_state_no_rules(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    puzzles = torch.cat([generate(rule, 0, 8) for rule in (0, 10, 37)])
    np.save("own.npy", puzzles.numpy())
    np.save("test.npy", puzzles[4:12].numpy())
    data = ["--data.source", "own.npy", "--data.eval_source", "test.npy", "--data.samples_per_rule", "null"]
    data += ["--data.rules", "all", "--data.held_out", "[position]", "--trainer.max_steps", "2"]
    assert main(fit(Path("r"), *data)) == 0
    assert "leak: of the val puzzles, 4 of 4 puzzles" in capsys.readouterr().err
    assert "16 of its 24 puzzles are trained on by the rules found" in caplog.text
    assert main(["evaluate", "r", "--puzzles-per-rule", "4"]) == 0
    (result,) = json.loads(Path("r/evaluation.json").read_text())["results"]
    assert Path(yaml.safe_load(Path("r/config.yaml").read_text())["data"]["eval_source"]) == Path("test.npy").absolute()
    assert result["metrics"]["completion"]["count"] == 4  # all puzzles of the test half, by the rules of their rows
    assert "completion_trained" not in result["metrics"]
