"""The linear classifier, and what it reads."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor, nn

from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet
from genraven.probe import INPUT, accuracy, fit_linear, gather, hidden_states, pooled

torch.set_num_threads(1)


def clusters(num: int, spread: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features (num, 5) about one of four points each, and which."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, 5, generator=torch.Generator().manual_seed(9))
    classes = torch.randint(4, (num,), generator=generator)
    return centres[classes] + spread * torch.randn(num, 5, generator=generator), classes


def test_what_can_be_told_apart_is_and_what_cannot_is_guessed() -> None:
    (x, y), (new, truth) = clusters(400, 0.1), clusters(400, 0.1, seed=1)
    assert (fit_linear(x, y, 4)(new) == truth).all()
    shuffled = y[torch.randperm(400, generator=torch.Generator().manual_seed(2))]
    right = (fit_linear(x, shuffled, 4)(new) == truth).float().mean()
    assert 0.1 < right < 0.4  # of four classes


def test_the_optimum_is_that_of_an_independent_solver() -> None:
    (x, y), (new, _) = clusters(200, 1.0), clusters(300, 1.0, seed=1)
    z, z_new = (((part - x.mean(0)) / x.std(0, correction=0)).double() for part in (x, new))

    def loss(flat: object) -> float:
        weights = torch.as_tensor(flat).view(4, 6)
        return float(
            F.cross_entropy(F.linear(z, weights[:, :5], weights[:, 5]), y) + 0.05 * weights[:, :5].square().sum()
        )

    best = torch.as_tensor(minimize(loss, np.zeros(24), method="BFGS").x).view(4, 6)
    expected = F.linear(z_new, best[:, :5], best[:, 5]).argmax(1)
    agree = fit_linear(x, y, 4, weight_decay=0.1)(new) == expected
    assert agree.float().mean() > 0.99


def test_units_and_constant_features_change_nothing() -> None:
    (x, y), (new, _) = clusters(200, 1.0), clusters(200, 1.0, seed=1)
    plain = fit_linear(x, y, 4)(new)
    scaled, constant = (torch.cat([part * 256 + 8, torch.full((200, 1), 7.0)], 1) for part in (x, new))
    assert (fit_linear(scaled, y, 4)(constant) == plain).float().mean() > 0.99
    constant[:, -1] = 1e6  # unseen when it was fitted
    assert (fit_linear(scaled, y, 4)(constant) == plain).float().mean() > 0.99
    assert torch.equal(fit_linear(x, y, 4)(new), plain)


def test_accuracy_counts_a_group_only() -> None:
    rules, found = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 1])
    rate = accuracy(found, rules, rules == 2)
    assert (int(rate.hits), int(rate.total)) == (1, 2)


CELLS, PICTURES, TIMES = torch.zeros(2, 80, 3, dtype=torch.int64), torch.randn(2, 3, 9, 9), torch.tensor([0.2, 0.7])


@pytest.mark.parametrize(
    ("network", "inputs", "layers", "shape"),
    [
        (Transformer(width=24, depth=2, num_heads=2), (CELLS,), ["blocks.0", "blocks.1"], (2, 81, 24)),
        (Mamba(width=24, depth=2), (CELLS,), ["blocks.0", "blocks.1"], (2, 81, 24)),
        (DiT(width=24, depth=2, num_heads=2, patch=3), (PICTURES, TIMES), ["blocks.0", "blocks.1"], (2, 9, 24)),
        (
            UNet(channels=4, multipliers=(1, 2)),
            (PICTURES, TIMES),
            ["encoder.0", "encoder.1", "encoder.2", "middle.0", "middle.1", "decoder.0.0", "decoder.0.1", "up.0",
             "decoder.1.0", "decoder.1.1"],
            (2, 81, 4),
        ),
    ],
    ids=["transformer", "mamba", "dit", "unet"],
)  # fmt: skip
def test_hidden_states_are_those_that_the_output_is_made_of(
    network: nn.Module, inputs: tuple[Tensor, ...], layers: list[str], shape: tuple[int, ...]
) -> None:
    network.eval()
    with torch.no_grad(), hidden_states(network) as seen:
        network(*inputs)
        assert list(seen) == [INPUT, *layers]
        assert all(hidden.ndim == 3 and len(hidden) == 2 for hidden in seen.values())
        last = seen[layers[-1]]
        assert last.shape == shape
        kept = dict(seen)
        norm_input: list[Tensor] = []
        network.norm.register_forward_pre_hook(lambda _, args: norm_input.append(args[0]))  # type: ignore[union-attr, operator]
        network(*inputs)
    read = norm_input[0].flatten(2).transpose(1, 2) if norm_input[0].ndim == 4 else norm_input[0]
    assert torch.equal(read, last)
    network(*(value[:1] for value in inputs))
    assert all(torch.equal(seen[name], kept[name]) for name in kept)  # nothing is watched any more


def test_positions_become_one() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]]).bfloat16()
    assert pooled(hidden, "mean").tolist() == [[2.0, 4.0]]
    assert pooled(hidden, "last").tolist() == [[3.0, 6.0]]
    assert pooled(hidden, "mean").dtype == torch.float32


def test_all_slices_are_gathered_in_order() -> None:
    network = nn.Module()
    network.blocks = nn.ModuleList([nn.Identity(), nn.Linear(2, 3)])
    x = torch.randn(5, 4, 2)

    def probe_forward(part: slice) -> None:
        h = x[part]
        for block in network.blocks:
            h = block(h)

    features = gather(network, probe_forward, [slice(0, 3), slice(3, 5)], ("mean", "last"))
    assert [(*key, *value.shape) for key, value in features.items()] == [
        ("input", "mean", 5, 2), ("input", "last", 5, 2), ("blocks.0", "mean", 5, 2), ("blocks.0", "last", 5, 2),
        ("blocks.1", "mean", 5, 3), ("blocks.1", "last", 5, 3),
    ]  # fmt: skip
    assert torch.equal(features["blocks.0", "mean"], x.mean(1))
