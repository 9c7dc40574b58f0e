"""What both families share: draws, losses, evaluation, optimizer and schedule.

B batch; puzzles (B, 3, 9, 9) int8, rules (B,) int64.
"""

import copy
import hashlib
import inspect
from abc import ABC
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial, wraps
from typing import Any, ClassVar, Concatenate, Literal, ParamSpec, TypedDict, TypeVar, cast

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from datamodules.batches import Batch
from genraven.errors import InputError, check_fraction, setting
from genraven.formats.puzzles import UNKNOWN_RULE
from genraven.methods.again import SolvesAgain
from genraven.methods.draws import PlacedGenerator
from genraven.methods.gradients import outside_inference_mode
from genraven.methods.method import (
    Draw,
    Family,
    Likelihood,
    LogProbability,
    Method,
    Sampling,
    Task,
    num_labels,
)
from genraven.metrics.memorization import TrainingIndex
from genraven.metrics.scores import ScoreResults, Scores
from genraven.metrics.table import SCORES
from genraven.networks.prior import Prior, prior_of
from genraven.networks.recording import Recorder
from genraven.puzzles import layout
from genraven.puzzles.masks import last_panel_mask, without
from genraven.puzzles.spec import NUM_RULES
from lightning_modules.averaging import ExponentialMovingAverage
from lightning_modules.draws import BatchDraw, PlacedDraw
from lightning_modules.given import check_given, check_puzzles, check_reads_puzzles
from lightning_modules.lightning_internals import forget_metrics, validation_follows
from lightning_modules.optimization import Schedule, schedule_factor, warn_of_float16
from lightning_modules.optimizers import fuse, make_optimizer
from lightning_modules.training_graph import Inputs, TrainingGraph

Purpose = Literal["train", "labels", "dropout", "loss", "likelihood", "generate", "complete", "candidates", "probe",
                  "confidence", "reason"]  # fmt: skip
OF_A_STEP, OF_A_VALIDATION = ("train/", "cost/"), ("val/", "val_count/")
"""How the names of metrics begin."""


class Sampled(TypedDict):
    """What a model made of an evaluation batch."""

    generated: Tensor
    """(b, 3, 9, 9) int8"""
    completed: Tensor
    """(b, 3, 9, 9) int8, the last panels written by the model."""
    rules: Tensor
    """(b,) int64 ids of the rules of those that were completed."""


def unmeasured(task: Task) -> AbstractContextManager[None]:
    """What stands in for a timer where nobody measures."""
    return nullcontext()


P = ParamSpec("P")
T = TypeVar("T")


def in_its_numerics(
    function: Callable[Concatenate["PuzzleModule", P], T],
) -> Callable[Concatenate["PuzzleModule", P], T]:
    """``function`` of a module, within the numerics that the module is set to compute in."""

    @wraps(function)
    def run(module: "PuzzleModule", /, *args: P.args, **kwargs: P.kwargs) -> T:
        with module.at_work():
            return function(module, *args, **kwargs)

    return run


class PuzzleModule(L.LightningModule, ABC):
    """A model of puzzles that generates and completes: a network, and the method that makes a model of it.

    Args:
        network: reads labels when its ``num_labels`` is not 0.
        method: how it learns and writes.
        optimizer: makes the optimizer of groups of named parameters, in which its weight decay spares norms, biases,
            positions and embeddings.
        warmup_steps: optimizer steps of linear warm-up.
        schedule: of the learning rate after it; linear and cosine end at 0 at the trainer's max_steps.
        ema_decay: of the averaged weights that are evaluated and saved; None trains without.
        label_dropout: fraction of training puzzles whose label is hidden from a network with labels.
        seed: of noise, times and label dropout, drawn per puzzle from (seed, step, position).
        decay_all: weight decay of all parameters, in one group, as the study has it.
    """

    family: ClassVar[Family]

    def __init__(
        self,
        network: nn.Module,
        method: Method,
        *,
        optimizer: OptimizerCallable,
        warmup_steps: int,
        schedule: Schedule,
        ema_decay: float | None,
        label_dropout: float,
        seed: int,
        decay_all: bool,
    ) -> None:
        super().__init__()
        self.network, self.method = network, method
        self.make_optimizer, self.decay_all = optimizer, decay_all
        self.warmup_steps, self.schedule = warmup_steps, schedule
        self.ema_decay, self.label_dropout, self.seed = ema_decay, label_dropout, seed
        self._check_training()
        self._check_method()
        self.sampling: Sampling = method.sampling
        self._scores: Scores | None = None
        self._index: TrainingIndex | None = None
        self.trained: tuple[int, ...] = tuple(range(NUM_RULES))  # rules; evaluation reads which
        self._window_loss: Tensor | float = 0.0
        self._decays_all = decay_all
        self.make_recorder: Callable[[torch.device], Recorder] | None = None  # of training steps, if they are recorded
        self.graph: TrainingGraph | None = None  # of those, while training
        self.results: ScoreResults | None = None  # of the last evaluation
        self.measured: Callable[[Task], AbstractContextManager[None]] = unmeasured  # or a SamplingTimer
        self.at_work: Callable[[], AbstractContextManager[None]] = nullcontext  # or its own numerics

    def _check_training(self) -> None:
        if self.warmup_steps < 0:
            raise InputError(f"expected warmup_steps to be 0 or more, got {self.warmup_steps}.")
        check_fraction("label_dropout", self.label_dropout, below=1)
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise InputError(f"expected ema_decay from 0 to below 1, or null, got {self.ema_decay}.")
        make_optimizer(self.make_optimizer, self)

    def _check_method(self) -> None:
        if self.method.family != self.family:
            raise InputError(f"expected a method of the {self.family} family, got {type(self.method).__name__}, of the "
                             f"{self.method.family} one: use the other module.")  # fmt: skip
        self.method.check_network(self.network)
        check_reads_puzzles(self.network)
        prior_of(self.network)
        self.method.check_sampling(self.network, self.method.sampling)

    @property
    def architecture(self) -> str:
        """The name that the field has for what is trained."""
        return self.method.architecture(self.network)

    @property
    def prior(self) -> Prior:
        """What its network is given of puzzles before it learns."""
        return prior_of(self.network)

    def configure_callbacks(self) -> list[L.Callback]:
        """The average of the weights."""
        return [] if self.ema_decay is None else [ExponentialMovingAverage(self.ema_decay)]

    # What the method does with the network -----------------------------------------------------------------------

    def sample_by(self, settings: Mapping[str, Any]) -> None:
        """Samples with the method's own settings but for these.

        Raises:
            InputError: one that the method does not have, that is out of range or has no effect.
        """
        known = vars(self.method.sampling)
        for name in settings:
            if name not in known:
                raise InputError(f"expected one of {', '.join(map(setting, known))} for {self.architecture}, got "
                                 f"{setting(name)}: leave it out.")  # fmt: skip
        sampling = replace(self.method.sampling, **settings)
        self.method.check_sampling(self.network, sampling, settings.keys())
        self.sampling = sampling

    @property
    def _as_sampled(self) -> Method:
        """The method with the settings that it samples with: in which order it writes decides what is how likely."""
        found = copy.copy(self.method)
        found.sampling = self.sampling
        return found

    @property
    def likelihood(self) -> Likelihood | None:
        """What is known of a puzzle's likelihood as this model generates; see ``Method.likelihood``."""
        return self._as_sampled.likelihood

    @in_its_numerics
    def losses(self, puzzles: Tensor, labels: Tensor | None, draw: Draw, unknown: Tensor | None = None) -> Tensor:
        """(B,) losses: of training while in training mode, else of validation.

        What stands in ``unknown`` (B, 9, 9) cells, None for none, cannot matter: no method comes to see it.
        """
        if unknown is None:
            return self.method.losses(self.network, puzzles, labels, draw)
        return self.method.losses(self.network, without(puzzles, unknown), labels, draw, unknown)

    @in_its_numerics
    @torch.no_grad()
    def generate(self, n: int, rules: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        """(n, 3, 9, 9) int8 puzzles from nothing, of ``rules`` (n,) for a network with labels."""
        return self.method.generate(self.network, n, self._check_rules(rules), self.sampling, generator)

    @in_its_numerics
    @outside_inference_mode  # some methods take gradients
    def complete(
        self,
        puzzles: Tensor,
        mask: Tensor,
        generator: torch.Generator | None = None,
        rules: Tensor | None = None,
    ) -> Tensor:
        """``puzzles`` (B, 3, 9, 9) with the cells under ``mask`` (B, 9, 9) bool written anew, the others as given.

        A given cell with -1 in any channel is read as empty.

        ``rules`` (B,) are given to a network with labels, where they are known; without them it infers the rule.
        """
        labels = self._labels_read(rules)
        check_puzzles(puzzles)
        self.check_mask(puzzles, mask)
        if not self.method.reads_numbers:
            check_given(puzzles, mask)
        read = without(layout.canonical_puzzles(puzzles), mask)
        written = self.method.complete(self.network, read, mask, self.sampling, generator, **labels)
        return written.where(mask.unsqueeze(1), puzzles)

    def _labels_read(self, rules: Tensor | None) -> dict[str, Tensor]:
        """What a completion reads besides the puzzles: the labels that are given."""
        if rules is None:
            if self._reads_nothing_else:
                rank_zero_warn("this model was never shown a puzzle without its label (label_dropout 0): what it "
                               "completes without one means nothing. Give rules.")  # fmt: skip
            return {}
        if "labels" not in inspect.signature(self.method.complete).parameters:
            raise InputError(f"expected no rules for completion by {type(self.method).__name__}, got some, which it "
                             "cannot use: leave them out.")  # fmt: skip
        labels = self._check_rules(rules)
        return {} if labels is None else {"labels": labels}

    @in_its_numerics
    @torch.no_grad()
    def log_probability(
        self, puzzles: Tensor, mask: Tensor, generator: torch.Generator | None = None
    ) -> LogProbability:
        """Of the cells of ``puzzles`` (B, 3, 9, 9) under ``mask`` (B, 9, 9) bool, for a method that knows it."""
        read = puzzles.where(mask.unsqueeze(1), layout.canonical_puzzles(puzzles))
        return self._as_sampled.log_probability(self.network, read, mask, generator)

    @in_its_numerics
    @outside_inference_mode  # some methods take gradients
    def solve_again(
        self, puzzles: Tensor, mask: Tensor, level: float, generator: torch.Generator | None = None
    ) -> Tensor:
        """``puzzles`` (B, 3, 9, 9) with the cells under ``mask`` (B, 9, 9) covered with noise and written again."""
        method = cast(SolvesAgain, self.method)
        return method.solve_again(self.network, puzzles, mask, level, self.sampling, generator)

    def nfe(self, task: Task, num_open: int) -> float:
        """Number of function evaluations to generate a puzzle, or to complete its last ``num_open`` cells."""
        labels = bool(num_labels(self.network))
        return self.method.nfe(self.network, self.sampling, task, num_open, labels=labels)

    def passes(self, task: Task, num_open: int) -> float:
        """What that computes, in passes of the network over a whole puzzle."""
        labels = bool(num_labels(self.network))
        return self.method.passes(self.network, self.sampling, task, num_open, labels=labels)

    @in_its_numerics
    @torch.no_grad()
    def probe_forward(self, puzzles: Tensor, level: float | None, generator: torch.Generator) -> None:
        """Passes ``puzzles`` through the network, without labels, at one of the method's reading levels."""
        self.method.probe_forward(self.network, puzzles, level, generator)

    @property
    def _reads_nothing_else(self) -> bool:
        """Is there a label for every puzzle that the network is trained on?"""
        return bool(num_labels(self.network)) and not self.label_dropout

    def check_labels(self) -> None:
        """Raises InputError where training never shows a puzzle without its label, as completion has it."""
        if self._reads_nothing_else:
            raise InputError("expected label_dropout above 0 for a network with labels, got 0: completion, by which "
                             "each validation scores, reads puzzles without; 0.1 is usual.")  # fmt: skip

    def _check_num_labels(self) -> None:
        """Raises InputError where the network has no label for a rule that it is trained on."""
        num, last = num_labels(self.network), max(self.trained)
        if num and last >= num:
            raise InputError(f"expected labels for the rules trained on, whose last id is {last}, got num_labels "
                             f"{num}: set it to {NUM_RULES}.")  # fmt: skip

    # Draws -------------------------------------------------------------------------------------------------------

    def generator(self, purpose: Purpose, step: int) -> torch.Generator:
        """A generator on this module's device whose stream (seed, purpose, step) alone determine."""
        return torch.Generator(self.device).manual_seed(self._stream(purpose, step))

    def generator_at(self, purpose: Purpose, split: str, start: int, num: int) -> PlacedGenerator:
        """A generator for ``num`` puzzles from place ``start`` on of ``split``, such as ``val``: no two splits share a
        draw, and batches of another size have the same.
        """
        return PlacedGenerator(partial(self._stream, purpose, split), start, num, self.device)

    def _stream(self, purpose: Purpose, *key: int | str) -> int:
        """A seed of 56 bits from (seed, purpose, key)."""
        text = " ".join(map(str, (self.seed, purpose, *key)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")

    def _labels(self, batch: Batch) -> Tensor | None:
        """Labels of puzzles, some hidden in training, always of those without a rule; None for a network without."""
        num = num_labels(self.network)
        if not num:
            return None
        labels = batch.rules.masked_fill(batch.rules == UNKNOWN_RULE, num)
        if not self.training:
            return labels.masked_fill(~self._is_trained(labels), num)
        if not self.label_dropout:
            return labels
        hidden = BatchDraw(batch, self.generator("labels", batch.step))(torch.rand) < self.label_dropout
        return labels.masked_fill(hidden, num)

    def _is_trained(self, labels: Tensor) -> Tensor:
        """(B,) bool: has training shown a label? Of others the network has read nothing, not even at random."""
        return torch.isin(labels, torch.tensor(self.trained, device=labels.device))

    def _check_rules(self, rules: Tensor | None) -> Tensor | None:
        if rules is not None and not num_labels(self.network):
            raise InputError("expected no rules for a network without labels, got some: train with num_labels "
                             f"{NUM_RULES}, or generate unconditionally.")  # fmt: skip
        return rules

    @staticmethod
    def check_mask(puzzles: Tensor, mask: Tensor) -> None:
        """Raises InputError unless ``mask`` leaves cells open and keeps others in each puzzle."""
        if not isinstance(mask, Tensor):
            raise InputError(f"expected a bool mask as a tensor, got {type(mask).__name__}: use torch.as_tensor.")
        if mask.dtype != torch.bool or mask.shape != (len(puzzles), *puzzles.shape[2:]):
            raise InputError(f"expected a bool mask of {(len(puzzles), *puzzles.shape[2:])} for puzzles "
                             f"{tuple(puzzles.shape)}, got {mask.dtype} of {tuple(mask.shape)}.")  # fmt: skip
        cells = mask.cpu().flatten(1)  # read once
        for wrong, which, instead in (
            (~cells.any(1), "none", "there is nothing to write"),
            (cells.all(1), "all", "generate puzzles instead"),
        ):
            if wrong.any():
                raise InputError(f"expected a mask with cells to write and cells to keep in each puzzle, got one that "
                                 f"leaves {which} open in puzzle {int(wrong.nonzero()[0])}: {instead}.")  # fmt: skip

    # Training ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean loss of this rank's shard of the global batch."""
        torch.manual_seed(self._stream("dropout", batch.step, batch.start))  # what the network draws by itself
        draw = BatchDraw(batch, self.generator("train", batch.step))
        inputs = batch.puzzles, self._labels(batch), batch.unknown
        loss = self._loss(draw, inputs) if self.graph is None else self.graph(inputs, draw)
        accumulate = self.trainer.accumulate_grad_batches
        part = batch_idx % accumulate
        if not part:
            forget_metrics(self.trainer, *OF_A_STEP)
        self._window_loss = loss.detach() + (self._window_loss if part else 0.0)
        if part + 1 == accumulate and self.is_reported:  # Lightning copies to the device what is logged
            self.log("train/loss", self._mean_loss(accumulate), prog_bar=True)
            # Lightning's LearningRateMonitor would log every accumulated batch, at the same step.
            self.log("train/lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def _loss(self, draw: Draw, inputs: Inputs) -> Tensor:
        """The mean loss () of puzzles, labels and unknown cells."""
        puzzles, labels, unknown = inputs
        assert puzzles is not None
        return self.losses(puzzles, labels, draw, unknown).mean()

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """The way back, which a recorded step has behind it."""
        if self.graph is None:
            super().backward(loss, *args, **kwargs)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Forgets the gradients; a recorded step has begun with that, in place."""
        if self.graph is None:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def on_validation_model_zero_grad(self) -> None:
        """Gives back the memory of the gradients, but to a recorded step, which writes them there."""
        if self.graph is None:
            super().on_validation_model_zero_grad()

    def _mean_loss(self, num_batches: int) -> Tensor:
        """The step's loss, of all processes. A collective, which Lightning's ``sync_dist`` would be in every batch."""
        loss = torch.as_tensor(self._window_loss) / num_batches
        if self.trainer.world_size > 1:
            dist.all_reduce(loss)
            loss /= self.trainer.world_size
        return loss

    @property
    def is_reported(self) -> bool:
        """Will Lightning log the step at work, or validate after it? In all others no process waits for another."""
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        is_logged = self.trainer.fast_dev_run or (every and (self.trainer.global_step + 1) % every == 0)  # type: ignore[attr-defined]
        return bool(is_logged) or validation_follows(self.trainer)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Logs the norm of the gradient as it is before clipping, of the steps that are reported."""
        if self.is_reported:
            norms = torch._foreach_norm([p.grad for p in self.parameters() if p.grad is not None])
            self.log("train/grad_norm", torch.stack(norms).norm())

    def new_optimizer(self) -> torch.optim.Optimizer:
        """The injected optimizer of all parameters; where one group began a run with decay of all, it goes on so."""
        return make_optimizer(self.make_optimizer, self, decay_all=self._decays_all)

    def configure_optimizers(self) -> Any:
        """The optimizer with warm-up and schedule, stepped every step."""
        optimizer = self.new_optimizer()
        if self.trainer.precision != "16-mixed":  # with float16, Lightning clips no gradients of a fused one
            fuse(optimizer)
        warn_of_float16(optimizer)
        if self.schedule != "constant" and self.trainer.max_steps < 1:
            raise InputError(f"expected trainer.max_steps with a {self.schedule} schedule, got none: set it.")
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _rate_factor(self, step: int) -> float:
        return schedule_factor(
            step, warmup_steps=self.warmup_steps, schedule=self.schedule, max_steps=self.trainer.max_steps
        )

    def on_train_start(self) -> None:
        """Takes up the rates of this run's schedule: those of a checkpoint are of the length that it had then.

        Begins to record steps, where they are to be.
        """
        scheduler: Any = self.lr_schedulers()
        rates = [base * self._rate_factor(scheduler.last_epoch) for base in scheduler.base_lrs]
        groups = self.trainer.optimizers[0].param_groups
        if (before := groups[0]["lr"]) != rates[0]:
            step, length = self.trainer.global_step, self.trainer.max_steps
            rank_zero_warn(f"the {self.schedule} schedule is now one of {length} steps: at step {step} the rate goes "
                           f"from {before:.4g} to {rates[0]:.4g}.")  # fmt: skip
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        if self.make_recorder is not None:  # not before: a recording cannot be copied, and averages copy the module
            self.graph = TrainingGraph(self.make_recorder(self.device), self.parameters(), self._loss)

    def on_train_end(self) -> None:
        """Gives back the memory of recorded steps."""
        self.graph = None

    # Evaluation --------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Learns from the data module which rules are trained and what the training set holds."""
        if stage == "fit":
            self.check_labels()
        data = getattr(self.trainer, "datamodule", None)
        if data is not None and stage in ("fit", "validate", "test"):
            self.trained, self._index = data.trained, data.training_index()
            self._check_num_labels()

    @torch.no_grad()
    def score(self, scores: Scores, batch: Batch, split: str, *, given: Tensor | None = None) -> Sampled:
        """Adds the batch's loss, its completed last panels and as many generated puzzles to ``scores``.

        Args:
            scores: to add to.
            batch: whole puzzles.
            split: what is scored, which no other shares a draw with.
            given: (b, 3, 9, 9) int8 what completion sees of the puzzles instead of these, such as with corrupted cells;
                what it writes is scored in its place in the whole ones.
        """
        labels, at = self._labels(batch), (split, batch.start, len(batch.puzzles))
        scores.add_losses(self.losses(batch.puzzles, labels, PlacedDraw(self.generator_at("loss", *at))))
        if scores.counts_likelihood:
            draw = PlacedDraw(self.generator_at("likelihood", *at))
            scores.add_likelihood(self._as_sampled.nats_per_cell(self.network, batch.puzzles, labels, draw))
        mask = last_panel_mask(len(batch.puzzles), self.device)
        with self.measured("complete"):
            seen = batch.puzzles if given is None else given
            written = self.complete(seen, mask, self.generator_at("complete", *at))
        completed = written.where(mask.unsqueeze(1), batch.puzzles)
        scores.add_completed(completed, batch.rules)
        with self.measured("generate"):
            generated = self.generate(len(batch.puzzles), labels, self.generator_at("generate", *at))
        scores.add_generated(generated)
        return Sampled(generated=generated, completed=completed, rules=batch.rules)

    def _start_scoring(self) -> None:
        self._scores = Scores(self.trained, self._index, self.device, self.likelihood)

    def _score(self, batch: Batch, split: str) -> Sampled | None:
        # In the step and not at the epoch's end, where averaged weights are already exchanged for the raw ones.
        assert self._scores is not None
        return self.score(self._scores, batch, split) if len(batch.puzzles) else None

    def _log_scores(self, stage: str) -> None:
        assert self._scores is not None
        self.results = results = self._scores.compute()
        self._scores = None
        for name, rate in results.rates.items():
            self.log(f"{stage}/{name}", rate.value.float(), prog_bar=SCORES[name].is_main)
            self.log(f"{stage}_count/{name}", rate.total.float())
        for name, value in results.values.items():
            self.log(f"{stage}/{name}", value)
        if results.likelihood is not None:
            self.log(f"{stage}/nats_per_cell", results.likelihood.value)

    def on_validation_epoch_start(self) -> None:
        """Begins to count; what the last validation found does not stand for what this one may not find."""
        forget_metrics(self.trainer, *OF_A_VALIDATION)
        self._start_scoring()

    def validation_step(self, batch: Batch, batch_idx: int) -> Sampled | None:
        """Scores a batch; None where this process has none."""
        return self._score(batch, "val")

    def on_validation_epoch_end(self) -> None:
        """Logs all scores as ``val/...`` and their counts as ``val_count/...``."""
        self._log_scores("val")

    def on_test_epoch_start(self) -> None:
        """Begins to count."""
        self._start_scoring()

    def test_step(self, batch: Batch, batch_idx: int) -> Sampled | None:
        """Scores a batch; None where this process has none."""
        return self._score(batch, "test")

    def on_test_epoch_end(self) -> None:
        """Logs all scores as ``test/...`` and their counts as ``test_count/...``."""
        self._log_scores("test")

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The batch's puzzles (B, 3, 9, 9) with their last panels completed."""
        mask = last_panel_mask(len(batch.puzzles), self.device)
        at = ("predict", batch.start, len(batch.puzzles))
        return self.complete(batch.puzzles, mask, self.generator_at("complete", *at))

    # Checkpoints -------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes the family, so that a checkpoint of another family is recognised."""
        checkpoint["family"] = self.family

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Resumes: checks, and decays what the run has decayed so far. Comes before the optimizer is made."""
        self.check_checkpoint(checkpoint)
        states = checkpoint.get("optimizer_states") or [{"param_groups": []}]
        one_group = len(states[0]["param_groups"]) == 1  # as older versions did, also where all decayed
        self._decays_all = self.decay_all or one_group

    def check_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Raises InputError on a checkpoint of another family or network, before any weight is loaded."""
        family = checkpoint.get("family")
        if family != self.family:
            raise InputError(f"expected a checkpoint of the {self.family} family, got one of {family or 'no'} family: "
                             "give the model config that it was trained with.")  # fmt: skip
        mine = {name: tuple(value.shape) for name, value in self.state_dict().items()}
        came = {name: tuple(value.shape) for name, value in checkpoint["state_dict"].items()}
        differing = sorted(name for name in mine.keys() | came.keys() if mine.get(name) != came.get(name))
        if differing:
            name = differing[0]
            raise InputError(f"expected a checkpoint of this network, got one that differs in {len(differing)} tensors "
                             f"(first: {name} {came.get(name)} for {mine.get(name)}): give the model config that it "
                             "was trained with.")  # fmt: skip
