"""Finished, failed and missing runs as one table: what ``summary.json`` and ``evaluation.json`` say of each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from genraven.errors import InputError
from genraven.metrics.rates import Rate
from genraven.report.evaluation import Evaluation
from genraven.run_folder import CONFIG, EVALUATION, FROZEN, SUMMARY

METRICS = ("c3", "novel_c3", "completion", "completion_trained", "completion_held_out")
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Score:
    """A share of ``count`` puzzles with its 95% Wilson interval."""

    value: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, hits: int, count: int) -> "Score":
        """``hits`` of ``count``."""
        rate = Rate(torch.tensor(hits), torch.tensor(count))
        low, high = rate.interval()
        return cls(rate.value.item(), low.item(), high.item(), count)

    @classmethod
    def from_json(cls, cell: Json) -> "Score":
        """As an evaluation has it."""
        low, high = cell["interval95"]
        return cls(cell["value"], low, high, cell["count"])

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Run:
    """One run. What is not known is None, or absent: never zero."""

    name: str
    state: str = "finished"
    """As ``genraven status`` has it."""
    family: str | None = None
    architecture: str | None = None
    parameters: int | None = None
    samples_per_rule: int | None = None
    """None also for an endless stream."""
    scores: Mapping[str, Score] = field(default_factory=dict)
    """c3, novel_c3, completion, completion_trained, completion_held_out."""
    device_hours: float | None = None
    """Of training."""
    flops: float | None = None
    """Of training."""
    money: float | None = None
    """Of training, where a price was given."""
    collapse: Mapping[str, Json] = field(default_factory=dict)
    """Signals that crossed their threshold in training, with ``step``, ``value`` and ``threshold``."""
    per_rule: Mapping[str, tuple[Score, Score]] = field(default_factory=dict)
    """C3 and completion of each rule that was completed."""
    correlation: Json | None = None
    split: str | None = None
    """``test`` or ``val``: the puzzles that ``scores`` are of."""
    step: int | None = None
    dataset: str = ""
    """What the run learns from but for the size: only runs of one data set are compared."""
    path: Path | None = None
    evaluations: tuple[Json, ...] = ()
    message: str = ""

    @property
    def is_evidence(self) -> bool:
        """Has it ended by itself, with scores? One that stopped before its last step speaks for the steps it did."""
        return self.state in ("finished", "stopped") and bool(self.scores)


def read_run(name: str, path: Path, state: str, message: str = "") -> tuple[Run, list[str]]:
    """The run in folder ``path`` and what is wrong with its files; those that are broken are passed over."""
    notes: list[str] = []
    summary = _read_object(path / SUMMARY, notes)
    config = next((found for file in (CONFIG, FROZEN) if (found := _read_object(path / file, notes))), {})
    facts, results = _read_evaluation(path, notes)
    facts = {key: value for key, value in summary.items() if value is not None} | dict(facts)
    best = max(results, key=_preference, default=None)
    if best and summary.get("step") not in (None, best["step"]):
        notes.append(f"{name}: evaluated at step {best['step']}, trained to step {summary['step']}.")
    if state == "stopped":
        notes.append(f"{name}: counts as trained to step {summary.get('step')} of {summary.get('max_steps')}, where it "
                     f"stopped: {message}.")  # fmt: skip
    metrics = best["metrics"] if best else {}
    scores = {metric: Score.from_json(cell) for metric in METRICS if (cell := metrics.get(metric))}
    split = best["split"] if best else "val"
    if not best:
        scores = _validation_scores(summary.get("metrics") or {})
    seconds = summary.get("device_seconds")
    data = config.get("data") or {}
    run = Run(
        name=name,
        state=state,
        family=facts.get("family"),
        architecture=facts.get("architecture"),
        parameters=facts.get("parameters"),
        samples_per_rule=facts.get("samples_per_rule") or data.get("samples_per_rule"),
        scores=scores,
        device_hours=None if seconds is None else seconds / 3600,
        flops=summary.get("flops"),
        money=summary.get("money"),
        collapse=summary.get("collapse") or {},
        per_rule=_per_rule(metrics.get("per_rule") or {}),
        correlation=metrics.get("per_rule_correlation"),
        split=split if scores else None,
        step=summary.get("step"),
        dataset=_dataset(data, facts),
        path=path,
        evaluations=tuple(results),
        message=message,
    )
    return run, notes


def _preference(result: Json) -> tuple[bool, int, bool, int]:
    """Test puzzles before others, the newest checkpoint, the model's own sampling, then the most puzzles."""
    return result["split"] == "test", result["step"], bool(result.get("own_sampling")), result["puzzles_per_rule"]


def _read_object(path: Path, notes: list[str]) -> dict[str, Any]:
    """The object in a JSON or YAML file; empty where there is none, with a note where it is broken."""
    try:
        text = path.read_text()
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    if isinstance(found, dict):
        return found
    notes.append(f"{path} is broken, and passed over.")
    return {}


def _read_evaluation(path: Path, notes: list[str]) -> tuple[Json, list[dict[str, Any]]]:
    file = Evaluation(path / EVALUATION)
    try:
        return file.run(), file.results()
    except InputError as error:
        notes.append(f"{path / EVALUATION} is passed over: {error}")
        return {}, []


def _validation_scores(metrics: Json) -> dict[str, Score]:
    """Of the last validation, which counts its puzzles."""
    scores = {}
    for metric in METRICS:
        value, count = metrics.get(f"val/{metric}"), metrics.get(f"val_count/{metric}")
        if value is not None and count:
            scores[metric] = Score.of(round(value * count), round(count))
    return scores


def _per_rule(per_rule: Json) -> dict[str, tuple[Score, Score]]:
    c3, completion = (per_rule.get(name) or {} for name in ("c3", "completion"))
    return {rule: (Score.from_json(c3[rule]), Score.from_json(completion[rule])) for rule in completion if rule in c3}


def _dataset(data: Json, facts: Json) -> str:
    """What is learned, in words that tell data sets apart; empty where nothing is known."""
    if not data and not facts.get("trained"):
        return ""
    words = []
    for name, text in (("rules", "trained on"), ("held_out", "held out")):
        value = data.get(name, facts.get({"rules": "trained"}.get(name, name)))
        words.append(f"{text} {', '.join(map(str, value)) or 'none' if isinstance(value, list) else value}")
    words += [f"from {data['source']}"] if data.get("source") else []
    corruption = {key: value for key, value in (data.get("corruption") or {}).items() if value}
    words += [f"with corruption {corruption}"] if corruption else []
    return "rules " + ", ".join(words)
