import torch

from genraven.puzzles import layout
from genraven.puzzles.masks import NUM_DRAWS, last_panel_mask, random_masks


def draws(num: int) -> torch.Tensor:
    return torch.rand(num, NUM_DRAWS, generator=torch.Generator().manual_seed(0))


def test_mask_of_the_last_panel_is_the_last_nine_tokens() -> None:
    mask = last_panel_mask(2)
    assert mask.shape == (2, 9, 9)
    assert mask.dtype == torch.bool
    assert mask.sum() == 2 * 9
    assert mask[:, 6:, 6:].all()
    assert torch.equal(layout.mask_to_tokens(mask), (torch.arange(81) >= 72).expand(2, -1))


def test_random_masks_open_and_keep_a_cell_in_every_puzzle() -> None:
    masks = random_masks(draws(2000)).flatten(1)
    assert masks.any(1).all()
    assert not masks.all(1).any()


def test_random_masks_at_the_ends_of_the_draws() -> None:
    uniform = draws(4)
    for kind in (0.0, 0.5, 0.75, 1 - 2**-24):
        for amount, least, most in ((0.0, 1, 9), (1 - 2**-24, 9, 80)):
            uniform[:, 0], uniform[:, 1] = kind, amount
            counts = random_masks(uniform).flatten(1).sum(1)
            assert (counts >= least).all()
            assert (counts <= most).all()


def test_half_of_random_masks_open_the_last_panel_and_a_quarter_whole_panels() -> None:
    masks = random_masks(draws(4000))
    last = (masks == last_panel_mask(1)).flatten(1).all(1)
    by_panel = masks.view(-1, 3, 3, 3, 3).sum((2, 4))
    whole = ((by_panel == 0) | (by_panel == 9)).flatten(1).all(1)
    assert 0.47 < last.float().mean() < 0.54
    assert 0.71 < whole.float().mean() < 0.79
    sizes = masks[whole & ~last].flatten(1).sum(1) // 9
    assert sizes.bincount(minlength=9)[1:].min() > 80  # one to eight panels, each about 125 times
    assert masks[~whole].float().mean((1, 2)).std() > 0.2  # few cells and many


def test_masks_are_a_function_of_their_own_draws() -> None:
    uniform = draws(10)
    assert torch.equal(random_masks(uniform)[3:5], random_masks(uniform[3:5]))
