"""Validation after validation records nothing anew: steps of sampling find what they read where it was before."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.backends.debugging import aot_eager

from genraven.methods.any_order import AnyOrder
from genraven.methods.autoregressive import Autoregressive
from genraven.methods.masked import MaskedDiffusion, MaskedSampling
from genraven.methods.method import Method
from genraven.networks.any_order import AnyOrderTransformer
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.compiling import compile_blocks
from genraven.networks.mamba import Mamba
from genraven.networks.transformer import Transformer
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask

VALIDATIONS = 10
MODELS: dict[str, Callable[[], tuple[nn.Module, Method]]] = {
    "gpt2": lambda: (Transformer(width=24, depth=1, num_heads=2), Autoregressive()),
    "any order": lambda: (AnyOrderTransformer(width=24, depth=1, num_heads=2), AnyOrder()),
    "mamba": lambda: (Mamba(width=24, depth=1, state_size=4), Autoregressive()),
    "mdm": lambda: (BidirectionalTransformer(width=24, depth=1, num_heads=2),
                    MaskedDiffusion(sampling=MaskedSampling(num_steps=5, completion_steps=3))),
}  # fmt: skip


class Recordings:
    """A compiler that records as CUDA graphs do: anew for each place in memory of what it was told stays."""

    def __init__(self) -> None:
        self.places: set[tuple[int, ...]] = set()
        self.num_calls = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        made, which = aot_eager(graph, inputs), id(graph)

        def run(*given: Any) -> Any:
            self.num_calls += 1
            self.places.add((which, *(each.data_ptr() for each in given if stays(each))))
            return made(*given)

        return run


def stays(given: Any) -> bool:
    """Is it a weight, or was it promised to stand still?"""
    is_promised = getattr(given, "_dynamo_static_input_type", None) is not None
    return isinstance(given, Tensor) and (isinstance(given, nn.Parameter) or is_promised)


def validated(network: nn.Module, method: Method, num: int, seed: int) -> tuple[Tensor, Tensor]:
    """What a validation of ``num`` puzzles makes."""
    given = torch.cat([generate(rule, 0, 1) for rule in range(num)])
    with torch.inference_mode():
        drawn, mask = torch.Generator().manual_seed(seed), last_panel_mask(num, given.device)
        return (method.generate(network, num, None, method.sampling, drawn),
                method.complete(network, given, mask, method.sampling, drawn))  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_ten_validations_record_each_shape_once(name: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    network, method = MODELS[name]()
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    plain = MODELS[name]()[0]
    plain.load_state_dict(network.state_dict())
    recordings = Recordings()
    others: list[Any] = []
    compile_blocks(network.eval(), steps=True, backend=recordings)
    results = []
    for seed in range(VALIDATIONS):
        others.append(torch.empty(1 + 4096 * seed))  # memory is not where it was
        results.append(validated(network, method, 2, seed))
        others.append([part.clone() for part in results[-1]])
        if not seed:
            of_the_first = len(recordings.places)
    assert len(recordings.places) == of_the_first == len({graph for graph, *_ in recordings.places})
    assert recordings.num_calls > 4 * VALIDATIONS
    counts = []
    for _ in range(3):  # with a last batch of another shape, of which the compiler makes one graph for all shapes
        for num in (3, 2):
            validated(network, method, num, 0)
        counts.append(len(recordings.places))
    assert counts[0] == counts[1] == counts[2] <= 3 * of_the_first
    for seed, found in enumerate(results):  # no later one has written over what an earlier one returned
        for mine, expected in zip(found, validated(plain.eval(), method, 2, seed), strict=True):
            assert torch.equal(mine, expected)


def test_memory_of_a_network_goes_with_it_and_not_with_its_copies() -> None:
    from genraven.networks.compiling import _KEPT, kept

    network = nn.Linear(2, 2)
    before = len(_KEPT)
    assert kept(network, "a", lambda: [1]) is kept(network, "a", lambda: [2])
    assert len(_KEPT) == before + 1
    del network
    assert len(_KEPT) == before
