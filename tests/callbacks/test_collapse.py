"""What counts as collapse, on made-up validations."""

import math
import pickle
import warnings
from typing import Any

import pytest
import torch

from callbacks import CollapseLimits, CollapseWatch
from genraven.errors import InputError
from genraven.metrics.rates import Rate
from genraven.metrics.scores import ScoreResults
from lightning_modules import AutoregressiveModule


def rate(hits: int, total: int = 1000) -> Rate:
    return Rate(torch.tensor(hits), torch.tensor(total))


def results(
    novel: int | None = None, memorized: int = 0, entropy: float | None = None, loss: float | None = None, c3: int = 500
) -> ScoreResults:
    made = ScoreResults(rates={"c3": rate(c3)})
    if novel is not None:
        copies = Rate(torch.tensor(memorized), torch.tensor(3000), 3, torch.tensor(3 * memorized))  # of whole puzzles
        made.rates |= {"novel_c3": rate(novel), "memorized_rows": copies}
    made.values = {name: value for name, value in (("rule_entropy_bits", entropy), ("loss", loss)) if value is not None}
    return made


class FakeTrainer:
    """A trainer of which only what the watch asks for is there."""

    def __init__(self) -> None:
        self.sanity_checking, self.should_stop, self.is_global_zero = False, False, True
        self.global_step, self.loggers = 0, [self]
        self.log_every_n_steps = self.accumulate_grad_batches = 1
        self.callback_metrics: dict[str, torch.Tensor] = {}
        self.logged: list[dict[str, float]] = []

    def log_metrics(self, values: dict[str, float], step: int) -> None:
        self.logged.append(values)


def train(watcher: CollapseWatch, trainer: FakeTrainer, *losses: float) -> None:
    """Steps with these training losses, each of which is logged."""
    for step, loss in enumerate(losses):
        trainer.callback_metrics = {"train/loss": torch.tensor(loss)}
        watcher.on_train_batch_end(trainer, None, None, None, step)  # type: ignore[arg-type]


def watch(cards: list[ScoreResults], limits: CollapseLimits | None = None, training: list[float] | None = None) -> Any:
    """The watch after validations at steps 100, 200, ..., as a run that is started anew before each would have it."""
    module = AutoregressiveModule.__new__(AutoregressiveModule)
    trainer, state = FakeTrainer(), None
    for number, made in enumerate(cards):
        watcher = CollapseWatch(limits or CollapseLimits())
        if state is not None:
            watcher.load_state_dict(state)
        if training:
            train(watcher, trainer, training[number])
        trainer.global_step += 100
        object.__setattr__(module, "results", made)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            watcher.on_validation_end(trainer, module)  # type: ignore[arg-type]
        state = watcher.state_dict()
    watcher.trainer = trainer  # type: ignore[attr-defined]
    return watcher


def test_novel_c3_that_falls_is_marked_once_at_its_step() -> None:
    watcher = watch([results(novel=n) for n in (10, 400, 390, 150, 100, 400)])
    crossing = watcher.crossings["novel_c3"]
    assert (set(watcher.crossings), crossing["step"], crossing["value"]) == ({"novel_c3"}, 400, 0.15)
    assert crossing["threshold"] == pytest.approx(0.5 * rate(400).interval()[0].item())
    assert [logged["collapse/novel_c3"] for logged in watcher.trainer.logged if "collapse/novel_c3" in logged] == [
        0, 0, 0, 1, 1, 1,
    ]  # fmt: skip
    assert not watcher.trainer.should_stop
    assert watcher.report()["stopped"] is None


@pytest.mark.parametrize("novel", [(0, 0, 0), (2, 0, 0), (400, 220, 230), (10, 4, 3)])
def test_what_chance_may_do_is_no_collapse(novel: tuple[int, ...]) -> None:
    assert watch([results(novel=n) for n in novel]).crossings == {}


def test_memorised_rows() -> None:
    assert watch([results(novel=10, memorized=1575)]).crossings == {}  # 525 of 1 000 puzzles: not surely above a half
    crossing = watch([results(novel=10, memorized=m) for m in (0, 1400, 1700)]).crossings["memorized_rows"]
    assert crossing == {"step": 300, "value": pytest.approx(1700 / 3000), "threshold": 0.5}


def test_lost_rules() -> None:
    crossing = watch([results(entropy=e) for e in (3.0, 5.0, 4.5, 3.9)]).crossings["entropy_bits"]
    assert crossing == {"step": 400, "value": 3.9, "threshold": 4.0}
    assert watch([results(entropy=e, c3=49) for e in (5.0, 1.0)]).crossings == {}  # too few to tell


def test_the_gap_needs_a_training_loss_that_falls() -> None:
    cards = [results(loss=loss) for loss in (2.0, 1.0, 1.1, 1.3)]
    assert watch(cards, training=[2.0, 1.0, 0.9, 0.8]).crossings["loss_gap"]["step"] == 400
    assert watch(cards, training=[2.0, 1.0, 1.2, 1.4]).crossings == {}  # training diverges: no memorising
    assert watch(cards).crossings == {}  # no training loss was logged


def test_a_loss_that_is_no_number_is_not_the_best() -> None:
    cards = [results(loss=loss) for loss in (math.nan, 2.0, 1.0, 1.1, 1.3)]
    assert watch(cards, training=[2.0, 2.0, 1.0, 0.9, 0.8]).crossings["loss_gap"]["step"] == 500


def test_a_run_without_validation_keeps_no_more_the_longer_it_trains() -> None:
    watcher, sizes = CollapseWatch(CollapseLimits()), []
    for _ in range(2):
        train(watcher, FakeTrainer(), *[1.0] * 500)
        sizes.append(len(pickle.dumps([vars(watcher), watcher.state_dict()])))
    assert sizes[0] == sizes[1]


def test_a_checkpoint_that_kept_each_loss_goes_on() -> None:
    watcher, trainer = CollapseWatch(CollapseLimits()), FakeTrainer()
    watcher.load_state_dict({"crossings": {}, "best": {}, "losses": [1.0, 2.0, 3.0]})
    train(watcher, trainer, 6.0)
    assert (watcher.state_dict()["loss_sum"], watcher.state_dict()["num_losses"]) == (12.0, 4)


def test_a_stream_has_no_memory_to_watch() -> None:
    watcher = watch([results(entropy=3.0)] * 2)
    assert {name for logged in watcher.trainer.logged for name in logged} == {"collapse/entropy_bits"}


def test_the_run_stops_when_told_to() -> None:
    watcher = watch([results(novel=n) for n in (400, 10)], CollapseLimits(stop=True))
    assert watcher.trainer.should_stop
    assert watcher.report()["stopped"].startswith("collapse: novel_c3 is 0.01 at step 200")


def test_signals_can_be_switched_off() -> None:
    limits = CollapseLimits(novel_c3=None, memorized_rows=None, entropy_bits=None, loss_gap=None)
    cards = [results(400, 0, 5.0, 1.0), results(0, 3000, 1.0, 9.0)]
    assert watch(cards, limits, [1.0, 0.5]).crossings == {}
    assert len(watch(cards, CollapseLimits(), [1.0, 0.5]).crossings) == 4


@pytest.mark.parametrize(
    "limits", [{"novel_c3": 1.5}, {"memorized_rows": 0.0}, {"entropy_bits": -1.0}, {"loss_gap": math.nan}]
)
def test_thresholds_that_cannot_be(limits: dict[str, float]) -> None:
    with pytest.raises(InputError, match="--collapse"):
        CollapseLimits(**limits)
