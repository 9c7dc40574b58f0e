"""Where a model collapses: it falls, it memorises, or a signal told while it trained."""

from tables import repeats

from genraven.report.collapse import collapses
from genraven.report.points import variants


def kinds(*runs: list) -> list[tuple[int, str]]:
    found = collapses(variants([one for part in runs for one in part]))
    return [(one.point.samples, one.kind) for one in found]


def test_half_of_what_more_examples_give_is_a_fall() -> None:
    assert kinds(repeats("diffusion", 100, 0.2), repeats("diffusion", 1600, 0.8)) == [(100, "falls"), (100, "falls")]
    assert kinds(repeats("diffusion", 100, 0.45), repeats("diffusion", 1600, 0.8)) == []


def test_consistent_puzzles_that_are_not_new_are_memory() -> None:
    assert kinds(repeats("diffusion", 100, 0.5, scores={"c3": 0.5, "novel_c3": 0.01})) == [(100, "memorises")]
    assert kinds(repeats("diffusion", 100, 0.5, scores={"c3": 0.5, "novel_c3": 0.4})) == []


def test_new_puzzles_that_are_written_again_are_repetition() -> None:
    assert kinds(repeats("diffusion", 100, 0.5, scores={"different_novel_c3": 0.01})) == [(100, "repeats")]
    assert kinds(repeats("diffusion", 100, 0.5, scores={"different_novel_c3": 0.4})) == []


def test_signals_of_training_are_told_briefly() -> None:
    signal = {"loss_gap": {"step": 3000, "value": 2.5088493824005127, "threshold": 2.0328482151031495}}
    (told,) = collapses(variants(repeats("diffusion", 100, 0.5, collapse=signal)))
    assert told.kind == "signal"
    assert told.detail.startswith("loss_gap in 3 of 3 runs: 2.51 crossed 2.03 at step 3000; ")
