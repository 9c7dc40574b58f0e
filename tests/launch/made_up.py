"""Run folders that look trained and evaluated, of which nothing is true."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from genraven.metrics.intervals import wilson
from genraven.report.evaluation import pack_hits

RULES = ["shape.constant", "size.constant", "color.constant", "color.XOR"]
ARCHITECTURES = {"autoregressive": "GPT-2", "diffusion": "SiT"}
COUNT = 400
DIFFICULTY = np.random.default_rng(0).random(COUNT)
RECIPE = {"schedule": "linear", "ema_decay": None}
STEADY = {"schedule": "constant", "ema_decay": 0.999}


def cell(value: float) -> dict[str, Any]:
    """A metric as evaluation.json has it."""
    hits = round(value * COUNT)
    low, high = (float(bound) for bound in wilson(hits / COUNT, COUNT))
    return {"value": hits / COUNT, "interval95": [low, high], "hits": hits, "count": COUNT}


def outcomes(value: float, seed: int) -> Any:
    """Which of the puzzles a run gets right: most of the easy ones."""
    order = np.argsort(DIFFICULTY + 0.5 * np.random.default_rng(seed + 1).random(COUNT))
    right = np.zeros(COUNT, bool)
    right[order[: round(value * COUNT)]] = True
    return right


def result(value: float, steps: int | None = None, *, step: int = 100, seed: int = 0, **changed: Any) -> dict[str, Any]:
    """One of evaluation.json's, with ``value`` for each score but those of ``changed``, which may be other entries."""
    names = ("c3", "novel_c3", "completion", "completion_trained")
    values = dict.fromkeys(names, value) | {name: changed.pop(name) for name in names if name in changed}
    per_rule = {rule: cell(value * (i + 1) / len(RULES)) for i, rule in enumerate(RULES)}
    return {
        "checkpoint": f"step-{step:08}.ckpt", "step": step, "split": "test", "seed": 0, "puzzles_per_rule": 100,
        "batch_size": 50, "sampling": {"sampler": "euler", "num_sampling_steps": steps} if steps else {},
        "own_sampling": True, "seconds": {"generate": 2.0, "complete": 1.0, "all": 3.5}, "eval_seed": 7, "weights": "m",
        "network_passes_per_puzzle": {"generate": 81.0, "complete": 9.0}, "device": "cpu", "devices": 1,
        "hits": {name: pack_hits(outcomes(v, seed)) for name, v in values.items()},
        "metrics": {name: cell(v) for name, v in values.items()}
        | {"per_rule": {"c3": per_rule, "completion": per_rule},
           "per_rule_correlation": {"value": 1.0, "count": 4, "interval95": [0.9, 1.0]}},
    } | changed  # fmt: skip


def make_run(
    folder: Path,
    family: str,
    samples: int | None,
    value: float | None = None,
    *,
    state: str = "finished",
    seed: int = 0,
    results: Sequence[Mapping[str, Any]] | None = None,
    data: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    architecture: str | None = None,
    parameters: int = 2_000_000,
    **summary: Any,
) -> Path:
    """A run folder; of an evaluation there is ``results``, or one with ``value`` for each score, if any.

    Args:
        folder: to make.
        family: of the model.
        samples: per rule.
        value: of each score.
        state: of the run.
        seed: of weights, noise and data.
        results: of evaluation.json.
        data: more options of the data.
        model: more options of the model.
        architecture: instead of the family's first.
        parameters: of the network.
        summary: more of summary.json.
    """
    folder.mkdir(parents=True)
    options = {"samples_per_rule": samples, "rules": "all", "held_out": [], "source": None, "corruption": None,
               "seed": seed, "eval_seed": 7, "eval_rules": RULES}  # fmt: skip
    config = {
        "seed_everything": seed,
        "model": {"class_path": "lightning_modules.Some", "init_args": RECIPE | {"seed": seed} | dict(model or {})},
        "data": options | dict(data or {}),
        "trainer": {"max_steps": 100, "max_time": "00:00:12:00" if state == "stopped" else None},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    facts = {"family": family, "architecture": architecture or ARCHITECTURES[family], "parameters": parameters,
             "samples_per_rule": samples, "trained": RULES}  # fmt: skip
    known = facts | {"state": state, "step": 100, "max_steps": 100, "training_device_seconds": 720.0, "flops": 3e15,
                     "device_seconds": 900.0, "money": None, "collapse": {}, "metrics": {}, "global_batch_size": 64,
                     "puzzles": 6400} | summary  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(known))
    found = list(results if results is not None else [] if value is None else [result(value, seed=seed)])
    if found:
        evaluation = {"version": 1, "run": facts, "results": found}
        (folder / "evaluation.json").write_text(json.dumps(evaluation))
    return folder


CROSSING = {"autoregressive": {400: 0.4, 4000: 0.5, 40000: 0.55}, "diffusion": {400: 0.05, 4000: 0.3, 40000: 0.8}}
LUCK = (0.0, 0.01, -0.01)


def make_sweep(folder: Path, repeats: int = 3) -> Path:
    """Two families whose curves cross between 4 000 and 40 000 examples, each point so many times."""
    for family, curve in CROSSING.items():
        for samples, value in curve.items():
            for seed in range(repeats):
                make_run(folder / f"{family}-{samples}-s{seed}", family, samples, value + LUCK[seed % 3], seed=seed)
    return folder
