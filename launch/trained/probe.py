"""``genraven probe``: accuracy of a linear classifier of the rule, by layer."""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genraven.console import say
from genraven.errors import at_least
from genraven.escaping import plain_texts
from genraven.metrics.rates import Rate
from genraven.outputs import MARK, PICTURES, Outputs, has_keys, with_suffix
from genraven.probe import Features, Pool, accuracy, fit_linear, gather
from genraven.progress import Progress, part
from genraven.puzzles.generate import generate
from genraven.puzzles.spec import NUM_RULES, RULES
from genraven.run_folder import RunFiles, home
from launch.configs.identity import build
from launch.runs.folder import find_checkpoint
from launch.trained.model import TrainedModel
from launch.trained.sampling import opened

GROUPS = {"trained": "trained rules", "held_out": "other rules"}  # in files, and on a screen


@dataclass(frozen=True)
class Puzzles:
    """What is read: those to fit on, then those to score on."""

    puzzles: Tensor
    """(N, 3, 9, 9) int8"""
    rules: Tensor
    """(N,) int64"""
    num_fitted: int


@dataclass(frozen=True)
class Found:
    """How well a linear probe reads the rule from one layer, pooled in one way."""

    layer: str
    pool: Pool
    noise: float | None
    """One of the method's reading levels."""
    rates: dict[str, Rate]
    """Of the test puzzles of ``trained`` rules, and of all others, ``held_out`` or not."""

    @property
    def view(self) -> str:
        """The way of reading, in words."""
        return self.pool if self.noise is None else f"noise {self.noise:g}"


def probe(options: argparse.Namespace) -> None:
    """Writes accuracy by layer as JSON and as a picture, and prints a table."""
    at_least(1, fit_per_rule=options.fit_per_rule, puzzles_per_rule=options.puzzles_per_rule)
    path = find_checkpoint(options.run)
    out = options.out or RunFiles(home(path)).probe
    outputs = Outputs(overwrite=options.overwrite)
    outputs.add(out, "--out", is_ours=has_keys(("fit_per_rule", "chance", "layers")))
    picture = options.picture or with_suffix(out, ".png", "--out")
    outputs.add(picture, "--picture", suffixes=PICTURES)
    model = opened(options, path)
    levels = model.module.method.reading_levels(options.noise)
    puzzles = _make_puzzles(model.data.seed, options.fit_per_rule, options.puzzles_per_rule)
    found, before = (_by_layer(one, puzzles, levels, i) for i, one in enumerate((model, untrained(model))))
    result = {
        "checkpoint": str(path),
        "step": model.step,
        "family": model.module.family,
        "seed": options.seed,
        "data_seed": model.data.seed,
        "fit_per_rule": options.fit_per_rule,
        "puzzles_per_rule": options.puzzles_per_rule,
        "batch_size": options.batch_size,
        "numerics": asdict(model.numerics),
        "chance": 1 / NUM_RULES,
        "trained_rules": [RULES[r].name for r in model.data.trained],
        "layers": [_as_json(*pair) for pair in zip(found, before, strict=True)],
    }
    with outputs, plain_texts():
        outputs[out].write_text(json.dumps(result, indent=2) + "\n")
        _draw(found, before, outputs[picture])
    say(f"{table(found, before)}\n{out}\n{picture}")


def untrained(model: TrainedModel) -> TrainedModel:
    """The same model with fresh weights, drawn from its seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(model.seed)
        module = build(model.checkpoint["genraven_config"], model.checkpoint["state_dict"])[0]
    return replace(model, module=model.numerics.prepare(module.to(model.device), model.seed))


def _make_puzzles(seed: int, num_fitted: int, num_scored: int) -> Puzzles:
    """Puzzles of all rules; no run trains on them, so that those of trained rules are as new as those of others."""
    parts = [
        (torch.cat([generate(rule, 0, num, seed=seed, split=split) for rule in range(NUM_RULES)]), num)
        for split, num in (("val", num_fitted), ("test", num_scored))
    ]
    rules = [torch.arange(NUM_RULES).repeat_interleave(num) for _, num in parts]
    return Puzzles(torch.cat([puzzles for puzzles, _ in parts]), torch.cat(rules), len(rules[0]))


def _by_layer(model: TrainedModel, puzzles: Puzzles, levels: list[float | None], before: int) -> list[Found]:
    """The accuracy of each layer, at each level and with each pooling; so many models came ``before``."""
    module, found = model.module, list[Found]()
    slices = [slice(at, at + model.batch_size) for at in range(0, len(puzzles.rules), model.batch_size)]
    for number, noise in enumerate(levels, 1 + before * len(levels)):

        def probe_forward(part: slice, noise: float | None = noise) -> None:
            read = puzzles.puzzles[part].to(model.device)
            module.probe_forward(read, noise, module.generator_at("probe", "probe", part.start, len(read)))

        with model.at_work(), part(number, 2 * len(levels)):
            with Progress("read", len(slices), "batch") as bar:
                features = gather(module.network, probe_forward, bar.over(slices), module.method.pools)
            found += _classify(features, puzzles, noise, model.data.trained)
    return found


def _classify(features: Features, puzzles: Puzzles, noise: float | None, trained: tuple[int, ...]) -> list[Found]:
    n, found = puzzles.num_fitted, list[Found]()
    is_trained = torch.isin(puzzles.rules[n:], torch.tensor(trained))
    with Progress("classify", len(features), "layer") as bar:
        for (layer, pool), x in bar.over(features.items()):
            rules = puzzles.rules.to(x.device)
            classes = fit_linear(x[:n], rules[:n], NUM_RULES)(x[n:]).cpu()
            groups = zip(GROUPS, (is_trained, ~is_trained), strict=True)
            rates = {name: accuracy(classes, puzzles.rules[n:], group) for name, group in groups}
            found.append(Found(layer, pool, noise, rates))
    return found


def _as_json(found: Found, before: Found) -> dict[str, Any]:
    settings = {"layer": found.layer, "pool": found.pool, "noise": found.noise}
    trained, untrained = ({name: rate.as_json() for name, rate in side.rates.items()} for side in (found, before))
    return {**settings, **trained, "untrained_network": untrained}


def table(found: list[Found], before: list[Found]) -> str:
    """Accuracies as lines of text, beside those of the untrained network."""
    heads = GROUPS.values()
    lines = [
        f"{'layer':16}{'read at':10}" + "".join(f"{head:>16}  {'95% interval':16}{'untrained':10}" for head in heads)
    ]
    for now, then in zip(found, before, strict=True):
        cells = "".join(_cell(now.rates[name], then.rates[name]) for name in GROUPS)
        lines.append(f"{now.layer:16}{now.view:10}{cells}")
    counts = ", ".join(f"{int(found[0].rates[name].total)} of {head}" for name, head in GROUPS.items())
    return "\n".join([*lines, f"test puzzles: {counts}; chance is {1 / NUM_RULES:.3f}"])


def _cell(now: Rate, then: Rate) -> str:
    if not now.total:
        return f"{'-':>16}  {'':16}{'':10}"
    low, high = (x.item() for x in now.interval())
    return f"{now.value.item():16.3f}  [{low:.3f}, {high:.3f}]  {then.value.item():9.3f} "


def _draw(found: list[Found], before: list[Found], path: Path) -> None:
    """A panel for each way of reading: accuracy by layer, with intervals, beside the untrained network and chance."""
    from matplotlib.figure import Figure

    views = list(dict.fromkeys(item.view for item in found))
    figure = Figure((1 + 3.2 * len(views), 3.4), layout="constrained")
    axes = figure.subplots(1, len(views), sharey=True, squeeze=False)[0]
    for axis, view in zip(axes, views, strict=True):
        layers = [item.layer for item in found if item.view == view]
        for (name, label), colour in zip(GROUPS.items(), ("#0072b2", "#d55e00"), strict=True):
            now, then = ([item.rates[name] for item in side if item.view == view] for side in (found, before))
            if not now[0].total:
                continue
            low, high = zip(*(rate.interval() for rate in now), strict=True)
            axis.plot(layers, [rate.value for rate in now], "o-", color=colour, label=label)
            axis.fill_between(layers, low, high, color=colour, alpha=0.2, linewidth=0)
            axis.plot(layers, [rate.value for rate in then], "--", color=colour, alpha=0.6, label="untrained network")
        axis.axhline(1 / NUM_RULES, color="black", linewidth=0.8, linestyle=":", label="chance")
        axis.tick_params("x", rotation=60)
        axis.set(title=view, ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"accuracy of the rule, of {NUM_RULES}")
    axes[-1].legend(fontsize="x-small", loc="upper left")
    figure.savefig(path, dpi=120, metadata={"Software": MARK} if path.suffix.lower() == ".png" else None)
