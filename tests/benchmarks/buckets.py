"""Gradient buckets of two processes, and how much of their exchange goes on behind the way back.

``python tests/benchmarks/buckets.py [PRESET] [--width N] [--bucket_mb 25] [--compiled]``: each bucket's size, and
when it is ready and exchanged, as seen by a hook of DistributedDataParallel over gloo; medians over some steps.
With --compiled the whole network is compiled, as far as torch's own operations, and its graphs are counted: torch
divides it by buckets, so that the exchange begins before the way back ends.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import yaml
from steps import Draws
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager
from torch.nn.parallel import DistributedDataParallel

from genraven.networks.compiling import compile_network
from genraven.puzzles.generate import generate
from launch.configs.identity import build
from launch.configs.shipped import CONFIGS
from launch.training.build import DDP_OPTIONS
from lightning_modules import PuzzleModule

BATCH, WARM_UP, STEPS, MEGA = 2, 2, 5, 1e6


class Losses(torch.nn.Module):
    """A model whose call is its training loss, as DDP wants it."""

    def __init__(self, model: PuzzleModule) -> None:
        super().__init__()
        self.model = model

    def forward(self, puzzles: Tensor) -> Tensor:
        return self.model.losses(puzzles, None, Draws(BATCH, torch.device("cpu"))).mean()


class Graphs:
    """A compiler that counts what it is given."""

    num = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        Graphs.num += 1
        return aot_eager(graph, inputs)  # type: ignore[no-any-return]


class Trace:
    """When each bucket of a step is ready, and when it is exchanged."""

    def __init__(self) -> None:
        self.ready: list[float] = []
        self.done: list[float] = []
        self.sizes: list[float] = []
        self.callbacks: list[weakref.ref[Callable[..., Tensor]]] = []

    def hook(self, _: Any, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        """The mean over the processes."""
        number, buffer = len(self.ready), bucket.buffer()
        self.ready.append(time.perf_counter())
        self.done.append(0.0)
        self.sizes.append(buffer.numel() * buffer.element_size() / MEGA)
        work = dist.all_reduce(buffer.div_(dist.get_world_size()), async_op=True).get_future()

        def ended(future: torch.futures.Future[list[Tensor]]) -> Tensor:
            self.done[number] = time.perf_counter()
            return future.value()[0]

        self.callbacks.append(weakref.ref(ended))
        return work.then(ended)

    def wait(self) -> None:
        """Until gloo's threads have dropped their callbacks.

        For that they need the interpreter, which a process group that is destroyed does not let go before they end.
        """
        while any(callback() for callback in self.callbacks):
            time.sleep(0.001)


def work(rank: int, folder: str, preset: str, width: int | None, bucket_mb: float, is_compiled: bool) -> None:
    """One process; the first prints a line of JSON."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init", rank=rank, world_size=2)
    torch.manual_seed(0)
    config = yaml.safe_load((CONFIGS / "model" / f"{preset}.yaml").read_text())
    config["data"] = {"rules": [4], "held_out": "none", "samples_per_rule": 4, "global_batch_size": BATCH}
    config["model"]["init_args"]["network"]["init_args"] |= {"width": width} if width else {}
    model = build(config)[0].train()
    with torch.no_grad():
        for parameter in model.parameters():  # else gates that begin at 0 leave most gradients 0
            parameter.add_(0.05 * torch.randn_like(parameter))
    expected = averaged_gradients(copy.deepcopy(model), rank)
    if is_compiled:
        compile_network(model.network, backend=Graphs())
    parallel = DistributedDataParallel(Losses(model), bucket_cap_mb=bucket_mb, **DDP_OPTIONS)
    traces: list[Trace] = []
    parallel.register_comm_hook(None, lambda state, bucket: traces[-1].hook(state, bucket))
    found = []
    for step in range(WARM_UP + STEPS):
        traces.append(Trace())
        torch.manual_seed(rank)
        loss = parallel(generate(rank, BATCH * step, BATCH))
        start = time.perf_counter()
        loss.backward()
        end = time.perf_counter()
        if not step:
            apart = furthest(model, expected)
        parallel.zero_grad()
        if step >= WARM_UP:
            found.append(of_step(traces[-1], start, end))
    for trace in traces:
        trace.wait()
    if not rank:
        medians = {name: round(statistics.median(each[name] for each in found), 3) for name in found[0]}
        sizes = [round(size, 1) for size in traces[-1].sizes]
        print(json.dumps({"preset": preset, "buckets_mb": sizes, "graphs": Graphs.num, "apart": apart, **medians}))
    dist.destroy_process_group()


def averaged_gradients(model: PuzzleModule, rank: int) -> list[Tensor]:
    """Of a step of all processes, without DistributedDataParallel or a compiler."""
    torch.manual_seed(rank)
    Losses(model)(generate(rank, 0, BATCH)).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    for gradient in gradients:
        dist.all_reduce(gradient)
    return [gradient / dist.get_world_size() for gradient in gradients]


def furthest(model: PuzzleModule, expected: list[Tensor]) -> float:
    """How far its gradients are from those ``expected``, as a share of the largest."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    largest = max(float(gradient.abs().max()) for gradient in expected)
    return max(float((a - b).abs().max()) for a, b in zip(gradients, expected, strict=True)) / largest


def of_step(trace: Trace, start: float, end: float) -> dict[str, float]:
    """Seconds of the way back, of exchange, and of that after the last gradient was there; and the share before."""
    last = max(trace.ready)
    exchange, at = 0.0, 0.0
    for ready, done in sorted(zip(trace.ready, trace.done, strict=True)):  # their union
        exchange, at = exchange + max(0.0, done - max(ready, at)), max(at, done)
    alone = max(0.0, max(trace.done) - last)
    return {"backward_s": end - start, "last_gradient_s": last - start, "exchange_s": exchange, "alone_s": alone,
            "hidden": 1 - alone / exchange}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("preset", nargs="?", default="dit_s")
    parser.add_argument("--width", type=int, help="Of the network, in place of the preset's.")
    parser.add_argument("--bucket_mb", type=float, default=25, help="At least 1, the size of the first.")
    parser.add_argument("--compiled", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        given = folder, asked.preset, asked.width, asked.bucket_mb, asked.compiled
        mp.start_processes(work, given, nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]
