"""The scores of a model on evaluation puzzles, by one process or several."""

from torch import Tensor

from datamodules import GenRAVENDataModule
from datamodules.batches import EvaluationLoader
from genraven.metrics.outcomes import Flags, in_order, outcomes
from genraven.metrics.scores import ScoreResults, Scores
from genraven.progress import Progress
from genraven.puzzles.corrupt import Corruption, corrupt
from launch.processes.process_group import ProcessGroup
from launch.trained.settings import Scoring
from lightning_modules import PuzzleModule


def draws_of(split: str) -> str:
    """The name under which noise is drawn for the evaluation of ``split``: of its own, not that of a validation that
    may have chosen the checkpoint.
    """
    return f"evaluate {split}"


def corrupted_puzzles(puzzles: Tensor, fraction: float, seed: int, split: str) -> Tensor | None:
    """What a model sees of the ``puzzles`` of ``split`` where it is to complete them; None for these themselves."""
    if not fraction:
        return None
    return corrupt(puzzles, Corruption(cells=fraction), seed=seed, key=(("val", "test").index(split),))


def score_model(
    model: PuzzleModule,
    data: GenRAVENDataModule,
    scoring: Scoring,
    batch_size: int,
    group: ProcessGroup | None = None,
    *,
    progress: bool = True,
) -> tuple[ScoreResults, dict[str, Flags]]:
    """Scores of ``model`` on the evaluation puzzles of ``data``, with as many generated; each puzzle's own outcome.

    Processes score whole batches in turn. What is drawn for a puzzle follows from its place: any number of processes
    and any size of batches gives the same scores, but for rounding.

    Args:
        model: as it is to be used, within the contexts that it is to be used in.
        data: that it was trained with.
        scoring: what is scored.
        batch_size: puzzles at once.
        group: the processes at work; None for this one alone.
        progress: does the first process show its progress?
    """
    group, split = group or ProcessGroup(), scoring.split
    with group.together() as parts:
        data.prepare_data()
        puzzles, rules = data.evaluation_puzzles(split, scoring.puzzles_per_rule)
        corrupted = corrupted_puzzles(puzzles, scoring.given_corruption, model.seed, split)
        index = data.training_index()
        scores = Scores(data.trained, index, model.device, model.likelihood)
        loader = EvaluationLoader(puzzles, rules, batch_size, rank=group.rank, world_size=group.size)
        is_shown = progress and group.rank == 0
        with Progress("score", len(loader), "batch", shown=is_shown, num_loops=2) as bar:  # completes, generates
            for batch in bar.over(loader):
                if len(batch.puzzles):
                    here = batch._replace(puzzles=batch.puzzles.to(model.device), rules=batch.rules.to(model.device))
                    part = slice(batch.start, batch.start + len(batch.puzzles))
                    given = None if corrupted is None else corrupted[part].to(model.device)
                    made = model.score(scores, here, draws_of(split), given=given)
                    parts.append(outcomes(batch.step, made["completed"], here.rules, made["generated"], index))
    return scores.compute(), in_order(parts)
