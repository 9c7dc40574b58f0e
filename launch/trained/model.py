"""A trained model, opened once with all that its results depend on: no order of calls is left to remember.

B puzzles (B, 3, 9, 9) int8, masks (B, 9, 9) bool, true where the model writes. Both are taken as torch tensors, on any
device, or as numpy arrays; what is made of them are torch tensors on the CPU, of which ``.numpy()`` makes arrays.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import ArrayLike
from torch import Tensor

from datamodules import GenRAVENDataModule
from genraven.errors import InputError, at_least, path_of, setting
from genraven.methods.draws import PlacedGenerator
from genraven.methods.method import Sampling
from genraven.metrics.outcomes import Flags
from genraven.metrics.scores import ScoreResults
from genraven.progress import Progress
from genraven.trust.calibration import Calibration
from genraven.trust.decision import Decided, check_as_calibrated, model_digest
from genraven.trust.decision import check_given as check_objects
from launch.configs.plugins import import_plugins
from launch.processes.process_group import ProcessGroup
from launch.runs.folder import find_checkpoint
from launch.trained.completions import completions
from launch.trained.given import Rules, labels_of, puzzles_and_mask
from launch.trained.load import calibration_of, load_run
from launch.trained.numerics import Numerics
from launch.trained.precision import slow_precision
from launch.trained.scoring import score_model
from launch.trained.settings import Opening, Scoring
from lightning_modules import PuzzleModule
from lightning_modules.base import Purpose


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A trained model that is ready for use, as ``load`` opens it.

    Weights, device, precision, seed and sampling are settled when it is opened, and stay: ``sampling_by`` gives another
    model with the same weights. The same call gives the same puzzles: what is drawn for a puzzle follows from the seed
    and the puzzle's place, not from earlier calls or the size of batches. So ``generate`` and ``complete`` give the
    puzzles that ``genraven sample`` and ``genraven complete`` write with the same options.
    """

    path: Path
    """The checkpoint, or the weights of an exported model."""
    module: PuzzleModule = field(repr=False)
    """Network and method, in evaluation mode. Its methods compute in the model's numerics; what calls its network
    itself does so within ``at_work``."""
    data: GenRAVENDataModule = field(repr=False)
    """What it was trained on and is evaluated on."""
    checkpoint: Mapping[str, Any] = field(repr=False)
    """As it was read: ``genraven_config``, ``global_step`` and so on."""
    numerics: Numerics
    """What it computes in."""
    batch_size: int
    """Puzzles at once."""
    progress: bool = False
    """Does it say on the standard error how far it is while it computes?"""

    @classmethod
    def opened(cls, run: Path | str, opening: Opening) -> "TrainedModel":
        """The model of ``run``, ready for use; raises InputError as ``load``."""
        path = find_checkpoint(path_of("run=", run))
        module, data, checkpoint = load_run(path, opening.device)
        data.most_made_bytes = round(opening.training_set_gib * 2**30)
        numerics = Numerics.of(checkpoint, module.device, opening.precision, opening.compiled)
        model = cls(
            path=path, module=numerics.prepare(module, opening.seed), data=data, checkpoint=checkpoint,
            numerics=numerics, batch_size=opening.batch_size, progress=opening.progress,
        )  # fmt: skip
        model = model.sampling_by(**opening.sampling) if opening.sampling else model
        if slow := slow_precision(numerics.precision, module.device.type, setting("precision", "32-true")):
            # Last, so that what is refused is one line.
            rank_zero_warn(f"{slow} A calibration holds for its own precision only.")
        return model

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.module.device

    @property
    def seed(self) -> int:
        """The seed of all its draws."""
        return self.module.seed

    @property
    def sampling(self) -> Sampling:
        """How it writes; the settings are those of its method."""
        return self.module.sampling

    @property
    def step(self) -> int:
        """Optimizer steps that it was trained for."""
        return int(self.checkpoint["global_step"])

    @cached_property
    def digest(self) -> str:
        """64 hex digits of the method, the network and its weights as they are at work; calibrations note them."""
        return model_digest(self.module)

    def at_work(self) -> AbstractContextManager[None]:
        """A context in which ``module`` computes in the model's own numerics. All methods here enter it themselves."""
        return self.numerics.at_work(self.device)

    def sampling_by(self, **settings: Any) -> "TrainedModel":
        """The same model, writing with its method's own settings but for these, such as ``temperature=0.5``.

        Raises:
            InputError: one that the method does not have, that is out of range or has no effect.
        """
        module = copy.copy(self.module)  # shares the network
        try:
            module.sample_by(settings)
        except InputError as error:
            raise InputError(f"{', '.join(setting(*given) for given in settings.items())}: {error}") from None
        return replace(self, module=module)

    # What it makes -----------------------------------------------------------------------------------------------

    def generate(self, num: int, rules: Rules | None = None, *, start: int = 0) -> Tensor:
        """(num, 3, 9, 9) int8 puzzles from nothing.

        Args:
            num: of puzzles.
            rules: to ask a network with labels for, in turn: ids, names such as ``position.xor``, or attributes. The
                puzzle at place i gets the (i modulo K)th of the K ids in ascending order.
            start: place of the first one. ``generate(8, start=8)`` gives the second half of ``generate(16)``.

        Raises:
            InputError: no puzzle to make, an unknown rule, one that was not trained, a network without labels, or
                guidance without rules.
        """
        at_least(1, num=num)
        at_least(0, start=start)
        scale = getattr(self.module.sampling, "guidance_scale", 1.0)
        if rules is None and scale != 1:
            raise InputError(f"expected rules with {setting('guidance_scale', scale)}, got none, which it would guide "
                             f"to: give rules, or {setting('guidance_scale', 1.0)}.")  # fmt: skip
        ids = None if rules is None else labels_of(rules, self.module)
        labels = None if ids is None else ids[torch.arange(start, start + num) % len(ids)]
        parts = []
        with self.at_work(), self._progress("sample", num) as bar:
            for part in bar.over(self._slices(num), _length):
                labels_of_part = None if labels is None else labels[part].to(self.device)
                at = self._generator("generate", "sample", part, start)
                parts.append(self.module.generate(part.stop - part.start, labels_of_part, at).cpu())
        return torch.cat(parts)

    def complete(
        self, puzzles: ArrayLike, mask: ArrayLike | None = None, rules: Rules | None = None, *, start: int = 0
    ) -> Tensor:
        """(B, 3, 9, 9) int8: ``puzzles`` with the cells under ``mask`` written anew, the others as given.

        Args:
            puzzles: (B, 3, 9, 9) whole numbers; what stands under the mask is not looked at.
            mask: (9, 9) of all, or (B, 9, 9), bool; None opens the last panel.
            rules: of the puzzles, where they are known, for a network with labels: the one of all, or one for each.
            start: place of the first one, from which its draws follow.

        Raises:
            InputError: another shape or type, a given cell that holds no value, a mask that leaves nothing to write or
                all, or a rule that the model cannot read.
        """
        at_least(0, start=start)
        given, open_cells = puzzles_and_mask(puzzles, mask, self.module)
        labels = None if rules is None else labels_of(rules, self.module, len(given))
        self.warn_of_unread(open_cells)
        with self.at_work(), self._progress("complete", len(given)) as bar:
            parts = [
                self.module.complete(
                    given[part].to(self.device),
                    open_cells[part].to(self.device),
                    self._generator("complete", "complete", part, start),
                    None if labels is None else labels[part].to(self.device),
                ).cpu()
                for part in bar.over(self._slices(len(given)), _length)
            ]
        return torch.cat(parts)

    def warn_of_unread(self, open_cells: Tensor) -> None:
        """Warns where completing these cells (B, 9, 9) bool is done without reading given ones, and says what helps."""
        method, network = self.module.method, self.module.network
        if num := int(method.leaves_unread(network, open_cells, self.sampling).sum()):
            has_particles = hasattr(self.sampling, "num_particles")
            is_greedy = getattr(self.sampling, "when_completing", None) == 0
            warm = f" with {setting('completion_temperature', 1)}" if is_greedy else ""
            particles = f"ask for {setting('num_particles', 64)}{warm}, or " if has_particles else ""
            rank_zero_warn(f"in {num} of {len(open_cells)} puzzles this model writes open cells without reading the "
                           f"given ones after them: {particles}take a masked or an any-order model.")  # fmt: skip

    def decide(
        self,
        puzzles: ArrayLike,
        mask: ArrayLike | None = None,
        *,
        max_error: float,
        calibration: Calibration | Path | str | None = None,
    ) -> Decided:
        """Completes ``puzzles`` as they were calibrated, and accepts those of which a fraction of errors is promised.

        The decisions are those of ``genraven complete --max-error``.

        Args:
            puzzles: (B, 3, 9, 9) whole numbers, all that are to be judged together, with objects in every given panel.
            mask: (9, 9) or (B, 9, 9) bool, as in the calibration; None opens the last panel.
            max_error: fraction of wrong ones among the accepted that is promised, between 0 and 1.
            calibration: that ``genraven calibrate`` wrote, or its path; None for the run's own.

        Raises:
            InputError: as ``complete``; a calibration that is missing, changed, of another model, mask, way of
                completing or precision, or too small; given panels that are empty.
        """
        given, open_cells = puzzles_and_mask(puzzles, mask, self.module)
        check_objects(given, open_cells)
        self.warn_of_unread(open_cells)
        found = calibration
        if not isinstance(found, Calibration):
            found = Calibration.read(calibration_of(self.path, found))
        promise = found.promise(max_error)
        kept, scores, known = [], [], []
        with self.at_work():
            check_as_calibrated(self.module, open_cells, found)
            for done in completions(
                self.module, given, open_cells, num=found.completion["candidates"], names=(found.score,),
                batch_size=self.batch_size, split="complete", familiar=bool(found.familiarity), progress=self.progress,
            ):  # fmt: skip
                best = done.best(found.score)
                every = torch.arange(len(best))
                kept.append(done.candidates[every, best])
                scores.append(done.scores[found.score][every, best])
                known += [] if done.familiarity is None else [done.familiarity]
        familiarities = torch.cat(known) if known else None
        return Decided.of(found, promise, torch.cat(kept), open_cells, torch.cat(scores), familiarities)

    def evaluate(
        self, split: str = "test", puzzles_per_rule: int = 100, *, given_corruption: float = 0.0
    ) -> ScoreResults:
        """All scores on ``puzzles_per_rule`` puzzles of each rule, with as many generated, as ``genraven evaluate``.

        Nothing is written. ``results.rates["completion"].value`` is a fraction, ``.interval()`` its 95% interval;
        ``results.as_json()`` has all of them as plain numbers.

        Args:
            split: ``test``, or ``val``, on whose puzzles the run was validated.
            puzzles_per_rule: to complete, of each of the rules that the run is evaluated on.
            given_corruption: fraction of the cells given for completion whose content is replaced by another.

        Raises:
            InputError: another split, no puzzle, no fraction, or training data that is not there any more.
        """
        scoring = Scoring(split=split, puzzles_per_rule=puzzles_per_rule, given_corruption=given_corruption)
        return self.score(scoring)[0]

    def score(self, scoring: Scoring, group: ProcessGroup | None = None) -> tuple[ScoreResults, dict[str, Flags]]:
        """What ``evaluate`` gives, by all processes of ``group``, and the outcome of each puzzle by score."""
        with self.at_work():
            return score_model(self.module, self.data, scoring, self.batch_size, group, progress=self.progress)

    def _generator(self, purpose: Purpose, split: str, part: slice, start: int) -> PlacedGenerator:
        return self.module.generator_at(purpose, split, start + part.start, part.stop - part.start)

    def _slices(self, total: int) -> Iterable[slice]:
        return (slice(start, min(start + self.batch_size, total)) for start in range(0, total, self.batch_size))

    def _progress(self, what: str, total: int) -> Progress:
        return Progress(what, total, "puzzle", shown=self.progress)


def _length(part: slice) -> int:
    return int(part.stop - part.start)


def load(
    run: Path | str,
    *,
    device: str = "auto",
    precision: str | None = None,
    compiled: bool | None = None,
    seed: int = 0,
    batch_size: int = 250,
    sampling: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
    training_set_gib: float = 1.0,
    progress: bool = False,
) -> TrainedModel:
    """A trained model, ready to generate, complete, decide and be evaluated.

    Args:
        run: run folder, whose newest whole checkpoint is taken; a checkpoint; or what ``genraven export`` wrote.
        device: ``cpu``, ``cuda``, ``cuda:1``, ...; ``auto`` takes a GPU where there is one.
        precision: to compute in, such as ``32-true`` or ``bf16-mixed``; None for what the run was trained in.
        compiled: is the network compiled? None compiles on a GPU where the run was compiled.
        seed: of all that is drawn.
        batch_size: puzzles at once; it changes no draw, but where masks differ (docs/decide.md, Draws).
        sampling: settings of the method to write with instead of the model's own, such as ``{"num_steps": 50}``.
        plugins: names of modules of your own to import, whose classes the run's config may name.
        training_set_gib: of a training set that may be made here, to tell in an evaluation what the model repeats.
        progress: says on the standard error how far it is while it computes.

    Raises:
        InputError: no checkpoint of genraven, one whose config and weights do not belong together, no such device or
            precision, or a setting that the method does not have.
    """
    import_plugins([plugins] if isinstance(plugins, str) else plugins)
    return TrainedModel.opened(run, Opening(
        device=device, precision=precision, compiled=compiled, seed=seed, batch_size=batch_size,
        sampling=sampling or {}, training_set_gib=training_set_gib, progress=progress,
    ))  # fmt: skip
