"""What a model may be for: one entry a goal, and the report, its options and its bill know it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StandIn:
    """A score that is taken where the goal's own was not counted in all runs."""

    score: str
    does: str = ""
    """As ``Goal.does``."""
    caution: str = ""
    """What is then said; empty where the template has it."""


@dataclass(frozen=True)
class Goal:
    """What a model is for, and the score that tells how well it does that.

    Which way of the score is better stands in the table of scores.
    """

    name: str
    """As ``--goal`` has it."""
    score: str
    does: str = ""
    """What a family does, with a place for the value of the score; empty where the template has it."""
    task: str | None = None
    """What of an evaluation is timed: ``complete`` or ``generate``; None where nothing is written for it."""
    times: str | None = None
    """The score whose count says how often the task was done."""
    is_reviewed: bool = False
    """May what is written go through ``genraven calibrate`` and to people?"""
    stand_in: StandIn | None = None


GOALS: dict[str, Goal] = {
    goal.name: goal
    for goal in (
        Goal("completion", "completion", task="complete", times="completion", is_reviewed=True),
        Goal("held-out-completion", "completion_held_out", task="complete", times="completion"),
        Goal("generation", "different_novel_c3", task="generate", times="c3", stand_in=StandIn("novel_c3")),
    )
}
