"""Made-up tables of runs whose right answer is known."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genraven.report.runs import Proportion, Result, Run, Seeds

COUNT = 1000
ARCHITECTURES = {"autoregressive": "GPT-2", "diffusion": "SiT"}
LUCK = (0.0, 0.004, -0.004)
STEADY = {"model.init_args.schedule": "constant", "model.init_args.ema_decay": "0.999"}


def result(value: float, step: int = 100, scores: Mapping[str, float] | None = None, **more: Any) -> Result:
    values = {"completion": value, "novel_c3": value, "c3": value} | dict(scores or {})
    return Result(step, {name: Proportion(round(v * COUNT), COUNT) for name, v in values.items()}, **more)


def run(family: str, examples: int, value: float, parameters: int = 10_000_000, seed: int = 0, **more: Any) -> Run:
    """One, whose results are ``results`` or one with ``value`` and ``scores``."""
    scores = more.pop("scores", None)
    results = more.pop("results", None) or (result(value, scores=scores, puzzles=f"test {seed}"),)
    settings: dict[str, Any] = {
        "architecture": ARCHITECTURES.get(family, family), "device_hours": 1.0, "flops": 1e15, "step": 100,
        "puzzles": 6400.0, "num_rules": 2, "seeds": Seeds(seed, seed, seed), **more,
    }  # fmt: skip
    name = f"{settings['architecture']}-{parameters}-{examples}-s{seed}"
    return Run(name, family=family, parameters=parameters, samples_per_rule=examples, results=results, **settings)


def repeats(family: str, examples: int, value: float, parameters: int = 10_000_000, **more: Any) -> list[Run]:
    """Three runs whose mean is ``value``."""
    return [
        run(family, examples, min(max(value + luck, 0.0), 1.0), parameters, seed, **more)
        for seed, luck in enumerate(LUCK)
    ]


def table(autoregressive: Mapping[int, float], diffusion: Mapping[int, float], **more: Any) -> list[Run]:
    """Three repeats of each point of two curves."""
    curves = {"autoregressive": autoregressive, "diffusion": diffusion}
    return [
        one
        for family, curve in curves.items()
        for examples, value in curve.items()
        for one in repeats(family, examples, value, **more)
    ]


def validated(runs: list[Run], value: float) -> list[Run]:
    """The same with ``value`` as their score on validation puzzles."""
    return [replace(one, results=(*one.results, result(value, split="val"))) for one in runs]


CROSSING = table({400: 0.4, 4000: 0.5, 40000: 0.55}, {400: 0.05, 4000: 0.3, 40000: 0.8})
