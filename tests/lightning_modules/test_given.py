"""What a model is asked to complete: one line where it is no puzzle."""

from typing import Any

import pytest
import torch
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.autoregressive import Autoregressive
from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.flow import Flow
from genraven.networks.dit import DiT
from genraven.networks.transformer import Transformer
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.spec import EMPTY
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule

SMALL = {"width": 24, "depth": 1, "num_heads": 2}
NUM = 2


@pytest.fixture(scope="module")
def model() -> AutoregressiveModule:
    return AutoregressiveModule(Transformer(**SMALL), Autoregressive())


def with_cell(value: int, channel: int, line: int, column: int) -> Tensor:
    puzzles = generate(0, 0, NUM)
    puzzles[1, channel, line, column] = value
    return puzzles


@pytest.mark.parametrize(
    ("puzzles", "says"),
    [
        (generate(0, 0, NUM).numpy(), r"torch.int8 tensor \(B, 3, 9, 9\), got ndarray: torch.as_tensor\(puzzles\)"),
        (generate(0, 0, NUM).float(), r"got torch.float32 of \(2, 3, 9, 9\)"),
        (generate(0, 0, NUM)[0], r"got torch.int8 of \(3, 9, 9\)"),
        (None, "got NoneType"),
        (with_cell(77, 0, 2, 4), r"below 7 in channel 0, got 77 in puzzle 1 at \(2, 4\): mend it, or let the mask"),
        (with_cell(10, 2, 8, 0), r"below 10 in channel 2, got 10 in puzzle 1 at \(8, 0\)"),
        (with_cell(-2, 1, 0, 0), r"-1 \(empty\) or below 10 in channel 1, got -2"),
    ],
)
def test_what_is_no_puzzle_is_refused_in_one_line(model: AutoregressiveModule, puzzles: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        model.complete(puzzles, last_panel_mask(NUM))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [True, False])
def test_a_given_cell_with_any_empty_channel_is_read_as_empty(number: bool, model: AutoregressiveModule) -> None:
    """And comes back as it was given."""
    if number:
        one: PuzzleModule = DiffusionModule(
            DiT(**SMALL), GaussianDiffusion(Flow(), sampling=GaussianSampling(num_steps=2))
        )
    else:
        one = model
    puzzles, mask = generate(0, 0, NUM), last_panel_mask(NUM)
    others = puzzles.clone()
    others[:, 1:] = others[:, 1:].masked_fill(puzzles[:, :1] == EMPTY, 5)
    assert not torch.equal(puzzles, others)
    done = [one.eval().complete(each, mask, torch.Generator().manual_seed(0)) for each in (puzzles, others)]
    open_cells = mask.unsqueeze(1).expand_as(puzzles)
    assert torch.equal(done[0][open_cells], done[1][open_cells])
    assert torch.equal(done[1][~open_cells], others[~open_cells])


def test_the_log_probability_is_that_of_a_puzzle_whose_empty_cells_are_marked_otherwise(
    model: AutoregressiveModule,
) -> None:
    puzzles, mask = generate(0, 0, NUM), last_panel_mask(NUM)
    given = (puzzles[:, :1] == EMPTY) & ~mask.unsqueeze(1)
    others = torch.cat([puzzles[:, :1], puzzles[:, 1:].masked_fill(given, 5)], 1)
    assert not torch.equal(puzzles, others)
    one, other = (model.eval().log_probability(each, mask) for each in (puzzles, others))
    assert torch.equal(one.cells, other.cells)


def test_a_mask_that_is_no_tensor_is_refused(model: AutoregressiveModule) -> None:
    with pytest.raises(InputError, match="expected a bool mask as a tensor, got ndarray"):
        model.complete(generate(0, 0, NUM), last_panel_mask(NUM).numpy())


def test_what_stands_where_it_writes_may_be_anything(model: AutoregressiveModule) -> None:
    clean, corrupted = generate(0, 0, NUM), with_cell(77, 0, 8, 8)
    mask = last_panel_mask(NUM)
    assert torch.equal(
        model.complete(corrupted, mask, torch.Generator().manual_seed(0)),
        model.complete(clean, mask, torch.Generator().manual_seed(0)),
    )


def test_a_model_of_the_numbers_themselves_completes_what_another_has_overshot() -> None:
    method = GaussianDiffusion(Flow(), sampling=GaussianSampling(num_steps=2))
    model = DiffusionModule(DiT(in_channels=3, patch=3, **SMALL), method)
    puzzles, mask = with_cell(11, 1, 0, 0), last_panel_mask(NUM)
    assert model.complete(puzzles, mask)[1, 1, 0, 0] == 11
