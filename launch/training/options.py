"""Options of the training commands beside Lightning's: what they are, and what is refused of all of them."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BatchSizeFinder, GradientAccumulationScheduler, LearningRateFinder
from lightning.pytorch.cli import LightningArgumentParser

from datamodules import GenRAVENDataModule
from datamodules.sources import can_have_missing, content_digest
from genraven.errors import InputError, shown, suggestion
from genraven.formats.read import open_puzzles
from genraven.metrics.table import A_LIKELIHOOD, OF_HELD_OUT, OF_TRAINED, SCORES, TRAINING_SET, comparable
from genraven.networks.compiling import Compilation
from genraven.networks.prior import Prior
from genraven.paths import user_path
from genraven.puzzles.corrupt import Corruption
from genraven.run_folder import BEST
from launch.training.monitoring import MONITORING
from lightning_modules import PuzzleModule
from lightning_modules.lightning_internals import starts_copies, writes_folders

PATHS = ("run_dir", "init_from", "ckpt_path", "data.source", "data.eval_source", "data.cache_dir")
READS_UNKNOWN = "model.init_args.network.init_args.reads_unknown"
INPUT_MASKING = "model.init_args.method.init_args.input_masking"
OF_IDENTITY = ("init_from", "ckpt_path", "data.source", "data.eval_source")
"""Those that have to mean the same from another folder."""
FINDERS = {
    LearningRateFinder: "--model.optimizer.lr",
    BatchSizeFinder: "--data.global_batch_size and --max_batch_per_device",
}
NEEDS = {"data.source_split": "data.source", "data.source_sha256": "data.source"}
"""Options that have an effect only with another."""
FROM_1 = (
    "checkpoint_every_n_steps", "max_batch_per_device", "timeout_s", "trainer.accumulate_grad_batches",
    "trainer.check_val_every_n_epoch",
)  # fmt: skip
MOST_SEED = 2**32 - 1


def add_options(parser: LightningArgumentParser) -> None:
    """Adds what a run folder, its devices and those that watch it need."""
    parser.add_argument("--run_dir", type=str | None, default=None, help="Folder of the run; default: "
                        "runs/<network>-<time>.")  # fmt: skip
    parser.add_argument("--init_from", "--init-from", type=str | None, default=None, help="Run folder, checkpoint "
                        "or exported model to begin with the (averaged) weights of, at step 0.")  # fmt: skip
    parser.add_argument("--checkpoint_every_n_steps", type=int, default=1000, help="Steps between checkpoints.")
    parser.add_argument("--best_by", type=str, default="completion", help="Score of the validation puzzles by which "
                        f"{BEST} is chosen, that of what the model is for: {', '.join(comparable())}.")  # fmt: skip
    parser.add_argument("--max_batch_per_device", type=int | None, default=None, help="Puzzles that fit on a device"
                        " at once: as few batches as that allows are accumulated; null accumulates none. "
                        "trainer.accumulate_grad_batches above 1 sets them by hand.")  # fmt: skip
    parser.add_argument("--compile", type=bool | Compilation | None, default=None, help="What of a training is one "
                        "compiled graph: each block, the whole network, or graph: forward, loss and backward as one "
                        "CUDA graph; true is blocks, false none; null is blocks on GPUs, where it soon "
                        "pays, and none on CPUs.")  # fmt: skip
    parser.add_argument("--timeout_s", type=int, default=600, help="Seconds after which a process that does not "
                        "answer ends the others.")  # fmt: skip
    parser.add_argument("--prior", type=Prior | None, default=None, help="What the network is given of puzzles before "
                        "it learns: noted in the config of a run; follows from the network.")  # fmt: skip
    parser.add_argument("--tuned", type=dict[str, int] | None, default=None, help="What its settings were chosen by: "
                        "trials, and puzzles that they saw, as `genraven tune` notes.")  # fmt: skip
    for name, options in MONITORING.items():
        parser.add_class_arguments(options, name)


def settle_options(options: Any) -> None:
    """Makes paths in ``options``, of one command, those that a user means, and notes what the source holds.

    A network that can read which cells are unknown does so if the data can have missing cells or training makes some,
    unless an option says otherwise.

    Raises:
        InputError: an option is out of range, a path is none, or the source is no file of puzzles.
    """
    for name in PATHS:
        if options.get(name):
            path = user_path(options[name])
            options[name] = str(path.absolute() if name in OF_IDENTITY else path)
    callbacks = options.trainer.callbacks
    if callbacks is not None and not isinstance(callbacks, list):  # one alone need not stand in a list
        options.trainer.callbacks = [callbacks]
    seed = options.seed_everything
    if not isinstance(seed, bool) and seed is not None and not 0 <= seed <= MOST_SEED:
        raise InputError(f"expected --seed_everything to be a whole number from 0 to {MOST_SEED}, got {seed}.")
    _check_known(options.best_by)
    _check_dependences(options)
    data = options.data
    if data.source and data.source_sha256 is None and Path(data.source).exists():  # else the data module complains
        data.source_sha256 = content_digest(Path(data.source), data.source_split)
    if READS_UNKNOWN in options and options[READS_UNKNOWN] is None:
        corruption = Corruption(**dict(data.corruption or {}))
        if options.get(INPUT_MASKING) or can_have_missing(
            data.source, corruption, lambda: open_puzzles(Path(data.source), split=data.source_split)
        ):
            options[READS_UNKNOWN] = True
    for name in FROM_1:
        value = options[name]
        if value is not None and value < 1:
            raise InputError(f"expected --{name} to be 1 or more, got {value}.")
    interval = options.trainer.val_check_interval
    if not isinstance(interval, int | float | None):  # by its own clock each process would validate at another step
        raise InputError(f"expected trainer.val_check_interval in steps, got the time {interval}, at which processes "
                         "would validate at different steps: give a number of steps.")  # fmt: skip
    if interval is not None and interval <= 0:
        raise InputError(f"expected trainer.val_check_interval, in steps, to be 1 or more, got {interval}: "
                         "trainer.limit_val_batches 0 trains without validation.")  # fmt: skip
    if options.trainer.overfit_batches:
        raise InputError(f"expected trainer.overfit_batches 0, got {options.trainer.overfit_batches}: each step has "
                         "puzzles of its own. To see a model memorise a few, set data.samples_per_rule.")  # fmt: skip
    if options.trainer.enable_checkpointing is False and not options.trainer.fast_dev_run:
        raise InputError("expected trainer.enable_checkpointing true for a run, whose folder holds its checkpoints, "
                         "got false: leave it out.")  # fmt: skip


def _check_dependences(options: Any) -> None:
    """Raises InputError on an option that has no effect, for want of another or beside it."""
    data = options.data
    for name, needed in NEEDS.items():
        if options[name] is not None and not options[needed]:
            raise InputError(f"expected --{needed} with --{name}, got --{name} alone, which has no effect: add "
                             f"--{needed}, or leave --{name} out.")  # fmt: skip
    beside = {
        ("init_from", "ckpt_path"): options.init_from and options.ckpt_path,
        ("data.eval_seed", "data.eval_source"): data.eval_seed and data.eval_source,
    }
    for (name, other), are_both in beside.items():
        if are_both:
            raise InputError(f"expected --{name} or --{other}, got both, and --{name} has no effect then: leave one "
                             "out.")  # fmt: skip


def note_prior(config: dict[str, Any], model: PuzzleModule) -> None:
    """Notes the prior of ``model`` in its resolved ``config``; raises InputError where that says another."""
    if config["prior"] not in (None, model.prior):
        raise InputError(f"expected --prior {model.prior} with {model.architecture}, got {config['prior']}: leave it "
                         "out, the network determines it.")  # fmt: skip
    config["prior"] = model.prior


def check_missing(model: PuzzleModule, data: GenRAVENDataModule) -> None:
    """Raises InputError where training puzzles can lack cells and ``model`` cannot learn from such."""
    if data.has_missing:
        model.method.check_missing(model.network)


def check_best_by(score: str, data: GenRAVENDataModule) -> None:
    """Raises InputError where ``data`` cannot tell a ``score``, or no validation can."""
    _check_known(score)
    if data.is_stream and SCORES[score].needs == TRAINING_SET:
        others = [name for name in comparable() if not SCORES[name].needs]
        raise InputError(f"expected --best_by {', '.join(others[:-1])} or {others[-1]} with an endless stream, got "
                         f"{score}, which needs a training set: choose one of those, or set "
                         "data.samples_per_rule.")  # fmt: skip


def check_has_score(score: str, model: PuzzleModule, data: GenRAVENDataModule) -> None:
    """Raises InputError where no validation of ``model`` on ``data`` has a ``score``."""
    scored = set(data.eval_rules)
    there = {
        TRAINING_SET: not data.is_stream,
        OF_TRAINED: bool(scored & set(data.trained)),
        OF_HELD_OUT: bool(scored - set(data.trained)),
        A_LIKELIHOOD: model.likelihood is not None,
    }
    if not there.get(SCORES[score].needs, True):
        raise InputError(f"expected a score that validations of {model.architecture} have, got {score}, which needs "
                         f"{SCORES[score].needs}: choose another score, or other data.")  # fmt: skip


def check_callbacks(trainer: L.Trainer) -> None:
    """Raises InputError on callbacks that would choose settings by themselves which a config says, and data rest on."""
    if any(isinstance(callback, GradientAccumulationScheduler) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise InputError("expected as many puzzles in every step, got the callback GradientAccumulationScheduler: set "
                         "data.global_batch_size, and --max_batch_per_device or "
                         "trainer.accumulate_grad_batches.")  # fmt: skip
    for finder, instead in FINDERS.items():
        if any(isinstance(callback, finder) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            raise InputError(f"expected settings from the config, got the callback {finder.__name__}, which searches "
                             f"for its own: set {instead} instead.")  # fmt: skip


def check_strategy(trainer: L.Trainer) -> None:
    """Raises InputError on a strategy whose checkpoints no other command could read, or whose processes are copies."""
    if trainer.world_size > 1 and starts_copies(trainer):
        raise InputError("expected a strategy whose processes start by themselves, got one that makes copies of this "
                         "process, such as ddp_spawn: use trainer.strategy ddp.")  # fmt: skip
    if writes_folders(trainer.strategy):
        name = type(trainer.strategy).__name__
        raise InputError(f"expected a strategy whose checkpoints are one file each, got {name}, which writes folders "
                         "of shards: use trainer.strategy ddp, or set its state_dict_type to full or its "
                         "save_distributed_checkpoint to false, where it has one.")  # fmt: skip


def _check_known(score: str) -> None:
    """Raises InputError where a ``score`` cannot choose the best checkpoint."""
    known = comparable()
    if score not in known:
        hint = suggestion(score, known, "choose one of those.")
        raise InputError(f"expected --best_by to be one of {', '.join(known)}, got {shown(score)}: {hint}")
