import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from genraven.networks import mamba as module
from genraven.networks.cells import Embedding, Head
from genraven.networks.mamba import Mamba

torch.set_num_threads(1)


def make(head: Head = "separate", num_labels: int = 0, embedding: Embedding = "separate") -> Mamba:
    """A small network in float64 whose logits depend strongly on what it reads."""
    torch.manual_seed(0)
    network = Mamba(width=24, depth=3, state_size=4, head=head, embedding=embedding, num_labels=num_labels)
    network = network.double().eval()
    for name, parameter in network.named_parameters():
        if name.endswith(("norm.weight", "skip")):
            nn.init.normal_(parameter, mean=1.0, std=0.3)
        elif not name.endswith(("log_a", "delta.bias")):
            nn.init.normal_(parameter, std=0.3)
    return network.requires_grad_(False)


def random_cells(num: int, length: int = 80) -> Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.stack([torch.randint(1, n, (num, length), generator=draws) for n in (8, 11, 11)], -1)


@pytest.mark.parametrize("head", ["separate", "joint"])
@pytest.mark.parametrize("embedding", ["separate", "combined", "joint"])
@pytest.mark.parametrize("changed", [0, 1, 40, 79])
def test_a_cell_changes_nothing_before_the_cell_after_it(head: Head, embedding: Embedding, changed: int) -> None:
    network, cells = make(head, embedding=embedding), random_cells(2)
    other = cells.clone()
    other[:, changed, 1] = other[:, changed, 1] % 10 + 1
    difference = (network(cells) - network(other)).abs().amax((0, 2))
    assert difference[: changed + 1].max() == 0
    assert (difference[changed + 1 :] > 1e-9).all()


@pytest.mark.parametrize("head", ["separate", "joint"])
@pytest.mark.parametrize("prefix", [0, 1, 2, 3, 50])
def test_cached_equals_uncached(head: Head, prefix: int) -> None:
    network, cells = make(head, num_labels=40), random_cells(3)
    labels = torch.tensor([0, 7, 39])
    cache = network.new_cache(3)
    parts = [network(cells[:, :prefix], labels, cache)]
    parts += [network(cells[:, i : i + 1], None, cache) for i in range(prefix, 80)]
    assert cache.length == 81
    assert (torch.cat(parts, 1) - network(cells, labels)).abs().max() < 1e-10


def test_cached_chunks_equal_uncached() -> None:
    network, cells = make(), random_cells(2)
    cache = network.new_cache(2)
    parts = [network(part, None, cache) for part in cells.split([1, 2, 9, 68], 1)]
    assert (torch.cat(parts, 1) - network(cells)).abs().max() < 1e-10


def test_the_cache_does_not_grow() -> None:
    network, cells = make(), random_cells(2)
    cache = network.new_cache(2)

    def memory() -> list[tuple[int, int]]:
        return [(t.numel(), t.untyped_storage().nbytes()) for t in (*cache.windows, *cache.states)]

    before = memory()
    for part in cells.split([60, 1, 1, 18], 1):
        network(part, None, cache)
        assert [numel for numel, _ in memory()] == [numel for numel, _ in before]
        assert all(nbytes == 8 * numel for numel, nbytes in memory())


def mamba_of(network: Mamba) -> nn.Module:
    """An independent Mamba with the weights of ``network``."""
    transformers = pytest.importorskip("transformers", reason="the independent Mamba is that of transformers")
    channels, state_size, span = network.cache_shape
    config = transformers.MambaConfig(
        vocab_size=1,
        hidden_size=network.width,
        state_size=state_size,
        num_hidden_layers=len(network.blocks),
        expand=channels // network.width,
        conv_kernel=span,
        residual_in_fp32=False,
    )
    theirs = transformers.MambaModel(config).double().eval().requires_grad_(False)
    names = {
        "norm.weight": "norm.weight", "project_in.weight": "mixer.in_proj.weight",
        "convolution.weight": "mixer.conv1d.weight", "convolution.bias": "mixer.conv1d.bias",
        "select.weight": "mixer.x_proj.weight", "delta.weight": "mixer.dt_proj.weight",
        "delta.bias": "mixer.dt_proj.bias", "log_a": "mixer.A_log", "skip": "mixer.D",
        "project_out.weight": "mixer.out_proj.weight",
    }  # fmt: skip
    weights = {"embeddings.weight": torch.zeros(1, network.width), "norm_f.weight": network.norm.weight}
    for name, value in network.blocks.state_dict().items():
        layer, _, part = name.partition(".")
        weights[f"layers.{layer}.{names[part]}"] = value
    theirs.load_state_dict(weights, strict=True)
    return theirs


@pytest.mark.parametrize("length", [1, 3, 28, 81])
def test_blocks_and_trunk_are_an_independent_mambas_with_the_same_weights(length: int) -> None:
    network = make()
    theirs = mamba_of(network)
    x = torch.randn(2, length, 24, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    # It takes norms, a and the bias of the steps in single precision, whatever the precision of the rest.
    for ours, other in zip(network.blocks, theirs.layers, strict=True):  # type: ignore[arg-type]
        assert (ours(x, None, 0) - other(x)).abs().max() < 1e-5
    assert (network.trunk(x, None) - theirs(inputs_embeds=x).last_hidden_state).abs().max() < 1e-5
    assert (network.blocks[0](x, None, 0) - x).std() > 0.1


def test_kernels_give_the_same_output(monkeypatch: pytest.MonkeyPatch) -> None:
    network, cells, called = make().float(), random_cells(2), []

    def causal_conv1d_fn(x: Tensor, weight: Tensor, bias: Tensor, *, activation: str) -> Tensor:
        """The signature of the package causal_conv1d."""
        called.append((tuple(weight.shape), activation))
        padded = F.pad(x, (weight.shape[1] - 1, 0))
        return F.silu((padded.unfold(2, weight.shape[1], 1) * weight.unsqueeze(1)).sum(-1) + bias.view(-1, 1))

    expected = network(cells)
    monkeypatch.setattr(module, "convolution_kernel", lambda device: causal_conv1d_fn)
    assert torch.allclose(network(cells), expected, atol=1e-4)
    assert called == [((48, 4), "silu")] * 3
    cache = network.new_cache(2)
    parts = [network(part, None, cache) for part in cells.split([40, 1, 39], 1)]
    assert torch.allclose(torch.cat(parts, 1), expected, atol=1e-4)
    assert len(called) == 6  # the kernel starts from nothing


@pytest.mark.gpu
def test_a_gpu_gives_the_same_output() -> None:
    network, cells = make().float(), random_cells(2)
    expected = network(cells)
    assert torch.allclose(network.cuda()(cells.cuda()).cpu(), expected, rtol=1e-3, atol=1e-3)


def test_steps_and_decays_start_as_in_the_paper() -> None:
    torch.manual_seed(0)
    network = Mamba(width=48, depth=2)
    for block in network.blocks:
        assert torch.allclose(block.log_a.exp()[7], torch.arange(1.0, 17.0))  # type: ignore[operator]
        steps = F.softplus(block.delta.bias)  # type: ignore[union-attr, arg-type]
        assert steps.min() > 0.000999
        assert steps.max() < 0.1001
        assert steps.log().mean().item() == pytest.approx(math.log(0.01), abs=0.5)


def test_half_precision_training_gives_finite_gradients_near_the_exact_ones() -> None:
    torch.manual_seed(0)
    network, cells = Mamba(width=24, depth=2), random_cells(4)
    gradients = []
    for half in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = network(cells)
        logits.float().logsumexp(-1).mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters()]))  # type: ignore[union-attr]
    assert F.cosine_similarity(*gradients, dim=0) > 0.99


def test_labels_change_the_logits_of_a_network_with_labels() -> None:
    network, cells = make(num_labels=40), random_cells(2, 4)
    unconditional = network(cells)
    assert torch.equal(unconditional, network(cells, torch.tensor([40, 40])))
    labelled = network(cells, torch.tensor([3, 40]))
    assert (labelled[0] - unconditional[0]).abs().amax(-1).gt(1e-9).all()
    assert torch.equal(labelled[1], unconditional[1])


def test_a_network_without_labels_knows_one_start_alone() -> None:
    network, cells = make(num_labels=0), random_cells(2, 4)
    assert network.start.num_embeddings == 1
    assert torch.equal(network(cells), network(cells, torch.tensor([0, 0])))


def test_a_width_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="expected width divisible by 3, the number of attributes, got 25"):
        Mamba(width=25, depth=1)
