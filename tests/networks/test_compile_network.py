"""What training calls of a network as one graph, with compilers that only look at it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager

from genraven.flops import count_flops
from genraven.networks.compiling import compile_blocks, compile_network, compile_seconds, is_compiled
from genraven.puzzles.generate import generate
from launch.configs.identity import build
from launch.configs.shipped import CONFIGS
from lightning_modules import PuzzleModule

TINY = sorted(path.stem for path in (CONFIGS / "model").glob("*_tiny.yaml"))
NUM = 4


class Draws:
    """The same random numbers each time."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(1)

    def __call__(self, distribution: Callable[..., Tensor], *shape: int) -> Tensor:
        return distribution((NUM, *shape), generator=self.generator)

    def spread(self) -> Tensor:
        return (torch.arange(NUM) + torch.rand(NUM, generator=self.generator)) / NUM


class Counter:
    """A compiler that changes nothing, but takes graphs through what real ones demand of them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        self.graphs += 1
        return aot_eager(graph, inputs)  # type: ignore[no-any-return]


def preset(name: str) -> PuzzleModule:
    """Its model, of one block: more are the same again."""
    config = yaml.safe_load((CONFIGS / "model" / f"{name}.yaml").read_text())
    config["data"] = {"rules": [4], "held_out": "none", "samples_per_rule": 4, "global_batch_size": 4}
    network = config["model"]["init_args"]["network"]["init_args"]
    network |= {"depth": 1} if "depth" in network else {}
    network |= {"channels": 8, "multipliers": [1]} if "channels" in network else {}
    torch.manual_seed(0)
    model = build(config)[0]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():  # also those that begin at 0
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def step(model: PuzzleModule, unknown: Tensor | None = None) -> Tensor:
    """The loss, whose gradients are there."""
    model.zero_grad()
    torch.manual_seed(2)
    puzzles = torch.cat([generate(rule, 0, 1) for rule in range(NUM)])
    loss = model.losses(puzzles, None, Draws(), unknown).mean()
    if loss.requires_grad:
        loss.backward()
    return loss.detach()


@pytest.mark.parametrize("name", TINY)
def test_the_training_of_every_preset_is_one_graph_without_a_break(name: str) -> None:
    model = preset(name).train()
    slow = step(model)
    expected = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    names = model.state_dict().keys()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    counter = Counter()
    compile_network(model.network, backend=counter)
    for _ in range(2):
        fast = step(model)
        assert counter.graphs == 1
    assert not torch._dynamo.utils.counters["graph_break"]
    assert torch.allclose(slow, fast, rtol=1e-5)
    for parameter, grad in zip(model.parameters(), expected, strict=True):
        assert (parameter.grad is None) == (grad is None)
        if grad is not None and parameter.grad is not None:
            assert torch.allclose(parameter.grad, grad, rtol=1e-3, atol=1e-5 + 1e-4 * float(grad.abs().max()))
    assert model.state_dict().keys() == names


@pytest.mark.parametrize("name", ["gpt2_tiny", "block_panel_tiny", "edm_tiny"])
def test_validation_is_not_of_the_graph(name: str) -> None:
    """Its batches have other shapes, each of which would be a graph of its own."""
    model = preset(name).eval()
    slow = step(model).clone()
    torch._dynamo.reset()
    counter = Counter()
    compile_network(model.network, backend=counter)
    model.train()
    step(model)
    trained = counter.graphs
    with torch.no_grad():
        assert torch.allclose(step(model.eval()), slow, rtol=1e-5)
    of_blocks = counter.graphs - trained
    torch._dynamo.reset()
    other, blocks = preset(name).eval(), Counter()
    compile_blocks(other.network, backend=blocks)
    with torch.no_grad():
        step(other)
    assert of_blocks == blocks.graphs


@pytest.mark.parametrize("name", ["gpt2_tiny", "block_panel_tiny", "relational_ar_tiny"])
def test_a_copy_trains_its_own_weights_and_is_counted_as_it_was(name: str) -> None:
    model = preset(name).train()
    before = count_flops(model.network, model.method.training_pass)
    torch._dynamo.reset()
    compile_network(model.network, backend="eager")
    assert count_flops(model.network, model.method.training_pass) == before
    other = copy.deepcopy(model)
    step(other)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert any(parameter.grad is not None for parameter in other.parameters())


@pytest.mark.slow
def test_a_scan_that_is_one_operation_is_compiled_to_the_same_numbers() -> None:
    """By torch's own compiler, which makes kernels of all around it."""
    model = preset("mamba_tiny").train()
    slow = step(model)
    expected = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    torch._dynamo.reset()
    compile_network(model.network)
    assert torch.allclose(step(model), slow, rtol=1e-5)
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for grad, wanted in zip(found, expected, strict=True):
        assert torch.allclose(grad, wanted, rtol=1e-3, atol=1e-5 + 1e-4 * float(wanted.abs().max()))


def test_what_cannot_be_in_the_graph_is_an_error() -> None:
    model = preset("gpt2_tiny").train()
    forward = type(model.network).forward

    class Looking(type(model.network)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Tensor:
            out = forward(self, *args, **kwargs)
            return out * 2 if float(out.sum()) > 0 else out

    model.network.__class__ = Looking
    torch._dynamo.reset()
    compile_network(model.network, backend="eager")
    with pytest.raises(torch._dynamo.exc.TorchDynamoException):
        step(model)


def test_seconds_of_compiling_are_counted() -> None:
    model = preset("gpt2_tiny").train()
    torch._dynamo.reset()
    before = compile_seconds()
    compile_network(model.network, backend="aot_eager")
    assert compile_seconds() == before
    assert is_compiled(model.network)
    step(model)
    assert compile_seconds() > before
