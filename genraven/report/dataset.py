"""What a run learned from and is asked: what tells data sets apart, however their options are spelt."""

from collections.abc import Iterator, Mapping
from typing import Any

from genraven.errors import InputError
from genraven.escaping import plain
from genraven.puzzles.spec import NUM_STUDY_RULES, RULES, resolve_rules, split_rules
from genraven.report.runs import Json
from genraven.run_folder import is_number

CORRUPTION, CLEAN = "corruption", "none"  # of a data set, and its word where nothing was corrupted
TRAINED_ON, HELD_OUT, NONE = "trained_on", "held_out", "none"  # names of rules, and the word where there are none
RULES_ASKED, FILE_ASKED = "evaluated_on", "evaluation_file"


def dataset_of(options: Json, facts: Json, evaluations: list[Any]) -> dict[str, str]:
    """What is learned and asked, by names of which the template has the words; what is not known is absent.

    Args:
        options: of the config, by their whole names.
        facts: of summary.json and evaluation.json.
        evaluations: of the run, oldest first: of their files the newest counts.
    """
    asked = next((r["eval_rules"] for r in evaluations if isinstance(r, dict) and r.get("eval_rules")), None)
    trained, held_out = _learned(options, facts)
    digest = facts.get("data_source") or options.get("data.source_sha256")  # a file may lie in several places
    file = next((r["eval_source"] for r in reversed(evaluations) if isinstance(r, dict) and r.get("eval_source")), None)
    known = {
        TRAINED_ON: trained,
        HELD_OUT: held_out,
        RULES_ASKED: _rule_names(asked or options.get("data.eval_rules")),
        FILE_ASKED: file or facts.get("eval_source") or options.get("data.eval_source"),
        "source": None if digest else options.get("data.source"),
        "digest_of_source": digest,
    }
    corruption = {
        name.removeprefix("data.corruption."): value
        for name, value in sorted(options.items())
        if name.startswith("data.corruption.") and value
    }
    words = {name: in_words(value) or NONE for name, value in known.items() if value is not None}
    return words | ({CORRUPTION: in_words(corruption) or CLEAN} if options else {})


def rules_of(dataset: Mapping[str, str], word: str) -> frozenset[str]:
    """The rules that a data set names under ``word``."""
    names = dataset.get(word, NONE)
    return frozenset() if names == NONE else frozenset(names.split(", "))


def asks(found: Any, dataset: Mapping[str, str], options: Json) -> bool:
    """Is a result of the evaluation rules and the evaluation file of ``dataset``?

    So is one that does not say of which rules; one that does not say what its file held is of the path alone.
    """
    recorded = found if isinstance(found, dict) else {}
    rules, file = recorded.get("eval_rules"), recorded.get("eval_source") or options.get("data.eval_source")
    of_rules = not rules or in_words(_rule_names(rules)) == dataset.get(RULES_ASKED)
    return of_rules and (not file or str(file) == dataset.get(FILE_ASKED))


def is_stream(options: Json, facts: Json) -> bool:
    """Was every puzzle a new one: neither a number of them was asked for, nor a file?"""
    name = "data.samples_per_rule"
    known = facts.get("samples_per_rule") or facts.get("data_source") or options.get("data.source")
    return name in options and not (options[name] or known)


def examples_per_rule(options: Json, facts: Json, of_stream: float | None) -> int | None:
    """As many as were asked for, else as a whole file holds, or as a stream gave; None where that is not known.

    Raises:
        ValueError: something else stands there.
    """
    asked = facts.get("samples_per_rule") or options.get("data.samples_per_rule")
    found = asked or facts.get("examples_per_rule") or of_stream
    if found is not None and not (is_number(found) and found >= 0):
        raise ValueError(f"expected a number of examples, got {found!r}")
    return None if found is None else round(found)


def _learned(options: Json, facts: Json) -> tuple[Any, Any]:
    """Rules trained on and held out, by name: of the config, which runs that were never started have, too.

    Rules beside the study's count where the run noted them: ``all`` was fewer before they were added.
    """
    rules, held_out = options.get("data.rules"), options.get("data.held_out")
    if rules is None:
        return facts.get("trained"), facts.get("held_out")
    try:
        learned = split_rules(rules, held_out or "none")
    except (InputError, TypeError, ValueError):
        return rules, held_out
    noted = (facts.get("trained"), facts.get("held_out"))
    trained, apart = (
        [
            RULES[rule].name
            for rule in ids
            if rule < NUM_STUDY_RULES or not isinstance(names, list) or RULES[rule].name in names
        ]
        for ids, names in zip(learned, noted, strict=True)
    )
    return trained, apart


def _rule_names(rules: Any) -> Any:
    """One name for each selection, however it was spelt."""
    try:
        return None if rules is None else [RULES[rule].name for rule in resolve_rules(rules)]
    except (InputError, TypeError, ValueError):
        return rules


def in_words(value: Any) -> str:
    """A setting; empty where it is none."""
    if isinstance(value, Mapping):
        return plain(", ".join(f"{key} {in_words(one)}" for key, one in value.items()))
    if isinstance(value, list | tuple):
        return plain(", ".join(map(str, value)))
    return "" if value is None else plain(value)


def flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested settings under names such as ``model.init_args.network.init_args.width``."""
    if isinstance(tree, dict) and tree:
        for key, value in tree.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree
