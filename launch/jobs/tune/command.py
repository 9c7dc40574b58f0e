"""``genraven tune``: a search from its file to its result."""

import argparse
import importlib.util
from pathlib import Path

from genraven.bounded import parse_json, read_text
from genraven.console import say
from genraven.errors import InputError, at_least
from genraven.report.study import SHIPPED
from genraven.run_folder import STUDY_TABLES
from launch.configs.shipped import find_config
from launch.jobs.tune.search import Search, read_search


def tune(options: argparse.Namespace) -> None:
    """Searches until all is done, or what is left is at work elsewhere; then writes the result."""
    path = Path(find_config(options.search))
    search = read_search(path)
    at_least(1, local=options.local)
    check_seeds(search)
    if importlib.util.find_spec("optuna") is None:
        raise InputError("expected Optuna, which searches, got a Python without it: pip install 'genraven[tune]'.")
    out = (options.out or Path("runs") / f"tune-{path.stem}").absolute()

    from launch.jobs.tune.result import write_result
    from launch.jobs.tune.storage import Memory
    from launch.jobs.tune.trials import check_ranges
    from launch.jobs.tune.worker import Worker
    from launch.trained.precision import slow_precisions
    from launch.training.resolve import Resolver

    resolver = Resolver(list(search.families[0].arguments))
    configs = {family.name: resolver.resolve(list(family.arguments), search.score) for family in search.families}
    batches = {family.name: int(configs[family.name]["data"]["global_batch_size"]) for family in search.families}
    for family in search.families:  # refused before anything is written
        search.budget.steps(batches[family.name])
        check_ranges(resolver, search, family, out)
    search.budget.check_batches(set[int]().union(*(one.batches(batches[one.name]) for one in search.families)))
    for line in slow_precisions(list(configs.values()), path):
        say(line, error=True)
    worker = Worker(search, out, Memory(out, search, configs), resolver, options.local)
    worker.work()
    write_result(worker, say)


def check_seeds(search: Search, studies: Path = SHIPPED) -> None:
    """Raises InputError where a study that ships with genraven was trained, or scored, on the search's puzzles."""
    for table in sorted(studies.glob(f"*/{STUDY_TABLES[0]}")):
        for line in read_text(table).splitlines():
            data = (parse_json(line).get("config") or {}).get("data") or {}
            for name, option in (("data", "seed"), ("evaluation", "eval_seed")):
                used = data.get(option, data.get("seed"))
                if used == search.seeds[name]:
                    raise InputError(f"expected a seeds.{name} that no shipped study has, got {search.seeds[name]}, "
                                     f"which {table.parent.name} has: choose another.")  # fmt: skip
