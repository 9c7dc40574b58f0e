"""``evaluation.json``: the scores of one run, for each checkpoint and way of sampling that was asked for."""

import base64
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from genraven.bounded import read_json
from genraven.errors import InputError
from genraven.files import appears_whole
from genraven.locks import adding_to

VERSION = 1
KEY = ("checkpoint", "step", "split", "seed", "puzzles_per_rule", "batch_size", "sampling", "numerics",
       "given_corruption", "calibration", "weights", "eval_source")  # fmt: skip
"""What tells one result from another; all else is its outcome. Weights and evaluation file by digests of what they
hold: a result that does not note them is none of those that are asked for."""
CALIBRATION, SELECTIVE = "calibration", "certainty"
"""Which calibration a result measured, and what it found: beside scores that do not depend on it."""
COMPLETION = "completion_"  # begins the names of settings of completion that follow those of generation


def written_out(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """``sampling`` with what completion has from generation: a ``completion_order`` of null is the ``order``."""
    return {
        name: sampling.get(name.removeprefix(COMPLETION)) if value is None and name.startswith(COMPLETION) else value
        for name, value in sampling.items()
    }


@dataclass(frozen=True)
class Wanted:
    """A result that is asked for."""

    key: Mapping[str, Any]
    """What tells it from others, by the names in ``KEY``; what is not given is None."""
    as_noted: Callable[[Mapping[str, Any]], dict[str, Any]] = dict
    """Makes of the sampling that a result notes, from when there were fewer settings, what it would note today."""
    scores: Collection[str] = ()
    """What has to have been counted: a result from before there was such a score is none of those asked for."""

    def is_met_by(self, result: Mapping[str, Any]) -> bool:
        """Is ``result`` the one?"""
        return result.get(CALIBRATION) == self.key.get(CALIBRATION) and self.has_scores_of(result)

    def has_scores_of(self, result: Mapping[str, Any]) -> bool:
        """Are the scores of ``result`` the ones, whatever calibration it measured beside them?"""
        found = {name: result.get(name) for name in KEY}
        if isinstance(found["sampling"], dict):
            found["sampling"] = self.as_noted(found["sampling"])
        metrics = result.get("metrics")
        is_same = all(found[name] == self.key.get(name) for name in KEY if name != CALIBRATION)
        return is_same and {*self.scores} <= {*(metrics if isinstance(metrics, dict) else ())}


@dataclass(frozen=True)
class Evaluation:
    """The file of one run: ``{"version": 1, "run": facts, "results": [...]}``."""

    path: Path

    def results(self) -> list[dict[str, Any]]:
        """All results so far, oldest first.

        Raises:
            InputError: the file is no evaluation of this version.
        """
        return self._read()["results"]

    def run(self) -> dict[str, Any]:
        """What the run is; empty before the first result."""
        return self._read()["run"]

    def check_owner(self, run: dict[str, Any]) -> None:
        """Raises InputError when the file is of another run, such as one trained on other rules."""
        before = self.run()
        for name, value in run.items():
            if name in before and before[name] != value:
                raise InputError(f"expected {self.path} to be of a run with {name} {_short(value)}, got one with "
                                 f"{_short(before[name])}: give another --out.")  # fmt: skip

    def find(self, wanted: Wanted) -> dict[str, Any] | None:
        """The result that is ``wanted``, where there is one."""
        return next(filter(wanted.is_met_by, self.results()), None)

    def find_scores(self, wanted: Wanted) -> dict[str, Any] | None:
        """The outcome that is ``wanted`` but for a calibration, where there is one: also of a result with another."""
        found = next(filter(wanted.has_scores_of, self.results()), None)
        return found and {name: value for name, value in found.items() if name != SELECTIVE}

    def add(self, run: dict[str, Any], wanted: Wanted, outcome: dict[str, Any]) -> dict[str, Any]:
        """Writes the ``outcome`` of what was ``wanted`` behind the others, one process at a time.

        Returns:
            The result, or what another process has found meanwhile.
        """
        result = {**outcome, **wanted.key}
        with adding_to(self.path):
            self.check_owner(run)
            if (known := self.find(wanted)) is not None:
                return known
            whole = {"version": VERSION, "run": run, "results": [*self.results(), result]}
            with appears_whole(self.path) as temporary:
                temporary.write_text(json.dumps(whole, indent=2) + "\n")
            return result

    def _read(self) -> dict[str, Any]:
        try:
            found = read_json(self.path)
        except FileNotFoundError:
            return {"run": {}, "results": []}
        except (OSError, ValueError) as error:
            raise self._refusal(str(error)) from None
        if not isinstance(found, dict) or found.get("version") != VERSION:
            raise self._refusal("another format")
        if not isinstance(found.get("run"), dict) or not isinstance(found.get("results"), list):
            raise self._refusal("no results in it")
        return found

    def _refusal(self, reason: str) -> InputError:
        return InputError(f"expected an evaluation of version {VERSION} in {self.path}, got {reason}: move it away, or "
                          "give another --out.")  # fmt: skip


def pack_hits(hits: ArrayLike) -> str:
    """Hits (N,) of 0 and 1, one for each puzzle, as ``N:`` and the base64 of their bits, the first the highest.

    Completed puzzles stand in the order of the evaluation set, by rule and index, so that runs with one ``eval_seed``
    and as many puzzles can be compared puzzle by puzzle; generated ones in the order in which they were drawn.
    """
    flags = np.asarray(hits, bool)
    return f"{len(flags)}:{base64.b64encode(np.packbits(flags).tobytes()).decode()}"


def unpack_hits(text: str) -> NDArray[np.bool_]:
    """What ``pack_hits`` was given.

    Raises:
        ValueError: something else.
    """
    number, _, code = text.partition(":")
    bits = np.frombuffer(base64.b64decode(code, validate=True), np.uint8)
    count = int(number)
    if len(bits) != (count + 7) // 8:
        raise ValueError(f"expected {count} bits, got {len(bits)} bytes")
    return np.unpackbits(bits, count=count).astype(bool)


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
