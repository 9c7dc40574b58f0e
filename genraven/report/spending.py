"""What a choice costs: training, and a year of puzzles written and reviewed."""

from dataclasses import dataclass

from genraven.report.contest import Choice
from genraven.report.english import hours, sentence
from genraven.report.goals import Goal
from genraven.report.page import Item
from genraven.report.points import Point
from genraven.report.question import Prices, Question
from genraven.report.sentences import names
from genraven.report.trust import MAX_ERROR, fraction_to_review, seconds_to_write


@dataclass(frozen=True)
class Bill:
    """In device-hours, and in money where a price is known."""

    training_hours: float | None
    seconds_each: float | None
    """Device-seconds that a puzzle takes, written as it is used: where completions are reviewed, with all the
    candidates and confidences that tell which; else once."""
    writing_hours: float | None
    """Device-hours to write a year's puzzles."""
    review_fraction: float | None
    """Of the completions, left to people so that at most ``MAX_ERROR`` of the others are wrong."""
    reviewing: float | None
    """Money for a year; None where the fraction or the price is not known."""
    price: float | None

    @property
    def total(self) -> float | None:
        """Money: training + puzzles a year x cost of a puzzle written + fraction to review x price of a review.

        Without what is not known; None where not even training is.
        """
        if self.price is None or self.training_hours is None:
            return None
        return self.price * (self.training_hours + (self.writing_hours or 0.0)) + (self.reviewing or 0.0)

    @property
    def left_out(self) -> list[str]:
        """What of the total is not known."""
        parts = {"writing": self.writing_hours, "review": self.reviewing}
        return [name for name, value in parts.items() if value is None]


def bill(point: Point, training: Point, goal: Goal, prices: Prices) -> Bill:
    """Of training once as ``training`` was, and writing a year's puzzles with ``point``, which came of it."""
    each, number = seconds_per_puzzle(point, goal), prices.puzzles_per_year
    fraction, reviewing = None, None
    if goal.is_reviewed:
        trusts = [run.trust_in(result) for run, result in zip(point.runs, point.results, strict=True)]
        fraction = fraction_to_review(trusts)
        each = each if fraction is None else seconds_to_write(trusts)
    if number is not None and prices.review_price is not None and fraction is not None:
        reviewing = number * fraction * prices.review_price
    writing = None if each is None or number is None else number * each / 3600
    return Bill(training.spent("device_hours"), each, writing, fraction, reviewing, prices.device_hour)


def seconds_per_puzzle(point: Point, goal: Goal) -> float | None:
    """Device-seconds of a puzzle written once, the mean of the evaluations; None where they were not timed."""
    task, metric = goal.task, goal.times
    if task is None or metric is None:
        return None
    known = [
        result.seconds[task] * result.devices / result.scores[metric].count
        for result in point.results
        if result.seconds.get(task) is not None and metric in result.scores
    ]
    return sum(known) / len(known) if known else None


def to_pay(of: Bill, question: Question, choice: Choice) -> list[Item]:
    """Training, and a year of puzzles; what is left out is said."""
    if of.training_hours is None:
        return [Item(sentence("cost_unknown"), names(choice.point))]
    took = sentence("training_took", hours=hours(of.training_hours), money=_money(of, of.training_hours),
                    num=len(choice.point.runs))  # fmt: skip
    found = [Item(took, names(choice.point))]
    number, prices = question.prices.puzzles_per_year, question.prices
    if number is None:
        return found
    is_reviewed, writing = of.review_fraction is not None, of.writing_hours
    texts = [sentence("writing", number=f"{number:,}", hours=None if writing is None else hours(writing),
                     money=_money(of, writing), is_reviewed=is_reviewed)]  # fmt: skip
    if is_reviewed:
        texts.append(_reviews(of, question))
    elif prices.review_price is not None:
        most = f"{number * prices.review_price:,.0f}"
        texts.append(sentence("no_reviews", price=f"{prices.review_price:g}", most=most))
    if of.total is not None:
        texts.append(sentence("in_all", left_out=of.left_out, total=f"{of.total:,.2f}"))
    return [*found, Item(" ".join(texts))]


def _money(of: Bill, device_hours: float | None) -> str | None:
    return None if of.price is None or device_hours is None else f"{of.price * device_hours:,.2f}"


def _reviews(of: Bill, question: Question) -> str:
    """How many completions people have to look at, and what that costs."""
    assert of.review_fraction is not None
    price = question.prices.review_price
    return sentence(
        "reviews",
        accepted=f"{1 - of.review_fraction:.0%}",
        max_error=f"{MAX_ERROR:.0%}",
        left=f"{of.review_fraction:.0%}",
        money=None if of.reviewing is None else f"{of.reviewing:,.0f}",
        price=None if price is None else f"{price:g}",
    )
