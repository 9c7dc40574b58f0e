"""The search's memory: Optuna's journal, a file in its folder, which any number of processes read and add to.

It needs Optuna, which is optional: this module is imported by those who have it.
"""

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from genraven.errors import InputError, shown
from genraven.files import writable_folder
from genraven.locks import adding_to
from launch.configs.changes import whole_names
from launch.jobs.tune.search import Family, Range, Search

JOURNAL = "optuna.journal"
CONTENT, CONFIG, REASON = "search", "config", "reason"
COMPARED = 10
"""Finished trials at least that the picture of importance is drawn of: it compares their best tenth with all."""


class Lock:
    """Ours, which ends with the process that holds it: Optuna's own stays behind where one is killed.

    Args:
        journal: the file that is locked.
    """

    def __init__(self, journal: Path) -> None:
        self._journal, self._stack = journal, ExitStack()

    def acquire(self) -> bool:
        """Waits for it. Half a line at the end is of a process that was killed, or had no room: nobody has read it."""
        self._stack.enter_context(adding_to(self._journal))
        with suppress(FileNotFoundError), self._journal.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            if file.read(1) not in (b"", b"\n"):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Gives it back."""
        self._stack.pop_all().close()


class Journal(JournalFileBackend):
    """Optuna's, which says in one line that there is no room."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds to it."""
        try:
            super().append_logs(logs)
        except OSError as error:
            raise InputError(f"expected a search's journal that can be written, got {self._file_path} "
                             f"({error.strerror}): make room, then the same command goes on.") from None  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """One of Optuna's pictures."""

    name: str
    least: int
    """Finished trials that it needs."""
    axes: Callable[[], Any]
    """Draws the picture and gives its axes."""


class Memory:
    """What is known of all trials.

    Args:
        folder: of the search, made where it is missing.
        search: whose memory it is.
        configs: of each family by its name, resolved, without what is searched.

    Raises:
        InputError: another search's stands there, or nothing can be written there.
    """

    def __init__(self, folder: Path, search: Search, configs: Mapping[str, Mapping[str, Any]] = {}) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self._place, self._search, self._configs = writable_folder(folder, "another --out") / JOURNAL, search, configs
        try:
            lock: Any = Lock(self._place)
            self._storage = JournalStorage(Journal(str(self._place), lock_obj=lock))
            with self.alone():
                self._studies = {family.name: self._study(family) for family in search.families}
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, json.JSONDecodeError) as error:
            raise InputError(f"expected the journal of a search in {self._place}, got what cannot be read "
                             f"({type(error).__name__}): move it away.") from None  # fmt: skip

    def _study(self, family: Family) -> optuna.Study:
        way: Literal["maximize", "minimize"] = "maximize" if self._search.is_up else "minimize"
        content = json.dumps(self._search.content, sort_keys=True)
        study = optuna.create_study(study_name=family.name, storage=self._storage, direction=way, load_if_exists=True)
        if study.user_attrs.get(CONTENT, content) != content:
            raise InputError(f"expected {self._place} to be of this search, got one of other ranges or another budget: "
                             "choose another --out, or the file that it was begun with.")  # fmt: skip
        study.set_user_attr(CONTENT, content)
        if (config := self._configs.get(family.name)) is not None:
            before, now = study.user_attrs.get(CONFIG, config), json.loads(json.dumps(config))
            if changed := _first_change(before, now):
                raise InputError(f"expected the configs of {family.name} as they were when the search in {self._place} "
                                 f"began, got {changed}: restore them, or choose another --out.")  # fmt: skip
            study.set_user_attr(CONFIG, now)
        return study

    @contextmanager
    def alone(self) -> Any:
        """Within the block no other process suggests or decides."""
        with adding_to(self._place.with_name("deciding")):
            yield

    def trials(self, family: Family) -> list[FrozenTrial]:
        """All that were suggested, by number."""
        return self._studies[family.name].get_trials(deepcopy=False)

    def suggest(self, family: Family) -> FrozenTrial:
        """One more, from what is known of those that have ended; the draws depend on its number alone.

        Optuna suggests it in memory, value by value. The journal gets it whole, in one record: wherever this process
        is killed, no trial of it lacks a value.
        """
        study, trials = self._studies[family.name], self.trials(family)
        sampler = optuna.samplers.TPESampler(seed=len(trials), n_startup_trials=1, multivariate=True)
        draft = optuna.create_study(direction=study.direction, sampler=sampler)
        draft.add_trials(trials)
        draft.ask({name: _distribution(values) for name, values in family.ranges.items()})
        id_ = self._storage.get_study_id_from_name(family.name)
        self._storage.create_new_trial(id_, template_trial=draft.trials[-1])
        return self.trials(family)[-1]

    def note(self, family: Family, trial: FrozenTrial, scores: Mapping[int, float]) -> None:
        """Adds scores by step."""
        for step, score in scores.items():
            if step not in trial.intermediate_values:
                self._storage.set_trial_intermediate_value(self._id(family, trial.number), step, score)

    def end(self, family: Family, number: int, score: float | None, *, is_whole: bool, reason: str = "") -> None:
        """A trial's last word, once: it reached the last rung, was dropped, or failed without a ``score``."""
        study = self._studies[family.name]
        trial = self.trials(family)[number]
        if trial.state.is_finished():
            return
        if reason:
            self._storage.set_trial_user_attr(self._id(family, number), REASON, reason)
        state = TrialState.FAIL if score is None else TrialState.COMPLETE if is_whole else TrialState.PRUNED
        study.tell(number, score if is_whole else None, state=state)

    def _id(self, family: Family, number: int) -> int:
        study = self._storage.get_study_id_from_name(family.name)
        return self._storage.get_trial_id_from_study_id_trial_number(study, number)

    def pictures(self, family: Family) -> Sequence[Picture]:
        """Optuna's pictures of a family."""
        from optuna.importance import PedAnovaImportanceEvaluator
        from optuna.visualization.matplotlib import plot_optimization_history, plot_param_importances

        study = self._studies[family.name]
        return (
            Picture("history", 1, lambda: plot_optimization_history(study)),
            Picture("importance", COMPARED,
                    lambda: plot_param_importances(study, evaluator=PedAnovaImportanceEvaluator())),
        )  # fmt: skip


def _first_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first option that two configs have with different values; empty where there is none.

    Options that one of them lacks are those of another version of genraven or of Lightning.
    """
    old, new = whole_names(before), whole_names(now)
    names = (name for name in old if name in new and old[name] != new[name])
    return next((f"another {name}, {shown(new[name])} instead of {shown(old[name])}" for name in names), "")


def reason(trial: FrozenTrial) -> str:
    """Why it failed; empty where it did not, or nobody said."""
    return str(trial.user_attrs.get(REASON, ""))


def has_failed(trial: FrozenTrial) -> bool:
    """Does nobody try it again?"""
    return bool(trial.state == TrialState.FAIL)


def draw(picture: Picture, path: Path) -> bool:
    """Draws one of Optuna's pictures; False where there is nothing to draw."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    with suppress(ValueError, RuntimeError, ZeroDivisionError):
        axes = picture.axes()
        axes.figure.savefig(path, dpi=120, bbox_inches="tight")
        plt.close(axes.figure)
        return True
    return False


def _distribution(values: Range) -> Any:
    if values.choices:
        return CategoricalDistribution(values.choices)
    if values.is_whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)
