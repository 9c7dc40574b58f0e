"""The question that somebody asks who has not trained anything yet."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from genraven.errors import InputError, setting
from genraven.networks.prior import Prior
from genraven.puzzles.spec import NUM_RULES, RULES, resolve_rules
from genraven.report.question import Question

RulesAsked = int | str | Sequence[int | str]
"""How many, or which, as ``data.rules`` names them."""
MAX_TIMES_RULES = 2
"""Times more or fewer rules than evidence has of which it may be asked."""


@dataclass(frozen=True)
class Asked:
    """What somebody with examples wants to know.

    Raises:
        InputError: a number out of its range, no such goal, prior or rule, or held-out rules of something but
            completion.
    """

    goal: str
    examples: int
    """Examples of each rule that there are."""
    growth: float = 1.0
    """Times as many examples in a year."""
    held_out: bool = False
    """Is it rules that were not trained that are to be completed?"""
    rules: RulesAsked | None = None
    """To learn; None: any number of any rules."""
    prior: Prior | None = None
    """The prior of the networks; None for either."""
    budget: float | None = None
    """Device-hours that a training may take."""
    evidence: tuple[str, ...] = ()
    """Folders of the user's runs and studies, which are asked beside those that ship."""

    def __post_init__(self) -> None:
        if self.held_out and self.goal != "completion":
            raise InputError(
                f"expected {setting('held_out')} with {setting('goal', 'completion')}, got {self.goal}: leave one out."
            )
        if not isinstance(self.rules, str | int | Sequence | None) or isinstance(self.rules, bool):
            raise InputError(f"expected {setting('rules')} as a number or as names, got {self.rules!r}.")
        if self.num_rules is not None and self.num_rules < 1:
            raise InputError(f"expected {setting('rules')} of 1 or more, got {self.rules}.")
        if self.num_rules is not None and self.num_rules > NUM_RULES:
            raise InputError(
                f"expected {setting('rules')} of at most {NUM_RULES}, of which all puzzles are made, got {self.rules}."
            )
        if self.prior is not None and self.prior not in get_args(Prior):
            raise InputError(f"expected {setting('prior')} to be {' or '.join(get_args(Prior))}, got {self.prior!r}.")
        _ = self.question

    @property
    def rule_names(self) -> frozenset[str] | None:
        """Those asked for by name; None where it was a number, or nothing."""
        if self.rules is None or isinstance(self.rules, int):
            return None
        return frozenset(RULES[rule].name for rule in resolve_rules(self.rules))

    @property
    def num_rules(self) -> int | None:
        """How many there are to learn."""
        return self.rules if self.rules is None or isinstance(self.rules, int) else len(self.rule_names or ())

    @property
    def question(self) -> Question:
        """The question in the report's form."""
        return Question("held-out-completion" if self.held_out else self.goal, self.examples, self.growth, self.budget)

    @property
    def command(self) -> str:
        """That asks it of the command line."""
        words = ["genraven", "advise", "--goal", self.goal, "--examples", str(self.examples)]
        words += [] if self.growth == 1 else ["--growth", f"{self.growth:g}"]
        words += ["--held-out"] if self.held_out else []
        words += [] if self.rules is None else ["--rules", *map(str, _words_of(self.rules))]
        words += [] if self.prior is None else ["--prior", self.prior]
        words += [] if self.budget is None else ["--budget", f"{self.budget:g}"]
        return shlex.join([*words, "--evidence", *self.evidence] if self.evidence else words)


def _words_of(rules: RulesAsked) -> Sequence[int | str]:
    return [rules] if isinstance(rules, int | str) else rules
