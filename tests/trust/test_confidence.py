import argparse
import contextlib
import io

import pytest
import torch
from simulated import Copier

from genraven.errors import InputError
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.trust.confidence import CONFIDENCES, Confidence, confidence, feature_agreement, usable, write_candidates
from genraven.trust.reason import exchanged, panel_support
from launch.cli import build_parser

NAMES = tuple(CONFIDENCES)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", NAMES)
def test_a_sure_model_is_surer_than_one_that_guesses(name: str) -> None:
    puzzles, mask = generate(3, 0, 6), last_panel_mask(6)
    found = []
    for noise in (0.0, 0.5):
        model = Copier(noise)
        candidates = write_candidates(model, puzzles, mask, 5, generator())
        assert candidates.shape == (6, 5, 3, 9, 9)
        given = ~mask[:, None, None].expand_as(candidates)
        assert torch.equal(candidates[given], puzzles[:, None].expand_as(candidates)[given])
        found.append(confidence(name, model, candidates, mask, generator()))
    assert found[0].shape == (6, 5)
    assert (found[0].min(1).values >= found[1].max(1).values).all()
    assert found[0].mean() > found[1].mean()


def test_the_candidate_that_most_agree_with_is_liked_best() -> None:
    puzzles, mask = generate(3, 0, 1), last_panel_mask(1)
    other, same = generate(5, 1, 1), Copier().complete(puzzles, mask)
    candidates = torch.stack([other.where(mask, puzzles), same, same, same], 1)
    for name in ("agreement", "strongest"):
        assert confidence(name, Copier(), candidates, mask, None).argmax(1).item() in (1, 2, 3)
    of_each = feature_agreement(candidates, mask)[0]
    assert of_each[1]["cells"] >= 2 / 3 > of_each[0]["cells"]
    assert feature_agreement(candidates[:, :1], mask) == [[{}]]


def test_what_is_certain_or_impossible_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """As log-odds are infinite: a calibration is of finite numbers."""
    values = torch.tensor([[torch.inf, -torch.inf, torch.nan, 1.0]])
    monkeypatch.setitem(CONFIDENCES, "odds", Confidence(lambda *args: values))
    puzzles, mask = generate(3, 0, 1), last_panel_mask(1)
    found = confidence("odds", Copier(), puzzles[:, None].expand(1, 4, 3, 9, 9), mask, None)
    assert found.tolist() == [[1e6, -1e6, -1e6, 1.0]]


def test_what_can_be_used() -> None:
    assert usable(NAMES, 8) == NAMES
    assert usable(NAMES, 1) == ("log_probability", "stability", "recovery")
    assert usable(NAMES, 8, ["stability", "agreement"]) == ("strongest", "log_probability", "recovery")
    with pytest.raises(InputError, match="a confidence that can be computed, got none: give --candidates 2 or more"):
        usable(("agreement", "strongest"), 1)
    with pytest.raises(InputError, match="got agrement: did you mean agreement"):
        usable(NAMES, 8, ["agrement"])
    with pytest.raises(InputError, match="--candidates to be 1 or more, got 0"):
        usable(NAMES, 0)


def test_a_new_confidence_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a plugin adds it: every method has it, calibrations try it, the help and the errors name it."""
    few_objects = Confidence(lambda model, candidates, mask, generator: -(candidates[:, :, 0] >= 0).flatten(2).sum(2))
    with pytest.raises(InputError, match="a confidence, one of agreement, .*, got few: choose one .* the --plugin"):
        confidence("few", Copier(), generate(3, 0, 1)[None], last_panel_mask(1), None)
    monkeypatch.setitem(CONFIDENCES, "few_objects", few_objects)
    assert usable(("agreement", "strongest"), 8) == ("agreement", "strongest", "few_objects")
    assert usable((), 1) == ("few_objects",)
    with pytest.raises(InputError, match="recovery, few_objects, got few_object: did you mean few_objects"):
        usable(NAMES, 8, ["few_object"])
    candidates = torch.stack([generate(rule, 0, 2) for rule in (3, 8)], 1)
    found = confidence("few_objects", Copier(), candidates, last_panel_mask(2), None)
    assert found.tolist() == (-(candidates[:, :, 0] >= 0).flatten(2).sum(2)).double().tolist()
    for command in ("calibrate", "complete"):
        (parser,) = [a.choices[command] for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction)]
        with pytest.raises(SystemExit), contextlib.redirect_stdout(io.StringIO()) as said:
            parser.parse_args(["--help"])
        assert "log_probability, stability, recovery, few_objects" in " ".join(said.getvalue().split())


@pytest.mark.parametrize("knows", [True, False])
def test_a_copy_rests_on_the_panel_that_was_copied(knows: bool) -> None:
    puzzles, mask = generate(3, 0, 3), last_panel_mask(3)
    model = Copier()
    completed = model.complete(puzzles, mask)
    found = panel_support(model, completed, mask, generate(8, 0, 16), knows_probability=knows, batch_size=20,
                          generator=None)  # fmt: skip
    assert found.shape == (3, 9)
    assert (found[:, 7] > 0.3).all()
    assert found[:, :7].abs().max() < 1e-6
    assert found[:, 8].isnan().all()


def test_an_exchange_changes_one_panel() -> None:
    puzzles, others = generate(3, 0, 2), generate(8, 0, 4)
    found = layout.puzzles_to_tokens(exchanged(puzzles, others, 4)).view(2, 4, 9, 9, 3)
    for b in range(2):
        for k in range(4):
            expected = layout.puzzles_to_tokens(puzzles)[b].view(9, 9, 3).clone()
            expected[4] = layout.puzzles_to_tokens(others)[k].view(9, 9, 3)[4]
            assert torch.equal(found[b, k], expected)
