"""What a choice costs, in sentences."""

from genraven.report.contest import Choice
from genraven.report.english import sentence
from genraven.report.question import Question
from genraven.report.sentences import Finding, hours, names
from genraven.report.spending import Bill
from genraven.report.trust import MAX_ERROR


def to_pay(of: Bill, question: Question, choice: Choice) -> list[Finding]:
    """Training, and a year of puzzles; what is left out is said."""
    if of.training_hours is None:
        return [Finding(sentence("cost_unknown"), names(choice.point))]
    took = sentence("training_took", hours=hours(of.training_hours), money=_money(of, of.training_hours),
                    num=len(choice.point.runs))  # fmt: skip
    found = [Finding(took, names(choice.point))]
    number, prices = question.prices.puzzles_per_year, question.prices
    if number is None:
        return found
    is_reviewed, writing = of.review_share is not None, of.writing_hours
    told = [sentence("writing", number=f"{number:,}", hours=None if writing is None else hours(writing),
                     money=_money(of, writing), is_reviewed=is_reviewed)]  # fmt: skip
    if is_reviewed:
        told.append(_reviews(of, question))
    elif prices.review_price is not None:
        most = f"{number * prices.review_price:,.0f}"
        told.append(sentence("no_reviews", price=f"{prices.review_price:g}", most=most))
    if of.total is not None:
        told.append(sentence("in_all", left_out=of.left_out, total=f"{of.total:,.2f}"))
    return [*found, Finding(" ".join(told))]


def _money(of: Bill, device_hours: float | None) -> str | None:
    return None if of.price is None or device_hours is None else f"{of.price * device_hours:,.2f}"


def _reviews(of: Bill, question: Question) -> str:
    """How many completions people have to look at, and what that costs."""
    assert of.review_share is not None
    price = question.prices.review_price
    return sentence(
        "reviews",
        accepted=f"{1 - of.review_share:.0%}",
        max_error=f"{MAX_ERROR:.0%}",
        left=f"{of.review_share:.0%}",
        money=None if of.reviewing is None else f"{of.reviewing:,.0f}",
        price=None if price is None else f"{price:g}",
    )
