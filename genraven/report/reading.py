"""A run folder's small files (``config.yaml``, ``summary.json``, ``evaluation.json`` and kin) as a ``Run``."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from genraven.errors import shown
from genraven.escaping import plain
from genraven.metrics.table import OF_A_PUZZLE, SCORES
from genraven.networks.prior import Prior, prior_by_name
from genraven.report.dataset import asks, dataset_of, examples_per_rule, flat, in_words, is_stream
from genraven.report.english import sentence
from genraven.report.evaluation import unpack_hits
from genraven.report.record import Record, read_record
from genraven.report.runs import EVIDENCE, INIT, PRIOR, Json, Number, Proportion, Result, Run, Seeds
from genraven.report.trust import Trust, read_trust
from genraven.run_folder import SUMMARY_KINDS, Kind, RunFiles, is_number, of_kinds

SEEDS = {"weights": "seed_everything", "noise": "model.init_args.seed", "data": "data.seed"}
SETTINGS = ("model.", "data.", "trainer.max_steps", "trainer.max_epochs", "trainer.limit_train_batches",
            "trainer.overfit_batches", "trainer.precision", "trainer.gradient_clip_")  # fmt: skip
TIME_LIMIT = "trainer.max_time"  # or its parts
LEFT_OUT = (  # what is said elsewhere, or changes nothing that is learned
    *SEEDS.values(), "data.samples_per_rule", "data.source", "data.rules", "data.held_out", "data.cache_dir",
    "data.corruption", "data.eval_", "model.init_args.network.init_args.reads_unknown",
)  # fmt: skip
LATER: Mapping[str, Mapping[str, Any]] = {
    "genraven.methods.autoregressive.Autoregressive": {"input_masking": 0.0},
    "genraven.methods.gaussian.GaussianDiffusion": {"self_conditioning": False},
    "lightning_modules.AutoregressiveModule": {"decay_all": True},
    "lightning_modules.DiffusionModule": {"decay_all": True},
}
"""Options that a class got after runs of it were committed, with what those runs did: so that an old run and a new one
that does the same are of one recipe."""
SECONDS_PER_HOUR = 3600
TUNED = ("trials", "puzzles")
NETWORK = "model.init_args.network.class_path"
RESULT_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("split", "checkpoint", "weights", "eval_source", "calibration"), "text"),
    **dict.fromkeys(("sampling", "numerics", "metrics", "certainty"), "object"),
    **dict.fromkeys(("step", "seed", "eval_seed", "puzzles_per_rule", "given_corruption", "devices"), "number"),
    **dict.fromkeys(("seconds", "network_passes_per_puzzle"), "numbers"),
}  # fmt: skip
BROKEN = (AttributeError, TypeError, ValueError, LookupError, ArithmeticError)
"""What comes of a file that holds other things than genraven writes."""


def read_run(name: str, path: Path, state: str, message: str = "") -> tuple[Run, list[str]]:
    """The run in folder ``path`` and what is wrong with its files; those that are broken are passed over."""
    notes: list[str] = []
    run, wrong = run_of(name, read_record(path, notes), state, message)
    return replace(run, path=path), notes + wrong


def run_of(name: str, record: Record, state: str, message: str = "") -> tuple[Run, list[str]]:
    """The run that ``record`` is of, and what is wrong with its files; those that are broken are passed over."""
    notes: list[str] = []
    name = plain(name)
    try:
        return _read(name, record, state, message, notes), notes
    except BROKEN as error:
        notes.append(sentence("foreign", name=name, error=plain(error)))
        return Run(name, state, message=message), notes


def _read(name: str, record: Record, state: str, message: str, notes: list[str]) -> Run:
    summary = _of_kinds(record.summary, SUMMARY_KINDS)
    options = dict(flat(dict(record.config)))
    facts, evaluations = _of_kinds(record.evaluated, SUMMARY_KINDS), list(record.results)
    facts = {key: value for key, value in summary.items() if value is not None} | dict(facts)
    rules, dataset = facts.get("trained"), dataset_of(options, facts, evaluations)
    asked = [found for found in evaluations if asks(found, dataset, options)]
    if len(asked) < len(evaluations):
        notes.append(sentence("other_evaluations", name=name, num=len(evaluations) - len(asked)))
    results = list(_results(asked, facts, options, f"{name}: {RunFiles(record.place).evaluation.name}", notes))
    if results and summary.get("step") not in (None, *(result.step for result in results)):
        notes.append(sentence("trained_on", name=name, evaluated=results[-1].step, trained=summary["step"]))
    results += _validations(record, summary, notes)
    num_rules, seen, streams = len(rules) if rules else None, _seen(summary), is_stream(options, facts)
    samples = examples_per_rule(options, facts, seen / num_rules if streams and seen and num_rules else None)
    if results and samples is None and state in EVIDENCE:
        notes.append(sentence("unknown_examples", name=name))
    return Run(
        name=name,
        state=state,
        family=facts.get("family"),
        architecture=facts.get("architecture"),
        prior=_prior(options, facts),
        parameters=_whole(facts.get("parameters")),
        samples_per_rule=samples,
        is_stream=streams,
        num_rules=num_rules,
        results=tuple(results),
        device_hours=_hours(summary),
        flops=_amount(summary.get("flops")),
        puzzles=_amount(summary.get("puzzles") or seen),
        price=_amount(summary.get("price_per_device_hour")),
        collapse=_collapse(summary.get("collapse") or {}),
        step=_whole(summary.get("step")),
        max_steps=_int(summary.get("max_steps")),
        time_limit=in_words({name: value for name, value in options.items() if name.startswith(TIME_LIMIT) and value}),
        stopped_itself=bool(summary.get("stopped")),
        dataset=dataset,
        settings=_settings(options, facts),
        seeds=_seeds(options, facts),
        device=facts.get("device"),
        tuning=_tuning(options),
        trust=_trust(record, results, notes),
        message=message,
    )


def _tuning(options: Json) -> dict[str, float]:
    """What ``genraven tune`` noted in the config."""
    return {name: _amount(options[f"tuned.{name}"]) for name in TUNED if options.get(f"tuned.{name}") is not None}


def _prior(options: Json, facts: Json) -> Prior:
    """As it was noted; of runs older than the note, by the class of their network.

    Raises:
        ValueError: something else was noted.
    """
    noted = facts.get(PRIOR) or options.get(PRIOR)
    if noted is None:
        noted = prior_by_name(str(options.get(NETWORK) or facts.get("network") or ""))
    if noted not in get_args(Prior):
        raise ValueError(f"prior {shown(noted)}")
    prior: Prior = noted
    return prior


def _of_kinds(found: Json, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """``found`` with texts in plain characters; raises ValueError where an entry is not of its kind."""
    kept = of_kinds(found, kinds)
    if wrong := [name for name, value in found.items() if value is not None and name not in kept]:
        raise ValueError(f"{wrong[0]} {shown(found[wrong[0]])}")
    return kept


def _trust(record: Record, results: Sequence[Result], notes: list[str]) -> Trust | None:
    """What its calibration says of weights that were scored; of others it says nothing here."""
    if record.calibration is None:
        return None
    place = RunFiles(record.place).calibration
    try:
        found = read_trust(record.calibration, place)
    except BROKEN as error:
        notes.append(sentence("passed_over", place=place, reason=error))
        return None
    scored = {result.weights for result in results if result.weights}
    if found.weights not in scored:
        notes.append(sentence("calibration_of_others", place=place, are_known=bool(scored)))
        return None
    timed = [result.selective for result in results if result.calibration == found.digest]
    known = [one for one in timed if is_number(one.get("seconds")) and is_number(one.get("count")) and one["count"] > 0]
    seconds = [one["seconds"] / one["count"] for one in known]
    return replace(found, seconds=sum(seconds) / len(seconds) if seconds else None)


def _results(evaluations: list[Any], facts: Json, options: Json, place: str, notes: list[str]) -> Iterator[Result]:
    for number, found in enumerate(evaluations):
        try:
            yield _result(found, facts, options)
        except BROKEN as error:
            reason = f"{type(error).__name__}: {error}"
            notes.append(sentence("broken_result", place=place, number=number, error=reason))


def _result(found: Json, facts: Json, options: Json) -> Result:
    found = _of_kinds(found, RESULT_KINDS)
    metrics, packed = found["metrics"], found.get("hits") or {}
    per_rule = found["metrics"].get("per_rule") or {}
    c3, completion = (per_rule.get(name) or {} for name in ("c3", "completion"))
    return Result(
        step=int(found["step"]),
        scores={
            name: _fraction(metrics[name], packed.get(name), name) for name in SCORES if _is_fraction(metrics.get(name))
        },
        numbers={name: _number(metrics[name]) for name in SCORES if _is_number(metrics.get(name))},
        split=found["split"],
        checkpoint=found.get("checkpoint", ""),
        decoding={**(found.get("sampling") or {}), **({"numerics": found["numerics"]} if "numerics" in found else {})},
        is_own=bool(found.get("own_sampling")),
        given_corruption=found.get("given_corruption", 0.0),
        puzzles=_name_of_puzzles(found, facts, options),
        puzzles_per_rule=int(found["puzzles_per_rule"]),
        per_rule={rule: (_fraction(c3[rule]), _fraction(completion[rule])) for rule in completion if rule in c3},
        correlation=_correlation(metrics.get("per_rule_correlation")),
        seconds=found.get("seconds") or {},
        passes=found.get("network_passes_per_puzzle") or {},
        devices=found.get("devices", 1),
        weights=found.get("weights"),
        calibration=found.get("calibration"),
        selective=found.get("certainty") or {},
    )


def _name_of_puzzles(found: Json, facts: Json, options: Json) -> str | None:
    """What tells the puzzles of a result from others; None where the file that they are of is not known by content."""
    rules = json.dumps(found.get("eval_rules", options.get("data.eval_rules")))
    seed = found.get("eval_seed", options.get("data.eval_seed"))
    seed = facts.get("data_seed") if seed is None else seed  # the evaluation's own, before it had one
    given = found.get("eval_source")
    origin = f"file {given}" if given else None if seed is None or options.get("data.eval_source") else str(seed)
    return origin and f"{found['split']} {origin} {rules}"


def _is_fraction(cell: Any) -> bool:
    return isinstance(cell, dict) and bool(cell.get("count")) and "hits" in cell


def _is_number(cell: Any) -> bool:
    value = cell.get("value") if isinstance(cell, dict) and "hits" not in cell else cell
    return is_number(value)


def _fraction(cell: Json, packed: str | None = None, name: str = "") -> Proportion:
    fraction = _checked(int(cell["hits"]), int(cell["count"]), packed)
    return replace(fraction, effective_count=_effective(name, fraction.count, cell.get("effective_count")))


def _effective(name: str, count: int, stated: Any = None) -> float | None:
    """Of a score by this name; where a file does not say, all of a puzzle are taken to be alike."""
    each = OF_A_PUZZLE.get(SCORES[name].counted_over) if name else None
    if each is None:
        return None
    return min(max(stated, count / each), count) if is_number(stated) else count / each


def _checked(hits: int, count: int, packed: str | None = None) -> Proportion:
    if not 0 <= hits <= count or count < 1:
        raise ValueError(f"{hits} hits of {count}")
    outcomes = None if packed is None else unpack_hits(packed)
    if outcomes is not None and (len(outcomes), int(outcomes.sum())) != (count, hits):
        raise ValueError(f"hits of puzzles that do not add up to {hits} of {count}")
    return Proportion(hits, count, outcomes)


def _number(cell: Any) -> Number:
    if not isinstance(cell, dict):
        return Number(cell)
    error = cell.get("standard_error")
    return Number(cell["value"], error if is_number(error) else None, cell.get("kind") == "bound")


def _correlation(cell: Any) -> Json | None:
    return cell if isinstance(cell, dict) and is_number(cell.get("value")) and "count" in cell else None


def _collapse(found: Json) -> dict[str, Json]:
    """What is said of each signal."""
    return {plain(name): signal for name, signal in found.items() if isinstance(signal, dict)}


def _validations(record: Record, summary: Json, notes: list[str]) -> list[Result]:
    """While training, of the curve where that was kept, and the last one of the summary."""
    rows = [(summary.get("step"), summary.get("metrics") or {})]
    try:
        rows += [(int(float(row["step"])), {k: float(v) for k, v in row.items() if v and k}) for row in record.curve]
    except BROKEN:
        notes.append(sentence("broken", place=RunFiles(record.place).curve))
    results = {}
    for step, metrics in reversed(rows):
        scores, numbers = {}, {}
        for metric in SCORES:
            value, count = metrics.get(f"val/{metric}"), metrics.get(f"val_count/{metric}")
            if value is not None and count:
                fraction = _checked(round(value * count), round(count))
                scores[metric] = replace(fraction, effective_count=_effective(metric, fraction.count))
            elif is_number(value) and SCORES[metric].kind == "number":
                numbers[metric] = Number(value)
        if scores and step is not None:
            results[step] = Result(step, scores, numbers, split="val")
    return list(results.values())


def _hours(summary: Json) -> float | None:
    """Of training alone; runs that did not keep it count their validations, too."""
    seconds = summary.get("training_device_seconds", summary.get("device_seconds"))
    return None if seconds is None else _amount(seconds / SECONDS_PER_HOUR)


def _int(value: Any) -> int | None:
    return None if value is None else int(value)


def _whole(value: Any) -> int | None:
    return _int(_amount(value))


def _amount(value: Any) -> Any:
    """``value``, of which there cannot be less than none."""
    if value is not None and not (is_number(value) and value >= 0):
        raise ValueError(f"expected an amount, got {value!r}")
    return value


def _seen(summary: Json) -> float | None:
    """Puzzles of the training that led to its last step."""
    step, batch = summary.get("step"), summary.get("global_batch_size")
    return step * batch if step and batch else summary.get("puzzles")


def _settings(options: Json, facts: Json) -> dict[str, str]:
    """What was set, but for seeds, data and places."""
    done = {**_later(options), **options}
    kept = {name: in_words(value) or "none" for name, value in done.items() if is_setting(name)}
    begun = facts.get("init_from")  # not the path, which repeats have each of their own
    step = begun.get("step") if isinstance(begun, dict) else None
    return kept | ({INIT: sentence("trained_weights", step=step)} if begun or options.get(INIT) else {})


def _later(options: Json) -> Json:
    """What a run did by options that it is too old to have."""
    return {
        f"{name.removesuffix('class_path')}init_args.{option}": value
        for name, class_path in options.items()
        if name.endswith("class_path")
        for option, value in LATER.get(str(class_path), {}).items()
    }


def is_setting(name: str) -> bool:
    """Does the option of this whole name tell recipes apart, rather than runs of one recipe?"""
    return name.startswith(SETTINGS) and not name.startswith(LEFT_OUT)


def _seeds(options: Json, facts: Json) -> Seeds:
    found: Mapping[str, Any] = {name: options.get(option) for name, option in SEEDS.items()}
    noise, data = (facts.get(name) if found[kind] is None else found[kind]
                   for kind, name in (("noise", "seed"), ("data", "data_seed")))  # fmt: skip
    return Seeds(*(seed if is_number(seed) else None for seed in (found["weights"], noise, data)))
