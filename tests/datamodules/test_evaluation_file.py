"""Puzzles of a file to evaluate on."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.evaluation_file import EvaluationFile
from genraven.errors import InputError
from genraven.formats.puzzles import PuzzleFile
from genraven.formats.read import open_puzzles
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.spec import RULES


def saved(path: Path, puzzles: Tensor, rules: list[int], **more: np.ndarray) -> PuzzleFile:
    np.savez(path, puzzles=puzzles.numpy(), rules=rules, **more)
    return open_puzzles(path)


def reordered(puzzles: Tensor) -> Tensor:
    """With the first row last."""
    return layout.rows_to_puzzles(layout.puzzles_to_rows(puzzles).roll(-1, 1))


def test_evaluation_puzzles_of_a_file_are_dealt_to_validation_and_test(tmp_path: Path) -> None:
    puzzles = torch.cat([generate(rule, 0, 5) for rule in (3, 8, 30)])
    np.savez(tmp_path / "own.npz", puzzles=puzzles.numpy(), rules=np.repeat([3, 8, -1], 5))
    file = open_puzzles(tmp_path / "own.npz")
    val, rules = EvaluationFile(file).part("val", (3, 8, 9), most=100)
    assert rules.tolist() == [3, 8, -1] * 3
    assert torch.equal(val, puzzles[[0, 5, 10, 2, 7, 12, 4, 9, 14]])
    test, rules = EvaluationFile(file).part("test", (8,), most=1)
    assert rules.tolist() == [8, -1]
    assert torch.equal(test, puzzles[[6, 11]])


@pytest.mark.parametrize("kind", ["equal", "reordered", "another answer", "another rule", "far apart"])
def test_copies_are_in_one_half_only(kind: str, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """A file with each puzzle twice does not make validation a part of the test."""
    puzzles = torch.cat([generate(rule, 0, 6) for rule in (3, 8)])
    copies, rules = puzzles.clone(), [3] * 6 + [8] * 6
    if kind == "reordered":
        copies = reordered(puzzles)
    elif kind == "another answer":
        copies[:, :, 6:, 6:] = copies[:, :, 6:, 6:].roll(1, 0)
    stated = [-1] * 12 if kind == "another rule" else rules
    if kind == "far apart":
        file = saved(tmp_path / "own.npz", torch.cat([puzzles, copies]), [*rules, *stated])
    else:
        file = saved(tmp_path / "own.npz", torch.stack([puzzles, copies], 1).flatten(0, 1),
                     [rule for pair in zip(rules, stated, strict=True) for rule in pair])  # fmt: skip
    halves = [EvaluationFile(file).part(split, (3, 8), most=100) for split in ("val", "test")]
    assert [rule.tolist() for _, rule in halves] == [[3, 8] * 3] * 2
    together = torch.cat([found for found, _ in halves])
    assert sorted(map(bytes, together.numpy())) == sorted(map(bytes, puzzles.numpy()))
    told = [str(warning.message) for warning in recwarn if "are copies of others" in str(warning.message)]
    assert told and told[0].startswith("12 of the 24 puzzles")


def test_rules_in_another_order_are_refused_and_single_exceptions_named(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    puzzles = torch.cat([generate(rule, 0, 8) for rule in (3, 8)])
    permuted = saved(tmp_path / "permuted.npz", puzzles, [8] * 8 + [3] * 8)
    says = re.escape(f"got others (4 of 4 of {RULES[3].name}, 4 of 4 of {RULES[8].name})")
    with pytest.raises(InputError, match=says) as caught:
        EvaluationFile(permuted).part("val", (3, 8), 100)
    assert "\n" not in str(caught.value)
    one = puzzles.clone()
    one[0] = generate(30, 0, 1)[0]
    few = saved(tmp_path / "one.npz", one, [3] * 8 + [8] * 8)
    val, _ = EvaluationFile(few).part("val", (3, 8), 100)
    assert len(val) == 8
    told = [str(warning.message) for warning in recwarn]
    assert any("do not follow the rule stated: 1 of 4 of " in message for message in told)
    before = len(recwarn)
    EvaluationFile(few).part("test", (3, 8), 100)  # in which there is none
    assert len(recwarn) == before


def test_evaluation_puzzles_are_whole(tmp_path: Path) -> None:
    known = np.ones((4, 9, 9), bool)
    known[2, 0, 0] = False
    file = saved(tmp_path / "own.npz", generate(7, 0, 4), [7] * 4, known=known)
    with pytest.raises(InputError, match="whole puzzles, got missing cells in puzzle 2") as caught:
        EvaluationFile(file).part("val", (7,), most=9)
    assert "\n" not in str(caught.value)


def test_no_puzzle_to_evaluate_on_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", puzzles=generate(7, 0, 1).numpy(), rules=[7])
    with pytest.raises(InputError, match="for test, got none"):
        EvaluationFile(open_puzzles(tmp_path / "own.npz")).part("test", (7,), 5)
