"""``make scaling``: one training step on 1 and on 2 processes of this machine, and a model of larger worlds.

Measured: puzzles per second at a fixed global batch, one thread a process, gloo; and the fraction of a step that
exchanges gradients: the same steps with and without it alternate in one run. What 8 to 64 GPUs would need is computed
from the assumptions printed, not measured.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from genraven.methods.gaussian.flow import Flow
from genraven.networks.dit import DiT

GLOBAL_BATCH, ROUNDS, STEPS = 64, 7, 4
PEAK_FLOPS = 989e12  # of an H100 SXM, dense bf16
SHARE_OF_PEAK = 0.4
NVLINK, NETWORK = 300e9, 50e9  # bytes/s a GPU: between GPUs of a node, and to another node (400 Gbit/s)
LATENCY_S = 20e-6  # of one hop of the ring
BUCKET = 25e6  # bytes that DDP exchanges at once
HIDDEN = 0.7  # fraction of the exchange that goes on behind the backward pass
GPUS_PER_NODE = 8
NETWORKS = {"DiT-S/1": (32.5e6, 256), "DiT-B/1": (129.5e6, 256), "DiT-XL/1": (673.6e6, 256)}
"""Parameters and global batch."""
TOKENS = 81


def step_seconds(world: int, parameters: float, batch: int) -> tuple[float, float]:
    """Seconds of computing, and of exchange that is not hidden, in one step of the model.

    Computing is 6 floating-point operations per parameter and token, divided among ranks; the exchange is a ring
    all-reduce of float32 gradients, 2 (n - 1) / n times their bytes over the slowest link, and 2 (n - 1) hops a bucket.
    """
    computing = 6 * parameters * TOKENS * batch / world / (PEAK_FLOPS * SHARE_OF_PEAK)
    if world == 1:
        return computing, 0.0
    size = 4 * parameters
    link = NVLINK if world <= GPUS_PER_NODE else NETWORK
    hops = 2 * (world - 1) * LATENCY_S * max(1, size / BUCKET)
    exchange = 2 * (world - 1) / world * size / link + hops
    return computing, max(exchange - HIDDEN * min(exchange, computing * 2 / 3), 0)


def work(rank: int, world: int, folder: str) -> None:
    """Times steps of one process; the first prints puzzles per second and the fraction of the exchange."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/init{world}", rank=rank, world_size=world)
    torch.manual_seed(0)
    network = DiT(width=192, depth=4, num_heads=4)
    model = DistributedDataParallel(network)
    optimizer = torch.optim.AdamW(model.parameters())
    process, fraction = Flow(), GLOBAL_BATCH // world
    x0, noise, times = torch.randn(fraction, 3, 9, 9), torch.randn(fraction, 3, 9, 9), torch.rand(fraction)

    def steps(exchange: bool) -> float:
        dist.barrier()
        start = time.perf_counter()
        for _ in range(STEPS):
            model.require_backward_grad_sync = exchange
            process.loss(model, x0, noise, times).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
        return (time.perf_counter() - start) / STEPS

    steps(True)
    seconds = [(steps(True), steps(False)) for _ in range(ROUNDS)]
    with_it, without = (statistics.median(times) for times in zip(*seconds, strict=True))
    if rank == 0:
        num = sum(p.numel() for p in network.parameters())
        print(f"{world} process(es), {num / 1e6:.1f} M parameters: {GLOBAL_BATCH / with_it:7.1f} puzzles/s, exchange "
              f"{max(0.0, 1 - without / with_it):.1%} of a step", flush=True)  # fmt: skip
    dist.destroy_process_group()


def main() -> None:
    """Prints what was measured, then the model."""
    print(f"measured: {len(os.sched_getaffinity(0))} CPUs, torch {torch.__version__}, global batch {GLOBAL_BATCH}")
    with tempfile.TemporaryDirectory() as folder:
        for world in (1, 2):
            mp.spawn(work, (world, folder), nprocs=world)
    print(
        f"\nmodel: {PEAK_FLOPS / 1e12:.0f} TFLOP/s at {SHARE_OF_PEAK:.0%}, {NVLINK / 1e9:.0f} GB/s in a node "
        f"of {GPUS_PER_NODE}, {NETWORK / 1e9:.0f} outside, {LATENCY_S * 1e6:.0f} us a hop, {HIDDEN:.0%} hid"
    )
    worlds = (1, 8, 16, 32, 64)
    print(f"{'ms a step (efficiency)':24}" + "".join(f"{f'{n} GPUs':>16}" for n in worlds))
    for name, (parameters, batch) in NETWORKS.items():
        alone = sum(step_seconds(1, parameters, batch))
        totals = {n: sum(step_seconds(n, parameters, batch)) for n in worlds}
        print(f"{f'{name}, batch {batch}':24}" + "".join(f"{f'{t * 1e3:.1f} ({alone / n / t:.0%})':>16}"
                                                        for n, t in totals.items()))  # fmt: skip


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
