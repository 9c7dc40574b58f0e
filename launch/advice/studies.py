"""The evidence that an answer rests on: studies that ship with genraven, and folders that a user adds."""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from genraven.errors import InputError, setting
from genraven.networks.prior import Prior
from genraven.report.dataset import CLEAN, CORRUPTION, HELD_OUT, TRAINED_ON, rules_of
from genraven.report.question import Evidence, Question, gather
from genraven.report.runs import INIT, Run
from genraven.report.study import SHIPPED, read_study
from launch.runs.reading import read_runs
from launch.runs.status import find_studies, runs_and_studies


@dataclass(frozen=True)
class Body:
    """Finished runs that may be compared: of one study, one data set and one prior. None of them began elsewhere."""

    study: str
    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        """A run of it, for what all have in common."""
        return self.runs[0]

    @property
    def num_rules(self) -> int | None:
        """How many rules were trained."""
        return self.first.num_rules

    @property
    def held_out(self) -> frozenset[str]:
        """Names of the rules that were scored and not trained."""
        return rules_of(self.first.dataset, HELD_OUT)

    def is_of(self, rules: frozenset[str] | None) -> bool:
        """Are these the rules that were trained, or those with the ones held out?"""
        trained = rules_of(self.first.dataset, TRAINED_ON)
        return bool(rules) and rules in (trained, trained | self.held_out)

    @property
    def prior(self) -> Prior:
        """The prior of its networks."""
        return self.first.prior

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """What bodies that may be compared have in common."""
        return _key(self.first)

    def put(self, question: Question) -> "Put":
        """A question put to it."""
        asked = question.of(self.runs)
        return Put(self, gather(self.runs, asked))


@dataclass(frozen=True)
class Put:
    """A body of evidence to which a question was put."""

    body: Body
    evidence: Evidence

    @cached_property
    def sizes(self) -> list[int]:
        """Numbers of examples per rule at which all its families have the score; empty where it has one family."""
        names, fields = self.evidence.names, self.evidence.fields
        return [size for size, field in fields.items() if len(names) > 1 and all(name in field for name in names)]

    def covers(self, examples: int) -> bool:
        """Were both families measured with as many examples per rule, or on both sides of that?"""
        return bool(self.sizes) and bool(self.evidence.around(examples))

    def is_tuned(self, size: int) -> bool:
        """Are all families at this number of examples per rule what searches of one budget found?"""
        first, *others = (choice.point.first.tuning for choice in self.evidence.fields[size].values())
        return bool(first) and all(tuning == first for tuning in others)


@functools.cache
def shipped() -> tuple[Body, ...]:
    """The bodies of evidence of all studies that ship with genraven."""
    return tuple(body for study in find_studies(SHIPPED) for body in bodies_of(study.name, _of_study(study)))


def _of_study(folder: Path) -> list[Run]:
    return _named(read_runs({}, read_study(folder))[0], folder.name)


def _named(runs: Iterable[Run], study: str) -> list[Run]:
    """By their study and their names in it."""
    return [replace(run, name=f"{study}/{run.name}") for run in runs]


def own_runs(folder: Path, option: str = "", name: str = "") -> list[Run]:
    """The runs of a user's folder, which holds run folders, studies or both.

    Args:
        folder: as it was given.
        option: by which; that of evidence where none is given.
        name: of what they are, other than that of all other evidence; that of the folder where none is given.

    Raises:
        InputError: it holds no finished run with scores, or a table that is broken or of another version.
    """
    folders, kept = runs_and_studies(folder)
    runs = [run for run in _named(read_runs(folders, kept)[0], name or folder.name) if run.is_evidence]
    if not runs:
        raise InputError(f"expected {option or setting('evidence')} to hold finished runs with scores, got none in "
                         f"{folder}: run `genraven evaluate {folder}` first.")  # fmt: skip
    return runs


def not_shipped(runs: Iterable[Run]) -> list[Run]:
    """Those of ``runs`` that no study has which ships with genraven: what is known counts once."""
    known = [replace(run, name="") for body in shipped() for run in body.runs]
    return [run for run in runs if replace(run, name="") not in known]


def with_own(bodies: Sequence[Body], own: Iterable[Run], name: str) -> list[Body]:
    """``bodies`` with a user's runs: each body is joined by those of its data set and prior; others are new bodies."""
    added = bodies_of(name, own)
    of_contest = {body.key: body.runs for body in added}
    joined = [Body(body.study, (*body.runs, *of_contest.get(body.key, ()))) for body in bodies]
    known = {body.key for body in bodies}
    return joined + [body for body in added if body.key not in known]


def bodies_of(study: str, runs: Iterable[Run]) -> list[Body]:
    """Of one data set and prior each: of whole data, as the user's are taken to be, and of trainings from nothing."""
    found: dict[object, list[Run]] = {}
    for run in runs:
        if run.is_evidence and run.dataset.get(CORRUPTION, CLEAN) == CLEAN and INIT not in run.settings:
            found.setdefault(_key(run), []).append(run)
    return [Body(study, tuple(group)) for group in found.values()]


def _key(run: Run) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(run.contest.items()))
