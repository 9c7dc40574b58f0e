"""The layout of a run folder: what stands where, and which names in it are ours. Imports nothing heavy."""

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from genraven import bounded
from genraven.escaping import plain

BEST = "best.ckpt"
"""The checkpoint of the best validation; evaluations note it by this name, too."""
CHECKPOINT = ".ckpt"
STUDY_TABLES = ("runs.jsonl", "outcomes.jsonl", "curves.csv")
"""Where finished runs are kept, many in each."""
STEP = re.compile(r"step-(\d{8,})\.ckpt")
STEP_NAMES = "step-########.ckpt"  # for a reader
STEP_PATTERN = r"step-[0-9]+\.ckpt"  # for a shell
LOGS = "*.out"


class JobFiles:
    """What stands where in the folder of a job: ``job`` of a run folder, or that of one start of a sweep.

    Args:
        folder: of the job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        """Frozen: what a run is started with. A sweep has none."""
        self.script = folder / "job.sbatch"
        self.note = folder / "spec.json"
        """Which job, or process, it was last started as."""
        self.commit = folder / "commit.txt"
        self.diff = folder / "diff.patch"
        self.code = folder / "code"
        """Frozen with its commit and what was changed since; of a sweep once for all its runs."""
        self.run_list = folder / "runs.txt"
        """Of a sweep: the folders of the runs that it started, one a line."""
        self.refusal = folder / "refused.txt"
        """Where a process that is refused leaves its reason."""
        self.local_log = folder / "local.out"

    def log(self, scheduler: str, job: str) -> Path:
        """What ``job`` of the scheduler of that name prints; either may hold the placeholders of a script."""
        return self.folder / f"{scheduler}-{job}.out"

    def logs(self) -> list[Path]:
        """All that was printed, in no order."""
        return list(self.folder.glob(LOGS))

    def owns(self, name: str) -> bool:
        """Is ``name`` that of a file or folder here which genraven writes?"""
        return fnmatch(name, LOGS) or self.folder / name in vars(self).values()


class RunFiles:
    """What stands where in a run folder: nothing else says its names.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        """As it was resolved at the last start."""
        self.summary = folder / "summary.json"
        self.curve = folder / "curve.csv"
        self.logger_ids = folder / "loggers.json"
        self.lock = folder / "run.lock"
        self.checkpoints = folder / "checkpoints"
        self.best = self.checkpoints / BEST
        self.tensorboard = folder / "tensorboard"
        self.evaluation = folder / "evaluation.json"
        self.calibration = folder / "calibration.json"
        self.probe = folder / "probe.json"
        self.export = folder / "export"
        self.job = JobFiles(folder / "job")
        """Of a run that was submitted, or is of a sweep."""


def sweep_start(folder: Path, name: str) -> Path:
    """The folder of the start ``name`` of the sweep in ``folder``, as of a job."""
    return folder / "jobs" / name


def event_files(tensorboard: Path) -> list[Path]:
    """Files for TensorBoard in its folder of a run, by name."""
    return sorted(tensorboard.glob("events.*"))


def step_name(step: int) -> str:
    """The file name of the checkpoint of ``step``."""
    return f"step-{step:08d}.ckpt"


def step_of(path: Path) -> int | None:
    """The step of a checkpoint by its name; None for any other file, such as a copy that somebody keeps."""
    match = STEP.fullmatch(path.name)
    return int(match[1]) if match and step_name(int(match[1])) == path.name else None


def step_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints in ``folder`` that a run wrote as it went, by step, the newest first."""
    found = {step: path for path in folder.glob("step-*.ckpt") if (step := step_of(path)) is not None}
    return dict(sorted(found.items(), reverse=True))


def torn_name(path: Path) -> Path:
    """Where a checkpoint is put aside that turned out to be broken."""
    return path.with_name(f"{path.name}.torn")


def is_run(folder: Path) -> bool:
    """Is ``folder`` that of a run, started or not?"""
    files = RunFiles(folder)
    return files.summary.exists() or files.job.config.exists() or files.checkpoints.is_dir()


def has_begun(folder: Path) -> bool:
    """Does ``folder`` hold what a run writes once it trains or is scored, whether or not all of a run is there?"""
    files = RunFiles(folder)
    return any(path.exists() for path in (files.curve, files.evaluation)) or bool(step_checkpoints(files.checkpoints))


def home(checkpoint: Path) -> Path:
    """The run folder of a checkpoint; where it stands in none, as exported weights do, its own folder."""
    folder = checkpoint.absolute().parent
    return folder.parent if folder == RunFiles(folder.parent).checkpoints else folder


def read_json(path: Path) -> dict[str, Any]:
    """The object in ``path``; empty where there is none that can be read."""
    try:
        found = bounded.read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


_MOST = 2**63  # below which numbers are; NaN is below nothing
JOB_ID = re.compile(r"\w[\w.@\[\]-]{,99}", re.ASCII)  # of any scheduler; no option, path or shell's word
Kind = Literal["text", "texts", "number", "numbers", "object"]
"""Of a value in a small file: lists of texts, objects whose values are finite numbers, any other object."""
SUMMARY_KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("state", "reason", "family", "architecture", "network", "device", "stopped"), "text"),
    **dict.fromkeys(("data_source", "eval_source", "prior"), "text"),
    "updated": "text", "process": "object",
    **dict.fromkeys(("trained", "held_out", "eval_rules"), "texts"),
    **dict.fromkeys(("step", "max_steps", "parameters", "samples_per_rule", "examples_per_rule"), "number"),
    **dict.fromkeys(("seed", "data_seed", "eval_seed", "global_batch_size", "puzzles", "puzzles_per_s"), "number"),
    **dict.fromkeys(("flops", "time_left_s", "price_per_device_hour", "wall_seconds", "device_seconds"), "number"),
    "training_device_seconds": "number",
    "metrics": "numbers", "collapse": "object", "init_from": "object",
}  # fmt: skip
NOTE_KINDS: Mapping[str, Kind] = {"job": "text", "host": "text", "pid": "number", "began": "text"}


def of_kinds(found: Mapping[str, Any], kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """What of ``found`` is of its kind, texts in plain characters; entries that ``kinds`` lacks as they are."""
    kept = {
        name: value if (kind := kinds.get(name)) is None else _of_kind(value, kind) for name, value in found.items()
    }
    return {name: value for name, value in kept.items() if value is not None}


def _of_kind(value: Any, kind: Kind) -> Any:
    match kind:
        case "text":
            return plain(value) if isinstance(value, str) else None
        case "texts":
            are_texts = isinstance(value, list) and all(isinstance(text, str) for text in value)
            return [plain(text) for text in value] if are_texts else None
        case "number":
            return value if is_number(value) else None
        case "numbers":
            if not isinstance(value, dict):
                return None
            return {plain(name): number for name, number in value.items() if is_number(number)}
        case "object":
            return value if isinstance(value, dict) else None


def is_number(value: Any) -> bool:
    """Is ``value`` a finite number, not a truth value?"""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _MOST


def read_summary(run: Path) -> dict[str, Any]:
    """What ``summary.json`` of a run folder says, as far as it is what a run writes."""
    return of_kinds(read_json(RunFiles(run).summary), SUMMARY_KINDS)


def read_note(run: Path) -> dict[str, Any]:
    """What a submission or a sweep noted in a run folder: ``job``, or ``pid`` and ``host``."""
    note = of_kinds(read_json(RunFiles(run).job.note), NOTE_KINDS)
    return note if JOB_ID.fullmatch(note.get("job", "0")) else {name: note[name] for name in note if name != "job"}
