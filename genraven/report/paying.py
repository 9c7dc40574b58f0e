"""What a choice costs, in sentences."""

from genraven.report.contest import Choice
from genraven.report.question import Question
from genraven.report.sentences import Finding, hours, names
from genraven.report.spending import Bill
from genraven.report.trust import MAX_ERROR


def to_pay(of: Bill, question: Question, choice: Choice) -> list[Finding]:
    """Training, and a year of puzzles; what is left out is said."""
    if of.training_hours is None:
        return [Finding("What its training took is not known.", names(choice.point))]
    money = "" if of.price is None else f", {of.price * of.training_hours:,.2f} of money"
    mean_of = f" (mean of {len(choice.point.runs)} repeats)" if len(choice.point.runs) > 1 else ""
    found = [Finding(f"Training took {hours(of.training_hours)}{money}{mean_of}.", names(choice.point))]
    number, prices = question.prices.puzzles_per_year, question.prices
    if number is None:
        return found
    if of.writing_hours is None and of.review_share is not None:
        text = (f"Writing {number:,} puzzles a year as they were calibrated, several candidates each with their "
                "confidence: not known until `genraven evaluate --trust` has timed it.")  # fmt: skip
    elif of.writing_hours is None:
        text = f"Writing {number:,} puzzles a year: not known, since no evaluation was timed."
    else:
        money = "" if of.price is None else f", {of.price * of.writing_hours:,.2f} of money"
        text = f"Writing {number:,} puzzles a year takes {hours(of.writing_hours)}{money}."
    if of.review_share is not None:
        text += f" {_reviews(of, question)}"
    elif prices.review_price is not None:
        text += (f" Review at {prices.review_price:g} each is left out: what share would be sent to it is not known "
                 "until `genraven calibrate` has seen these runs "
                 f"(all of them: {number * prices.review_price:,.0f}).")  # fmt: skip
    if of.total is not None:
        without = f" without {' and '.join(of.left_out)}" if of.left_out else ""
        text += f" In all, for the first year{without}: {of.total:,.2f}."
    return [*found, Finding(text)]


def _reviews(of: Bill, question: Question) -> str:
    """How many completions people have to look at, and what that costs."""
    assert of.review_share is not None
    price = question.prices.review_price
    cost = "" if of.reviewing is None else f": {of.reviewing:,.0f} of money at {price:g} each"
    return (f"Of puzzles like those of its calibration it accepts {1 - of.review_share:.0%} with at most "
            f"{MAX_ERROR:.0%} wrong and leaves {of.review_share:.0%} to review{cost}.")  # fmt: skip
