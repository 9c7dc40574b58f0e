"""A row with open cells is read after those that are given, by a network to which the order of rows is nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genraven.methods import decoding
from genraven.methods.autoregressive import Autoregressive, AutoregressiveSampling
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.transformer import Transformer
from genraven.puzzles import layout
from genraven.puzzles.generate import generate

torch.set_num_threads(1)
METHOD = Autoregressive()


def awake(network: nn.Module) -> Any:
    """With weights of which none is near zero."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return network.eval().requires_grad_(False)


def relational(**switches: bool) -> RelationalAR:
    return awake(RelationalAR(width=16, hidden=24, writer=12, occupancy=8, num_heads=2, **switches))  # type: ignore[no-any-return]


def puzzles_of(num: int) -> Tensor:
    return torch.cat([generate(rule, 0, 1) for rule in range(num)])


def in_rows(puzzles: Tensor, order: list[int]) -> Tensor:
    """``puzzles`` (B, 3, 9, 9), or masks (B, 9, 9), with their rows in another order."""
    return torch.cat([puzzles[..., 3 * row : 3 * row + 3, :] for row in order], -2)


def mask_of(num: int, *panels: tuple[int, int]) -> Tensor:
    """(num, 9, 9), open in these panels: row and place in it."""
    mask = torch.zeros(num, 9, 9, dtype=torch.bool)
    for row, panel in panels:
        mask[:, 3 * row : 3 * row + 3, 3 * panel : 3 * panel + 3] = True
    return mask


def complete(network: nn.Module, puzzles: Tensor, mask: Tensor, **sampling: Any) -> Tensor:
    settings, generator = AutoregressiveSampling(**sampling), torch.Generator().manual_seed(0)
    return METHOD.complete(network, puzzles, mask, settings, generator)


WHOLE = [(0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize("panels", [WHOLE, [(0, 2)], [(0, 1), (0, 2)]])
def test_a_first_row_is_completed_as_the_last_of_the_same_puzzle(panels: list[tuple[int, int]]) -> None:
    network, puzzles, mask = relational(), puzzles_of(4), mask_of(4, *panels)
    last = [1, 2, 0]
    found = complete(network, puzzles, mask)
    assert torch.equal(in_rows(found, last), complete(network, in_rows(puzzles, last), in_rows(mask, last)))
    assert torch.equal(found.where(~mask.unsqueeze(1), puzzles), puzzles)
    of_cells = METHOD.log_probability(network, found, mask, None)
    moved = METHOD.log_probability(network, in_rows(found, last), in_rows(mask, last), None)
    order = torch.arange(81).view(3, 27)[last].flatten()
    assert torch.equal(of_cells.cells[:, order], moved.cells)
    assert torch.equal(of_cells.expected[:, order], moved.expected)


@pytest.mark.parametrize("rows_summed", [True, False])
def test_a_completed_first_row_uses_those_after_it_only_where_their_order_is_nothing(rows_summed: bool) -> None:
    network, puzzles, mask = relational(rows_summed=rows_summed), puzzles_of(4), mask_of(4, (0, 2))
    others = torch.cat([puzzles[:, :, :3], puzzles[:, :, 3:].roll(1, 0)], 2)
    assert torch.equal(others[:, :, :3], puzzles[:, :, :3])
    one, other = (complete(network, part, mask)[:, :, :3] for part in (puzzles, others))
    assert torch.equal(one, other) != rows_summed
    one_p, other_p = (METHOD.log_probability(network, part, mask, None).cells for part in (puzzles, others))
    assert torch.equal(one_p, other_p) != rows_summed


def test_each_puzzle_of_a_batch_has_its_own_order() -> None:
    network, puzzles = relational(), puzzles_of(3)
    mask = torch.cat([mask_of(1, (0, 2)), mask_of(1, (1, 0), (1, 1)), mask_of(1, (2, 2))])
    found = complete(network, puzzles, mask, temperature=0.0)
    for i in range(3):
        part = slice(i, i + 1)
        assert torch.equal(found[part], complete(network, puzzles[part], mask[part], temperature=0.0))
    log_p = METHOD.log_probability(network, found, mask, None).cells
    alone = [METHOD.log_probability(network, found[i : i + 1], mask[i : i + 1], None).cells for i in range(3)]
    assert torch.allclose(log_p, torch.cat(alone), atol=1e-4)


def test_of_two_open_rows_the_one_with_more_to_write_comes_last() -> None:
    """All of the first row, and the last panel of the second: read are the third, the second and the first row."""
    network, puzzles, mask = relational(), puzzles_of(2), mask_of(2, *WHOLE, (1, 2))
    last = [2, 1, 0]
    found = complete(network, puzzles, mask)
    assert torch.equal(in_rows(found, last), complete(network, in_rows(puzzles, last), in_rows(mask, last)))


def test_particles_are_needed_within_a_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network, puzzles = relational(), puzzles_of(2)
    filtered: list[Tensor] = []

    def decode_particles(network: nn.Module, tokens: Tensor, open_cells: Tensor, **rest: Any) -> Tensor:
        filtered.append(open_cells)
        return tokens

    monkeypatch.setattr(decoding, "decode_particles", decode_particles)
    for panels in (WHOLE, [(0, 2)], [(1, 1), (1, 2)], [(2, 2)]):
        mask = mask_of(2, *panels)
        assert torch.equal(complete(network, puzzles, mask, num_particles=4), complete(network, puzzles, mask))
    assert not filtered
    complete(network, puzzles, mask_of(2, (0, 1)), num_particles=4)  # the third panel of that row is given
    assert torch.equal(filtered.pop(), layout.mask_to_tokens(mask_of(2, (2, 1))))
    complete(awake(Transformer(width=24, depth=1, num_heads=2)), puzzles, mask_of(2, (0, 2)), num_particles=4)
    assert torch.equal(filtered.pop(), layout.mask_to_tokens(mask_of(2, (0, 2))))


def test_particles_of_a_middle_panel_make_use_of_the_one_after_it() -> None:
    """With another third panel of the first row, which is read last, the middle one is written otherwise."""
    network, puzzles, mask = relational(), puzzles_of(2), mask_of(2, (0, 1))
    others = puzzles.clone()
    others[:, :, :3, 6:] = puzzles.roll(1, 0)[:, :, :3, 6:]
    for num, same in ((1, True), (8, False)):
        one, other = (complete(network, part, mask, num_particles=num)[:, :, :3, 3:6] for part in (puzzles, others))
        assert torch.equal(one, other) == same


def test_the_likelihood_of_a_whole_puzzle_is_in_the_given_order() -> None:
    network, puzzles = relational(), puzzles_of(3)
    everywhere = torch.ones(3, 9, 9, dtype=torch.bool)
    nats = METHOD.nats_per_cell(network, puzzles, None, None)[:, 0]  # type: ignore[arg-type]
    assert torch.allclose(METHOD.log_probability(network, puzzles, everywhere, None).total, -81 * nats, rtol=1e-5)
    swapped = METHOD.nats_per_cell(network, in_rows(puzzles, [2, 0, 1]), None, None)[:, 0]  # type: ignore[arg-type]
    assert not torch.allclose(swapped, nats, rtol=1e-3)
