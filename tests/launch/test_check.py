"""``genraven advise --check``: runs of one's own beside a study, on made-up runs."""

import re
from pathlib import Path

import pytest
from made_up import make_run, make_sweep

from genraven.errors import InputError
from genraven.report import figures
from launch.advice.answer import Answer, advise
from launch.advice.check import Outcome
from launch.cli import main


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Autoregressive 0.4 against 0.05 at 400 examples, diffusion 0.8 against 0.55 at 40 000: three repeats."""
    return make_sweep(tmp_path_factory.mktemp("study"))


def make_check(folder: Path, scores: dict[int, tuple[float, float]]) -> Path:
    """One run of each family at these numbers of examples: autoregressive, diffusion."""
    for examples, values in scores.items():
        for family, value in zip(("autoregressive", "diffusion"), values, strict=True):
            make_run(folder / f"{examples}-{family}", family, examples, value, seed=11, puzzles=1600)
    return folder


def completions(found: Answer) -> dict[int, Outcome]:
    assert found.check is not None
    return {one.examples: one.outcome for one in found.check.compared if one.goal == "completion"}


def test_the_verdict_is_the_studys_and_the_check_agrees(study: Path, tmp_path: Path) -> None:
    """Without a number of examples it asks from the fewest to the most that were checked."""
    check = make_check(tmp_path / "check", {400: (0.3, 0.1), 40000: (0.3, 0.6)})
    found, asked = advise(evidence=study, check=check), advise(examples=400, growth=100, rules=4, evidence=study)
    assert (found.verdict, found.heading) == (asked.verdict, asked.headline)
    assert (found.verdict, found.family, found.later) == ("train, then switch", "autoregressive", "diffusion")
    assert completions(found) == {400: Outcome.AGREES, 40000: Outcome.AGREES}
    assert found.check
    first, *rest, last = found.check.sentences
    assert re.fullmatch(r"It agrees with the study \w+ in all 4 comparisons\.", first)
    assert rest[0] == ("Completion, 400 examples: agrees. Here autoregressive 0.30 against diffusion 0.10; in the "
                       "study autoregressive 0.40 against diffusion 0.05, surely, 3 repeats.")  # fmt: skip
    assert last == ("A check is no verdict: it has 1 run of each, and its trainings saw 1.6 k puzzles each where the "
                    "study's saw 6.4 k.")  # fmt: skip


def test_a_check_is_no_evidence(study: Path, tmp_path: Path) -> None:
    check = make_check(tmp_path / "check", {400: (0.0, 0.9)})
    found, asked = (advise(examples=400, rules=4, evidence=study, check=one) for one in (check, None))
    assert (found.family, found.sure, found.rests_on) == (asked.family, asked.sure, asked.rests_on)
    assert completions(found) == {400: Outcome.DISAGREES}
    assert found.check and found.check.outcome is Outcome.DISAGREES
    assert found.check.sentences[0].startswith("It disagrees with the study")


@pytest.mark.parametrize(
    ("scores", "outcome", "said"),
    [
        ({400: (0.31, 0.30)}, Outcome.OPEN, "It cannot tell: what it measured may be chance."),
        ({100: (0.5, 0.1), 400: (0.5, 0.5)}, Outcome.OPEN, "It cannot tell: what it measured may be chance."),
        ({400: (0.3, 0.1), 4000: (0.3, 0.3)}, Outcome.AGREES, "in 2 of 4 comparisons and cannot tell in the others."),
        ({400: (0.3, 0.1), 4000: (0.1, 0.3)}, Outcome.DISAGREES, "in 2 of 4 comparisons."),
        # At 8,000 there is nothing to compare with: the lead changes between 4,000 and 40,000.
        ({8000: (0.1, 0.3), 400: (0.3, 0.1)}, Outcome.AGREES, "in all 2 comparisons."),
    ],
)  # fmt: skip
def test_what_a_check_says(
    study: Path, tmp_path: Path, scores: dict[int, tuple[float, float]], outcome: Outcome, said: str
) -> None:
    check = make_check(tmp_path / "check", scores)
    found = advise(examples=400, rules=4, evidence=study, check=check).check
    assert found
    assert found.outcome is outcome
    assert found.sentences[0].endswith(said)


def test_a_number_of_examples_that_no_study_has_is_left_for_the_most(study: Path, tmp_path: Path) -> None:
    check = make_check(tmp_path / "check", {100: (0.5, 0.1), 4000: (0.5, 0.1)})
    found = advise(evidence=study, check=check)
    assert found.asked.examples == 4000
    assert completions(found) == {100: Outcome.ALONE, 4000: Outcome.AGREES}


def test_without_repeats_the_heading_is_a_hint(tmp_path: Path) -> None:
    study = make_sweep(tmp_path / "study", repeats=1)
    check = make_check(tmp_path / "check", {400: (0.3, 0.1)})
    found = advise(evidence=study, check=check)
    assert found.verdict == "not enough evidence"
    assert found.heading == ("A hint, no verdict yet (1 run of each family; a verdict needs 3): the autoregressive "
                             "family is ahead for completion with 400 examples per rule.")  # fmt: skip
    assert str(found).startswith(found.heading)
    assert advise(examples=400, rules=4, evidence=study).heading.startswith("Not enough evidence")
    assert completions(found) == {400: Outcome.AGREES}


def test_the_page_has_what_the_check_measured(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no answer of the check's own."""
    monkeypatch.setattr(figures, "chart", lambda lines, *labels: "<svg/>" if any(x.points for x in lines) else None)
    monkeypatch.setattr(figures, "per_rule", lambda shares, look: "<svg/>")
    check = make_check(tmp_path / "check", {400: (0.3, 0.1), 40000: (0.3, 0.6)})
    command = ["advise", "--check", str(check), "--evidence", str(study), "--out", str(check / "report.html")]
    assert main(command) == 0
    page, twin = (check / "report.html").read_text(), (check / "report.md").read_text()
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert headings[0].startswith("Train the autoregressive family")
    assert "What the check measured" in headings
    assert page.count('class="answer"') == 1
    assert "does not rest on them" in page
    assert "400-diffusion" in twin
    assert list((check / "report_figures").glob("*.svg"))
    assert "Check: It agrees with the study" in capsys.readouterr().out


def test_what_is_refused(study: Path, tmp_path: Path) -> None:
    of_other_rules = make_run(tmp_path / "other" / "run", "diffusion", 400, 0.5, trained=["shape.xor"]).parent
    one_family = make_run(tmp_path / "one" / "run", "diffusion", 400, 0.5).parent
    two = make_check(tmp_path / "two", {400: (0.3, 0.1)})
    make_run(two / "other", "diffusion", 400, 0.5, data={"rules": ["shape.xor"]})
    with pytest.raises(InputError, match="expected --check to hold runs of the data and the prior of a study"):
        advise(check=of_other_rules)
    with pytest.raises(InputError, match="to hold runs of both families with the same number of examples"):
        advise(evidence=study, check=one_family)
    with pytest.raises(InputError, match="expected check= to hold runs of one data set and prior, got 2 in"):
        advise(evidence=study, check=two)
    with pytest.raises(InputError, match="expected examples=, how many you have of each rule, got none"):
        advise()


def test_a_study_whose_families_are_level_says_nothing_to_a_check(tmp_path: Path) -> None:
    """No hint either: a tie has no leader."""
    for family in ("autoregressive", "diffusion"):
        for seed in range(3):
            make_run(tmp_path / "level" / f"{family}-{seed}", family, 400, 1.0, seed=seed)
    check = make_check(tmp_path / "check", {400: (0.5, 0.9)})
    found = advise(examples=400, rules=4, evidence=tmp_path / "level", check=check)
    assert found.hint == ""
    assert completions(found) == {400: Outcome.OPEN}
