"""Run folders that look trained and evaluated, of which nothing is true."""

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from genraven.metrics.rates import Rate

RULES = ["shape-constant", "shape-progression", "color-constant", "color-distribute_three"]
ARCHITECTURES = {"autoregressive": "GPT-2", "diffusion": "SiT"}
COUNT = 400


def cell(value: float) -> dict[str, Any]:
    """A metric as evaluation.json has it."""
    hits = round(value * COUNT)
    low, high = (bound.item() for bound in Rate(torch.tensor(hits), torch.tensor(COUNT)).interval())
    return {"value": hits / COUNT, "interval95": [low, high], "hits": hits, "count": COUNT}


def result(value: float, steps: int | None = None, **changed: float) -> dict[str, Any]:
    """One of evaluation.json's, with ``value`` for each score but those of ``changed``."""
    values = dict.fromkeys(("c3", "novel_c3", "completion", "completion_trained"), value) | changed
    per_rule = {rule: cell(value * (i + 1) / len(RULES)) for i, rule in enumerate(RULES)}
    return {
        "checkpoint": "step-00000100.ckpt", "step": 100, "split": "test", "seed": 0, "puzzles_per_rule": 100,
        "batch_size": 50, "sampling": {"sampler": "euler", "num_sampling_steps": steps} if steps else {},
        "own_sampling": True, "seconds": {"generate": 2.0, "complete": 1.0, "all": 3.5},
        "network_passes_per_puzzle": {"generate": 81.0, "complete": 9.0}, "device": "cpu", "devices": 1,
        "metrics": {name: cell(v) for name, v in values.items()}
        | {"per_rule": {"c3": per_rule, "completion": per_rule},
           "per_rule_correlation": {"value": 1.0, "count": 4, "interval95": [0.9, 1.0]}},
    }  # fmt: skip


def make_run(
    folder: Path,
    family: str,
    samples: int,
    value: float | None = None,
    *,
    state: str = "finished",
    results: list[dict[str, Any]] | None = None,
    rules: str = "all",
    parameters: int = 2_000_000,
    **summary: Any,
) -> Path:
    """A run folder; of an evaluation there is ``results``, or one with ``value`` for each score, if any."""
    folder.mkdir(parents=True)
    data = {"samples_per_rule": samples, "rules": rules, "held_out": [], "source": None, "corruption": None}
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    architecture = ARCHITECTURES[family]
    facts = {"family": family, "architecture": architecture, "parameters": parameters, "samples_per_rule": samples}
    known = facts | {"state": state, "step": 100, "max_steps": 100, "device_seconds": 720.0, "flops": 3e15,
                     "money": None, "collapse": {}, "metrics": {}} | summary  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(known))
    results = results if results is not None else [] if value is None else [result(value)]
    if results:
        evaluation = {"version": 1, "run": facts, "results": results}
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return folder


CROSSING = {"autoregressive": {400: 0.4, 4000: 0.5, 40000: 0.55}, "diffusion": {400: 0.05, 4000: 0.3, 40000: 0.8}}


def make_sweep(folder: Path) -> Path:
    """Six runs whose curves cross between 4 000 and 40 000 examples."""
    for family, curve in CROSSING.items():
        for samples, value in curve.items():
            make_run(folder / f"{family}-{samples}", family, samples, value)
    return folder
