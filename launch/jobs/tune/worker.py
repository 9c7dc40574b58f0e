"""One of any number of processes that work on a search: it looks what is to be trained, trains it, and looks again."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from genraven.errors import InputError
from genraven.progress import part
from genraven.run_folder import JobFiles, sweep_start
from launch.jobs.at_work import RunsAtWork
from launch.jobs.local_queue import run_queue
from launch.jobs.tune.halving import Stage, Standing, standing
from launch.jobs.tune.search import Family, Search
from launch.jobs.tune.storage import Memory, has_failed
from launch.jobs.tune.trials import Plan, plan, scores, trial_folder, write_config
from launch.runs.freeze import exclusive, freeze_code
from launch.runs.status import read_status

POLL_S = 2.0
MAX_STARTS = 2
"""Of a trial that gets no further, then it has failed: one may have been lost to another process, or to its end."""


@dataclass
class Worker:
    """Works on a search in a folder."""

    search: Search
    out: Path
    memory: Memory
    resolver: Any
    num_at_once: int
    _plans: dict[tuple[str, int], Plan] = field(default_factory=dict)
    _starts: Counter[tuple[Path, int]] = field(default_factory=Counter)
    """How often this process has started a trial with so many rungs behind it."""

    def work(self) -> None:
        """Until nothing is left to train, by anybody."""
        code = None
        while True:
            waiting, at_work = self.look()
            if not waiting and not at_work:
                return
            with part(self._num_passed() + 1, self._num_rungs(), "tune"):
                if not waiting:
                    _wait(at_work)
                    continue
                code = code or self._freeze()
                started = {self._prepare(family, stage): stage.rung for family, stage in waiting[: self.num_at_once]}
                run_queue(list(started), code, self.num_at_once)
            self._starts.update(started.items())

    def _num_rungs(self) -> int:
        """That all trials pass together, if none fails."""
        budget = self.search.budget
        return len(self.search.families) * budget.trials // budget.at_once * sum(budget.rung_sizes())

    def _num_passed(self) -> int:
        """How many of these passed."""
        trials = [trial for family in self.search.families for trial in self.memory.trials(family)]
        return sum(len(trial.intermediate_values) for trial in trials)

    def _freeze(self) -> Path:
        with exclusive(sweep_start(self.out, time.strftime("%Y%m%d-%H%M%S"))) as folder:
            freeze_code(folder)
        return JobFiles(folder).code

    def _prepare(self, family: Family, stage: Stage) -> Path:
        folder = trial_folder(self.out, family, stage.trial)
        write_config(folder, self._plans[family.name, stage.trial].stage(stage.rung))
        return folder

    def look(self) -> tuple[list[tuple[Family, Stage]], list[Path]]:
        """What nobody trains yet, families in turn, and the runs that somebody does. New trials are suggested here."""
        waiting: list[list[tuple[Family, Stage]]] = []
        at_work: list[Path] = []
        with self.memory.alone():
            for family in self.search.families:
                ready = self._ready(family)
                busy = [stage for stage in ready if self._is_busy(family, stage)]
                at_work += [trial_folder(self.out, family, stage.trial) for stage in busy]
                waiting.append([(family, stage) for stage in ready if stage not in busy])
        longest = max(map(len, waiting))
        return [one[i] for i in range(longest) for one in waiting if i < len(one)], at_work

    def _ready(self, family: Family) -> tuple[Stage, ...]:
        budget = self.search.budget
        for first in range(0, budget.trials, budget.at_once):
            while len(self.memory.trials(family)) < first + budget.at_once:
                self.memory.suggest(family)
            found = self.standing(family, range(first, first + budget.at_once))
            if found.ready:
                return found.ready
        return ()

    def standing(self, family: Family, together: Sequence[int]) -> Standing:
        """Of trials that are halved together; what has ended is noted."""
        trials = self.memory.trials(family)
        found, failed = dict[int, list[float]](), dict[int, str]()
        for number in together:
            trial, folder = trials[number], trial_folder(self.out, family, number)
            if has_failed(trial):
                failed[number] = ""
                continue
            try:
                steps = self.plan_of(family, number, trial.params).steps
            except InputError as error:
                failed[number] = str(error)
                continue
            found[number] = scores(folder, self.search.metric, steps)
            self.memory.note(family, trial, dict(zip(steps, found[number], strict=False)))
            if num_starts := self._starts[folder, len(found[number])]:
                status = read_status(folder, {})
                has_passed = status.summary.get("step", 0) >= steps[min(len(found[number]), len(steps) - 1)]
                if has_passed and len(found[number]) < len(steps) and not status.is_busy:
                    failed[number] = f"its curve has no {self.search.metric}"
                elif num_starts >= MAX_STARTS and not status.is_busy:
                    failed[number] = status.message or status.state
        for number, why in failed.items():
            self.memory.end(family, number, None, is_whole=False, reason=why)
        stands = standing(list(together), self.search.budget.rung_sizes(), found, set(failed), is_up=self.search.is_up)
        for number in stands.dropped:
            self.memory.end(family, number, found[number][-1], is_whole=False)
        for number in stands.finished:
            self.memory.end(family, number, found[number][-1], is_whole=True)
        return stands

    def plan_of(self, family: Family, number: int, values: Mapping[str, Any]) -> Plan:
        """How long a trial of these values trains; raises InputError where it cannot."""
        key = family.name, number
        if key not in self._plans:
            folder = trial_folder(self.out, family, number)
            self._plans[key] = plan(self.resolver, self.search, family, values, folder)
        return self._plans[key]

    def _is_busy(self, family: Family, stage: Stage) -> bool:
        return read_status(trial_folder(self.out, family, stage.trial), {}).is_busy


def _wait(at_work: Sequence[Path]) -> None:
    """Until one of the runs that others train has ended."""
    with RunsAtWork(at_work) as shown:
        while all(read_status(folder, {}).is_busy for folder in at_work):
            shown.renew(at_work)
            time.sleep(POLL_S)
