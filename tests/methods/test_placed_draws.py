"""What is drawn for a puzzle follows from its split and its place there, not from the batch that it comes in."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from test_precision import MODELS

from genraven.methods.draws import SHARD, PlacedGenerator, normal_draws, uniform_draws
from genraven.puzzles.generate import generate
from lightning_modules import PuzzleModule
from lightning_modules.draws import PlacedDraw

FIRST = SHARD - 4
BATCHES = ([10], [3, 7], [1, 4, 5])


def placed(start: int, num: int, seed: int = 0) -> PlacedGenerator:
    return PlacedGenerator(lambda kind, number: hash((seed, kind == "shard", number)) % 2**40, start, num, "cpu")


def in_batches(make: Callable[[int, int], Tensor], sizes: list[int]) -> Tensor:
    """What ``make`` gives of puzzles from ``FIRST`` on, in batches of these sizes."""
    starts = [FIRST + start for start in itertools.accumulate([0, *sizes[:-1]])]
    return torch.cat([make(start, num) for start, num in zip(starts, sizes, strict=True)])


@pytest.mark.parametrize("sizes", BATCHES[1:])
def test_batches_of_any_size_have_the_same_draws(sizes: list[int]) -> None:
    """Also where each puzzle has several, and over the end of a shard."""

    def draws(start: int, num: int) -> Tensor:
        generator = placed(start, num)
        one = uniform_draws((num, 5), "cpu", generator, torch.float64)
        several = normal_draws((3 * num, 2), "cpu", generator).view(num, 6)
        return torch.cat([one, several, generator.spread().unsqueeze(1)], 1)

    whole = in_batches(draws, [10])
    assert torch.equal(in_batches(draws, sizes), whole)
    assert len({*whole[:, 0].tolist()}) == 10


def test_what_is_not_drawn_for_each_puzzle_comes_from_the_batchs_own_stream() -> None:
    """As of torch's own functions, which a method from elsewhere may call."""
    one, same, other = placed(0, 4), placed(0, 4), placed(4, 4)
    found = [(uniform_draws((3,), "cpu", g), torch.multinomial(torch.ones(50), 5, generator=g)) for g in (one, same)]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert not torch.equal(found[0][0], uniform_draws((3,), "cpu", other))


def test_spread_draws_are_uniform_and_cover_a_shard() -> None:
    whole = torch.stack([placed(SHARD, SHARD, seed).spread() for seed in range(50)])
    assert whole.sort(1).values.diff(dim=1).max() < 2 / SHARD
    assert whole[:, 0].std() == pytest.approx(12**-0.5, abs=0.05)


@pytest.fixture(scope="module")
def models() -> Callable[[str], PuzzleModule]:
    made: dict[str, PuzzleModule] = {}

    def model(name: str) -> PuzzleModule:
        if name not in made:
            torch.manual_seed(0)
            made[name] = MODELS[name]().eval()
            with torch.no_grad():
                for parameter in made[name].parameters():  # away from networks that begin as 0
                    parameter.add_(0.02 * torch.randn(parameter.shape))
        return made[name]

    return model


@pytest.mark.parametrize("name", MODELS)
def test_a_puzzle_is_written_alike_in_batches_of_any_size(models: Callable[[str], PuzzleModule], name: str) -> None:
    """Generated, completed, and lost of: the noise is the same, and rounding alone may differ."""
    model, puzzles = models(name), generate(5, 0, 10)
    mask = torch.zeros(10, 9, 9, dtype=torch.bool)
    mask[:, 3:6, 3:6] = True

    def written(start: int, num: int) -> Tensor:
        part = slice(start - FIRST, start - FIRST + num)
        at = ("val", start, num)
        made = model.generate(num, None, model.generator_at("generate", *at))
        completed = model.complete(puzzles[part], mask[part], model.generator_at("complete", *at))
        return torch.stack([made, completed], 1)

    def losses(start: int, num: int) -> Tensor:
        draw = PlacedDraw(model.generator_at("loss", "val", start, num))
        with torch.no_grad():
            return model.losses(puzzles[start - FIRST :][:num], None, draw)

    whole, lost = in_batches(written, [10]), in_batches(losses, [10])
    for sizes in BATCHES[1:]:
        assert torch.equal(in_batches(written, sizes), whole)
        torch.testing.assert_close(in_batches(losses, sizes), lost, rtol=1e-4, atol=1e-5)


def test_no_two_splits_and_no_two_purposes_share_a_draw(models: Callable[[str], PuzzleModule]) -> None:
    """Of the noise that any two generators give, at any place."""
    model = models("gpt2")
    splits = ("val", "test", "evaluate val", "evaluate test", "calibration", "complete", "sample", "predict")
    generators = [
        model.generator_at(purpose, split, 0, 2 * SHARD)
        for purpose in ("generate", "complete", "candidates", "loss")
        for split in splits
    ]
    drawn = torch.cat([uniform_draws((2 * SHARD,), "cpu", g, torch.float64) for g in generators])
    assert len(drawn.unique()) == len(drawn)
