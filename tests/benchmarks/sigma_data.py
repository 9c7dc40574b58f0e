"""How well a tiny EDM denoises puzzles as numbers, by what it takes for their standard deviation.

``python tests/benchmarks/sigma_data.py 0.5 data`` trains a U-Net with each of these twice, with two seeds: 500 steps of
32 of the demo's three rules. It prints the mean squared error of x0 by sigma, of validation puzzles.
"""

import sys

import torch
from torch import Tensor

from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.edm import Edm
from genraven.networks.unet import UNet
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from lightning_modules.base import schedule_factor

RULES, STEPS, BATCH, RATE = (0, 10, 20), 500, 32, 3e-3
SIGMAS = (0.1, 0.3, 0.6, 1.0, 2.0, 5.0)


def errors(sigma_data: float | str, seed: int, puzzles: Tensor, fields: Tensor) -> list[float]:
    """Mean squared errors of ``fields`` at SIGMAS, of a network trained on ``puzzles``."""
    torch.manual_seed(seed)
    network = UNet(channels=16, num_blocks=1, dropout=0.0)
    method = GaussianDiffusion(Edm(sigma_data=sigma_data, sigma_min=0.02, sigma_max=10.0))  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0)
    rates = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: schedule_factor(step, warmup_steps=50, schedule="linear", max_steps=STEPS)
    )
    for _ in range(STEPS):
        batch = puzzles[torch.randint(len(puzzles), (BATCH,))]
        loss = method.losses(network, batch, None, lambda draw, *shape: draw((BATCH, *shape))).mean()  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rates.step()
    network.eval()
    found = []
    for sigma in SIGMAS:
        noise = torch.randn(fields.shape, generator=torch.Generator().manual_seed(9))
        level = torch.full((len(fields),), sigma)
        with torch.no_grad():
            denoised = method.process.predict(network, method.process.interpolate(fields, noise, level), level).x0
        found.append((denoised - fields).square().mean().item())
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    train = torch.cat([generate(rule, 0, 300) for rule in RULES])
    test = layout.puzzles_to_fields(torch.cat([generate(rule, 0, 100, split="val") for rule in RULES]))
    for given in sys.argv[1:]:
        for chosen in (0, 1):
            value = given if given == "data" else float(given)
            by_sigma = zip(SIGMAS, errors(value, chosen, train, test), strict=True)
            said = ", ".join(f"{sigma:g}: {error:.4f}" for sigma, error in by_sigma)
            print(f"sigma_data {given}, seed {chosen}: {said}", flush=True)
