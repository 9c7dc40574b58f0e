"""What bears on a question: the points that stand for each family, within the budget, at each number of examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genraven.report.contest import Field, by_examples, groups, winner
from genraven.report.forecast import Forecast
from genraven.report.points import Point, Variant, foretell, variants
from genraven.report.question import Question
from genraven.report.runs import Run


@dataclass(frozen=True)
class Evidence:
    """What bears on a question."""

    variants: Sequence[Variant]
    names: Sequence[str]
    """Of all families that have a run, finished or not."""
    fields: Mapping[int, Field]
    question: Question

    def around(self, examples: float) -> list[int]:
        """The number of examples itself, or the two on both sides, at which all families were measured; else none."""
        whole = [size for size, field in self.fields.items() if all(name in field for name in self.names)]
        if examples in whole:
            return [int(examples)]
        left, right = [size for size in whole if size < examples], [size for size in whole if size > examples]
        return [max(left), min(right)] if left and right else []

    def winner(self, examples: float) -> str | None:
        """The family that wins there: where only both sides were measured, on both."""
        found = {winner(self.fields[size], self.names, self.question.metric) for size in self.around(examples)}
        return found.pop() if len(found) == 1 else None

    def measured(self, family: str) -> list[int]:
        """Numbers of examples."""
        return [size for size, field in self.fields.items() if family in field]

    def uncounted(self, family: str) -> list[str]:
        """Names of runs that have the score, from a number of examples that is not known."""
        runs = [run for variant in self.variants for run in variant.runs]
        return [run.name for run in runs if run.family == family and not run.samples_per_rule
                and run.final and run.final.measured(self.question.metric)]  # fmt: skip

    def forecast(self, family: str) -> Forecast:
        """Of its score."""
        return foretell({size: self.fields[size][family].point for size in self.measured(family)}, self.question.metric)


def gather(runs: Sequence[Run], question: Question) -> Evidence:
    """The evidence of ``runs``, all of one data set."""
    found = variants(runs)
    all_names = sorted({*groups(found), *(run.family for run in runs if run.family)})
    fields = by_examples(found, question.metric, lambda variant, samples: affordable(variant, samples, question))
    return Evidence(found, all_names, fields, question)


def affordable(variant: Variant, samples: int, question: Question) -> Point | None:
    """The end of its training, or of a steady one the last checkpoint within the budget."""
    end = variant.points.get(samples)
    if end is None or question.affords(end):
        return end
    along = variant.along(samples, question.metric) if variant.is_steady else []
    return next((point for point in reversed(along) if question.affords(point)), None)
