"""Networks compiled in place, with a compiler that only counts."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.debugging import aot_eager

from genraven.methods import decoding
from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.masked import MaskedDiffusion, MaskedSampling
from genraven.networks.any_order import AnyOrderTransformer
from genraven.networks.axial import AxialTransformer
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.compiling import compile_blocks, is_compiled
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.relational_masked import RelationalMasked
from genraven.networks.relational_soft import RelationalSoft
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet

CELLS = torch.randint(0, 8, (2, 80, 3), generator=torch.Generator().manual_seed(0))
ALL_CELLS = torch.randint(0, 8, (2, 81, 3), generator=torch.Generator().manual_seed(0))
PICTURES = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))
FIELDS = torch.randn(2, 30, 9, 9, generator=torch.Generator().manual_seed(0))
TIMES = torch.tensor([0.2, 0.8])
SMALL: dict[str, Any] = {"width": 16, "hidden": 24, "writer": 12, "occupancy": 8, "num_heads": 2}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[Tensor, ...]]] = {
    "gpt2": (lambda: Transformer(width=24, depth=3, num_heads=2), (CELLS,)),
    "axial": (lambda: AxialTransformer(width=36, depth=3, num_heads=3), (CELLS,)),
    "mamba": (lambda: Mamba(width=24, depth=3, state_size=4), (CELLS,)),
    "mdm": (lambda: BidirectionalTransformer(width=24, depth=3, num_heads=2), (ALL_CELLS, ALL_CELLS[..., 0] > 3)),
    "dit": (lambda: DiT(width=24, depth=3, num_heads=2), (PICTURES, TIMES)),
    "unet": (lambda: UNet(channels=8, multipliers=(1, 2), dropout=0.0), (PICTURES, TIMES)),
}
IN_ORDER = {"any order": (lambda: AnyOrderTransformer(width=24, depth=1, num_heads=2), (CELLS,))}
"""Whose blocks are those of others, but not their steps."""
MASKED = ALL_CELLS[..., 0] > 3
RELATIONAL: dict[str, tuple[Callable[[], nn.Module], str, tuple[Tensor | None, ...]]] = {  # and what training calls
    "relational": (
        lambda: RelationalAR(**SMALL, reads_unknown=True),
        "training_losses",
        (ALL_CELLS, None, ~MASKED, MASKED, TIMES),
    ),
    "relational masked": (lambda: RelationalMasked(**SMALL), "training_losses", (ALL_CELLS, MASKED, MASKED, None)),
    "relational soft": (lambda: RelationalSoft(in_channels=30, **SMALL), "__call__", (FIELDS, TIMES)),
}


class Counter:
    """A compiler that changes nothing, but takes graphs through what real ones demand of them."""

    def __init__(self) -> None:
        self.graphs, self.operations = 0, ""

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        self.graphs += 1
        self.operations += str(graph.graph)
        return aot_eager(graph, inputs)  # type: ignore[no-any-return]


def compiled(name: str, *, steps: bool | None = None) -> tuple[nn.Module, nn.Module, Counter]:
    """The network as it is and compiled, with random weights throughout."""
    torch._dynamo.reset()
    pair, counter = [(NETWORKS | RELATIONAL | IN_ORDER)[name][0]() for _ in range(2)], Counter()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in pair[0].parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    pair[1].load_state_dict(pair[0].state_dict())
    compile_blocks(pair[1], steps=steps, backend=counter)
    return pair[0], pair[1], counter


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_outputs_gradients_and_names(name: str) -> None:
    network, quick, counter = compiled(name)
    for module in (network, quick):
        module(*NETWORKS[name][1]).square().sum().backward()
    assert counter.graphs > 0
    assert torch.allclose(network(*NETWORKS[name][1]), quick(*NETWORKS[name][1]), rtol=1e-4, atol=1e-5)
    assert quick.state_dict().keys() == network.state_dict().keys()
    for (key, a), b in zip(network.named_parameters(), quick.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), key
        if a.grad is not None and b.grad is not None:
            assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-4 * float(a.grad.abs().max())), key


@pytest.mark.parametrize("name", NETWORKS)
def test_one_whole_graph_for_training_and_one_for_scoring(name: str) -> None:
    """Blocks that are alike share it; a network whose blocks differ is one graph, and nothing breaks it."""
    _, quick, counter = compiled(name)
    torch._dynamo.utils.counters.clear()
    graphs = []
    for _ in range(2):
        quick.train()(*NETWORKS[name][1]).square().sum().backward()
        graphs.append(counter.graphs)
    with torch.no_grad():
        for _ in range(2):
            quick.eval()(*NETWORKS[name][1])
            graphs.append(counter.graphs)
    assert graphs[0] == graphs[1] == 1
    assert graphs[2] == graphs[3] <= 2
    assert not torch._dynamo.utils.counters["graph_break"]


def test_a_row_is_chosen_without_a_gradient_of_an_index() -> None:
    """Compiled on a CPU with AVX-512, in bfloat16, torch 2.13 lost three quarters of such a gradient."""
    make, call, inputs = RELATIONAL["relational"]
    to_visit, seen = [getattr(make(), call)(*inputs).sum().grad_fn], set()
    while to_visit:
        node = to_visit.pop()
        if node is not None and node not in seen:
            seen.add(node)
            to_visit += [before for before, _ in node.next_functions]
    names = {node.name() for node in seen}
    assert "AddBackward0" in names
    assert "IndexBackward0" not in names


@pytest.mark.parametrize("name", RELATIONAL)
def test_what_training_calls_of_a_relational_network_is_one_graph_and_the_same(name: str) -> None:
    (network, quick, counter), (_, call, inputs) = compiled(name), RELATIONAL[name]
    torch._dynamo.utils.counters.clear()
    found = []
    for module in (network, quick, quick):
        module.zero_grad()
        found.append(getattr(module, call)(*inputs))
        found[-1].square().sum().backward()
    assert counter.graphs == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch.allclose(found[0], found[2], rtol=1e-4, atol=1e-4)
    assert quick.state_dict().keys() == network.state_dict().keys()
    for (key, a), b in zip(network.named_parameters(), quick.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), key
        if a.grad is not None and b.grad is not None:
            rounding = 1e-4 + 1e-3 * float(a.grad.abs().max())  # a bias before a softmax has no gradient
            assert torch.allclose(a.grad, b.grad, rtol=1e-3, atol=rounding), key


def test_a_copy_of_a_compiled_network_trains_its_own_weights() -> None:
    build, _, inputs = RELATIONAL["relational masked"]
    network = build()
    compile_blocks(network, backend="eager")
    other = copy.deepcopy(network)
    other.zero_grad()
    other.training_losses(*inputs).sum().backward()  # type: ignore[operator]
    assert all(parameter.grad is None for parameter in network.parameters())
    assert any(parameter.grad is not None for parameter in other.parameters())


def test_cells_of_a_relational_network_are_written_without_compiling() -> None:
    """Each panel's first cell takes more work than the others, so that no graph serves all."""
    network, quick, counter = compiled("relational", steps=True)
    assert not is_compiled(quick)
    uniform = torch.rand(2, 81, 1, generator=torch.Generator().manual_seed(2))
    blank, everywhere = torch.full((2, 81, 3), -1, dtype=torch.int8), torch.ones(2, 81, dtype=torch.bool)
    with torch.no_grad():
        slow, fast = (decoding.decode(part, blank, everywhere, uniform) for part in (network, quick))  # type: ignore[arg-type]
    assert torch.equal(slow, fast)
    assert counter.graphs == 0


def test_a_network_is_compiled_where_its_steps_of_sampling_are() -> None:
    network = RelationalMasked(**SMALL)
    assert not is_compiled(network)
    compile_blocks(network, steps=True, backend="eager")
    assert is_compiled(network)


@pytest.mark.parametrize("name", ["gpt2", "mamba"])
def test_sampling_cell_by_cell_compiles_nothing(name: str) -> None:
    _, quick, counter = compiled(name)
    tokens = torch.zeros(2, 81, 3, dtype=torch.int8)
    uniform = torch.rand(2, 81, 3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        decoding.decode(quick, tokens, torch.ones(2, 81, dtype=torch.bool), uniform)  # type: ignore[arg-type]
    assert counter.graphs == 0


@pytest.mark.parametrize("name", ["gpt2", "mamba", "any order"])
def test_decoding_at_fixed_shapes_is_one_graph_and_draws_the_same(name: str) -> None:
    network, quick, counter = compiled(name, steps=True)
    torch._dynamo.utils.counters.clear()
    generator = torch.Generator().manual_seed(2)
    tokens = torch.full((2, 81, 3), -1, dtype=torch.int8)
    last_panel = torch.arange(81).expand(2, -1) >= 72
    for double in (False, True)[: 1 if name in IN_ORDER else 2]:
        if double:
            network, quick = network.double(), quick.double()
            torch._dynamo.reset()
        before = counter.graphs
        for open_cells in (torch.ones(2, 81, dtype=torch.bool), last_panel):
            uniform = torch.rand(2, 81, 3, generator=generator)
            with torch.no_grad():
                slow, fast = (decoding.decode(part, tokens, open_cells, uniform) for part in (network, quick))  # type: ignore[arg-type]
            assert torch.equal(slow, fast)
            assert len(slow[open_cells].unique(dim=0)) > 3
            tokens = slow
        assert counter.graphs == before + 1
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize(
    ("name", "sampling"),
    [
        ("mdm", {}),
        ("mdm", {"num_steps": 9, "remasking": 0.2}),
        ("mdm", {"num_steps": 9, "order": "entropy"}),
        ("relational masked", {"num_steps": 9}),
    ],
)
def test_a_step_of_masked_diffusion_is_one_graph_and_draws_the_same(name: str, sampling: dict[str, Any]) -> None:
    network, quick, counter = compiled(name, steps=True)
    torch._dynamo.utils.counters.clear()
    method = MaskedDiffusion()
    with torch.no_grad():
        for _ in range(2):
            slow, fast = (
                method.generate(part, 3, None, MaskedSampling(**sampling), torch.Generator().manual_seed(3))
                for part in (network, quick)
            )
            assert torch.equal(slow, fast)
    assert len(slow.unique(dim=0)) == 3
    assert counter.graphs == 1
    assert not torch._dynamo.utils.counters["graph_break"]


PROCESSES = {"flow": (Flow, 3), "edm": (Edm, 3), "ddpm": (Ddpm, 6)}


@pytest.mark.parametrize(("name", "recalls"), [*((name, False) for name in PROCESSES), ("flow", True)])
def test_an_estimate_of_gaussian_diffusion_is_one_graph_and_the_same(name: str, recalls: bool) -> None:
    """Network, preconditioning and guidance; whatever the time, and tables of times are not made anew."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    process, channels = PROCESSES[name]
    reads, counter = 6 if recalls else 3, Counter()
    network = DiT(width=24, depth=2, num_heads=2, in_channels=reads, out_channels=channels, num_labels=40).eval()
    torch.manual_seed(1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    quick = copy.deepcopy(network)
    compile_blocks(quick, steps=True, backend=counter)
    method = GaussianDiffusion(process(), self_conditioning=recalls)
    sampling, labels = GaussianSampling(num_steps=4, guidance_scale=2.0), torch.tensor([3, 8, 40])
    with torch.no_grad():
        for sampler in (None, "dpmpp_2m"):
            slow, fast = (
                method.generate(part, 3, labels, replace(sampling, sampler=sampler), torch.Generator().manual_seed(3))
                for part in (network, quick)
            )
            assert torch.equal(slow, fast)
    assert len(slow.unique(dim=0)) == 3
    assert counter.graphs == 1
    assert "linspace" not in counter.operations
    assert not torch._dynamo.utils.counters["graph_break"]
