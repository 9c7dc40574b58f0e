"""``genraven advise``: what the committed studies say to somebody who has not trained anything."""

import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_up import make_run, make_sweep

import genraven
from genraven.errors import InputError
from genraven.report.dataset import flat
from genraven.report.english import hours
from genraven.report.goals import GOALS, Goal
from genraven.report.question import Question
from genraven.report.reading import _settings
from genraven.report.recommend import recommend
from genraven.report.study import SHIPPED
from launch.advice import commands, words
from launch.advice.answer import advise
from launch.advice.asked import Asked
from launch.advice.command import rules_asked
from launch.advice.studies import shipped
from launch.cli import main
from launch.training.resolve import Resolver

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two families on four rules, whose curves cross between 4 000 and 40 000 examples; to be read alone."""
    return make_sweep(tmp_path_factory.mktemp("sweep"))


def test_what_ships_is_what_is_committed() -> None:
    assert {path.parent.name for path in SHIPPED.glob("*/runs.jsonl")} == {
        path.parent.name for path in (ROOT / "docs" / "study").glob("*/runs.jsonl")
    }
    assert {"little_data", "whole_task"} <= {body.study for body in shipped()}
    assert {run.dataset["corruption"] for body in shipped() for run in body.runs} == {"none"}


def test_the_answer_is_the_reports_own() -> None:
    (body,) = [body for body in shipped() if body.study == "little_data"]
    for examples in (400, 2000):
        told, found = recommend(body.runs, Question("completion", examples)), advise(examples=examples, rules=3)
        assert (found.verdict, found.headline, found.family) == (told.verdict, told.headline, told.family)
        assert found.sure == tuple(finding.text for finding in told.sure)
    assert advise(examples=400, rules=3).family == "autoregressive"
    assert advise(examples=2000, rules=3).family is None


def test_a_goal_is_one_entry(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(GOALS, "privacy", Goal("privacy", "memorized_rows", "copies {} of its rows"))
    assert main(["advise", "--goal", "privacy", "--examples", "400", "--rules", "3"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].endswith(" for privacy with 400 examples per rule.")
    assert "copies 0." in said or "Memorised rows: autoregressive 0." in said
    with pytest.raises(SystemExit):
        main(["advise", "--help"])
    assert "generation or privacy" in " ".join(capsys.readouterr().out.split())


def test_families_that_were_tuned_answer_before_others() -> None:
    """Where they decide; elsewhere they are named."""
    tuned = advise("completion", examples=4000, prior="structured")
    assert "of tuned, on 35 rules" in tuned.rests_on[0]
    assert not any("were not tuned" in sentence for sentence in tuned.rests_on)
    between = advise("completion", examples=2000, prior="structured")
    assert "of whole, on 35 rules" in between.rests_on[0]
    said = (
        "These families were not tuned. Those of the study tuned were, with the same budget for each, on 4,000 "
        "examples per rule"
    )
    assert any(sentence.startswith(said) for sentence in between.rests_on)
    general = advise("completion", examples=1600, rules=3)
    assert not any("were not tuned" in sentence for sentence in general.rests_on)


def test_how_far_the_nearest_points_are() -> None:
    near = advise(examples=2000, rules=6, budget=1.0).nearest
    assert (near[0].study, near[0].examples, near[0].num_rules) == ("little_data", 1600, 3)
    assert near[0].apart.startswith("0.8 times as many examples as your question; 0.5 times as many rules as")
    assert "times as many device-hours" in near[0].apart
    assert [one.distance for one in near] == sorted(one.distance for one in near)
    assert near[0].scores.keys() == {"autoregressive", "diffusion"}


def test_a_question_of_other_rules_is_told_so() -> None:
    found = advise(examples=400, rules=6)
    assert any("Your question is of 6 rules" in text and "not known" in text for text in found.rests_on)
    assert not any("carries over" in text for text in advise(examples=400, rules=3).rests_on)
    assert "35 rules" in advise(examples=4000, rules=35).rests_on[0]
    assert "35 rules" in advise(examples=4000, held_out=True).rests_on[0]


def test_rules_by_name() -> None:
    """As ``data.rules`` has them: those of a study are its own, and all are those that were trained and held out."""
    three = ["color.constant", "shape.constant", "size.constant"]
    named, counted = advise(examples=400, rules=three), advise(examples=400, rules=3)
    assert (named.headline, named.rests_on) == (counted.headline, counted.rests_on)
    assert named.nearest[0].apart.endswith("the rules of your question")
    other = advise(examples=400, rules=[*three[:2], "number.constant"])
    assert other.rests_on[-1].startswith("These are other rules than the 3 that you named. It is not known")
    for word in ("all", "study"):
        whole = advise(examples=4000, rules=word, prior="structured")
        assert "on 35 rules" in whole.rests_on[0]
        assert "These trainings held out 5 of your 40 rules." in whole.rests_on
        assert any(text.startswith("Completion counts puzzles of the 5 rules") for text in whole.rests_on)


@pytest.mark.parametrize(
    ("words", "rules"),
    [
        ("3", 3),
        ("all", "all"),
        ("color.xor", "color.xor"),
        ("[color.xor, number]", ["color.xor", "number"]),
        ("color.xor number", ["color.xor", "number"]),
        ("1 20", [1, 20]),
    ],
)
def test_rules_on_the_command_line(words: str, rules: int | str | list[int | str]) -> None:
    """Also in the command that asks again."""
    assert rules_asked(words.split()) == rules
    again = shlex.split(Asked("completion", 400, rules=rules).command)
    assert rules_asked(again[again.index("--rules") + 1 :]) == rules


def fit_commands(found: genraven.Answer) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in found.commands if line.startswith("genraven fit")]


def test_the_commands_to_run_next_work() -> None:
    """As written they resolve to a run, of the recipe that won; where nobody did, of both and with new seeds."""
    (train,) = fit_commands(advise(examples=400, rules=3))
    repeats = fit_commands(advise(examples=2000, rules=3))
    resolver = Resolver(train)
    config = resolver.resolve(train)
    assert config["data"]["samples_per_rule"] == 400
    assert config["model"]["init_args"]["network"]["init_args"]["dropout"] == 0.1
    configs = [resolver.resolve(words) for words in repeats]
    assert [one["data"]["samples_per_rule"] for one in configs] == [1600, 1600]
    assert [one["data"]["seed"] for one in configs] == [3, 3]
    assert len({one["model"]["class_path"] for one in configs}) == 2
    again = advise(examples=2000, rules=3, growth=5).commands[-1]
    assert again == "genraven advise --goal completion --examples 2000 --growth 5 --rules 3 --evidence runs/advised"


def test_between_two_measured_sizes_one_of_them_gives_cost_and_commands() -> None:
    (body,) = [body for body in shipped() if body.study == "little_data"]
    choices = body.put(Question("completion", 400)).evidence.fields[400]
    took = [f"{name}: Training took {hours(one.training.spent('device_hours') or 0)} " for name, one in choices.items()]
    found = advise(examples=380, rules=3)
    assert [text.startswith(one) for text, one in zip(found.cost, took, strict=False)] == [True, True]
    assert all("--data.samples_per_rule=400" in shlex.join(words) for words in fit_commands(found))


def test_a_budget_holds_for_the_command_too() -> None:
    """A checkpoint half-way is trained half-way; its repeats are whole trainings, or the study would not count them."""
    (train,) = fit_commands(advise(examples=2000, rules=3, budget=0.05))
    assert [word for word in train if word.startswith("--trainer.max_steps")] == ["--trainer.max_steps=1500"]
    assert Resolver(train).resolve(train)["trainer"]["max_steps"] == 1500
    whole = advise(examples=100, rules=3, budget=0.05)
    assert whole.family is None
    assert all(shlex.join(words).count("--trainer.max_steps 3000") == 1 for words in fit_commands(whole))
    assert whole.budget[-1].startswith("The repeats to run next are whole trainings, of 0.09 to 0.12 device-hours each")


def test_what_a_budget_leaves_out_is_said() -> None:
    found = advise(examples=400, budget=0.3)
    assert found.budget[0].startswith(
        "Without the budget of 0.3 device-hours, the study whole would answer, on 35 rules, with"
    )
    assert f"Budget: {found.budget[0]}" in str(found).splitlines()
    (note,) = advise(examples=2000, rules=3, budget=0.05).budget
    assert note.startswith("20 of 20 points took more than the budget of 0.05 device-hours")
    assert advise(examples=400, rules=3, budget=100).budget == ()


def test_where_no_recipe_is_shipped_the_grid_of_the_same_prior_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "recipe", lambda body, run: None)
    found = advise(examples=4000, rules="all", prior="structured").commands
    assert found[0] == "genraven sweep sweep/whole.yaml --tier first --local 1"
    assert found[1] == "genraven evaluate runs/whole"


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_recipe_is_of_the_precision_that_its_runs_were_trained_in(precision: str) -> None:
    body = next(body for body in shipped() if body.study == "little_data")
    run = body.runs[0]
    words = commands.recipe(body, replace(run, settings={**run.settings, "trainer.precision": precision}))
    assert words is not None
    assert Resolver(words[1:]).resolve(words[1:])["trainer"]["precision"] == precision
    assert sum(word.startswith("--trainer.precision") for word in words) == 1


@pytest.mark.parametrize("study", ["little_data", "little_data_variants", "structure", "whole"])
def test_a_command_trains_the_recipe_that_was_measured(study: str) -> None:
    """Also of runs that are older than an option."""
    body = next(body for body in shipped() if body.study == study)
    for run in {(run.architecture, run.max_steps): run for run in body.runs}.values():
        words = commands.recipe(body, run)
        assert words is not None
        config = Resolver(words[1:]).resolve(words[1:])
        now = _settings(dict(flat({part: config[part] for part in ("model", "data", "trainer")})), {})
        asked, done = ({k: v for k, v in one.items() if v != "none"} for one in (now, run.settings))
        assert asked == done


def test_runs_of_ones_own(sweep: Path) -> None:
    """They answer where they are nearest, switch where they cross, and tell what a training takes here."""
    found = advise(examples=4000, rules=4, growth=10, evidence=sweep)
    assert (found.verdict, found.family, found.later) == ("train, then switch", "autoregressive", "diffusion")
    assert any("overtakes the autoregressive family between 4,000 and 40,000" in text for text in found.switching)
    assert any("at the 4.17 TFLOP/s of your own runs of that network it takes 0.2 device-" in c for c in found.cost)
    (words, *_) = fit_commands(found)
    assert Path(words[words.index("-c") + 1]).is_relative_to(sweep)


def little_data(folder: Path, *names: str, seed: int | None = None, relation: str = "constant") -> Path:
    """A study of some runs of little_data, of another seed and other rules."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("runs.jsonl", "outcomes.jsonl", "curves.csv"):
        header, *lines = (SHIPPED / "little_data" / name).read_text().replace(".constant", f".{relation}").splitlines()
        lines = [line for line in [header, *lines] if line.startswith(("run,", *(f"{one}," for one in names)))
                 or any(f'"run": "{one}"' in line for one in names)]  # fmt: skip
        if name == "runs.jsonl" and seed is not None:
            rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
            for row in rows:
                config = row["config"]
                config["seed_everything"] = config["data"]["seed"] = config["model"]["init_args"]["seed"] = seed
            lines = [json.dumps(row) for row in rows]
        (folder / name).write_text("\n".join([*lines, ""]))
    return folder


def test_no_command_trains_other_rules_than_a_study_of_ones_own(tmp_path: Path) -> None:
    """Whose grid may be a shipped one with other rules, and so name its runs alike."""
    names = [f"1600-r{repeat}-{model}" for repeat in range(2) for model in ("gpt2", "mdm")]
    mine = little_data(tmp_path / "mine", *names, relation="xor")
    found = advise(examples=1600, rules=["shape.xor", "size.xor", "color.xor"], evidence=mine)
    assert found.rests_on[0].startswith("4 trainings of mine")
    assert found.commands == ()
    assert found.rests_on[-1].startswith("Tables alone do not tell which command trained these runs.")


def test_the_question_is_asked_again_with_all_evidence(tmp_path: Path) -> None:
    one, other = (little_data(tmp_path / model, f"1600-r0-{model}", seed=9) for model in ("gpt2", "mdm"))
    found = advise(examples=6400, rules=3, evidence=[one, other, one])
    assert found.rests_on[0].startswith("60 trainings of little_data and 2 of your own, on 3 rules")
    assert shlex.split(found.commands[-1])[-4:] == ["--evidence", str(one), str(other), "runs/advised"]


def test_folders_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    days = [little_data(tmp_path / day / "runs", "1600-r0-gpt2", seed=seed) for seed, day in enumerate(("a", "b"), 9)]
    found = advise(examples=1600, rules=3, evidence=days)
    assert found.rests_on[0].startswith("60 trainings of little_data and 2 of your own, on 3 rules")
    names = {run for item in found.advice.sure for run in item.runs}
    assert {"runs/1600-r0-gpt2", f"{days[1]}/1600-r0-gpt2"} <= names
    named_alike = little_data(tmp_path / "little_data", "1600-r0-gpt2", seed=9)
    found = advise(examples=1600, rules=3, evidence=named_alike)
    assert found.rests_on[0].startswith("60 trainings of little_data and 1 of your own, on 3 rules")


def test_a_folder_here_that_is_named_as_a_study_is_kept_apart(in_tmp_path: Path) -> None:
    """Its path is its name."""
    little_data(in_tmp_path / "little_data", "1600-r0-gpt2", seed=9)
    found = advise(examples=1600, rules=3, evidence="little_data")
    assert found.rests_on[0].startswith("60 trainings of little_data and 1 of your own, on 3 rules")
    names = {run for item in found.advice.sure for run in item.runs}
    assert {"little_data/1600-r0-gpt2", "little_data (2)/1600-r0-gpt2"} <= names


def test_a_range_is_of_evidence_that_is_joined() -> None:
    """A question between two studies that cannot be joined is within neither."""
    assert words._joined([(10_000, 10_000), (100, 100)]) == [(100, 100), (10_000, 10_000)]
    assert words._joined([(400, 4000), (100, 400), (100, 100)]) == [(100, 4000)]


def test_repeats_of_ones_own_join_a_study(tmp_path: Path) -> None:
    """A run of the data of little_data counts beside it."""
    found = advise(examples=1600, rules=3, evidence=little_data(tmp_path / "mine", "1600-r0-gpt2", seed=9))
    assert found.rests_on[0].startswith("60 trainings of little_data and 1 of your own, on 3 rules")


def test_what_ships_with_genraven_is_nobodys_own() -> None:
    known = advise(examples=400, rules="study")
    assert str(advise(examples=400, rules="study", evidence=SHIPPED / "whole")) == str(known)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "expected --examples, how many you have of each rule"),
        (["--examples", "400", "--goal", "both"], "completion or held-out-completion or generation, got 'both'"),
        (["--examples", "0"], "--examples above 0, got 0"),
        (["--examples", "400", "--growth", "-1"], "--growth above 0"),
        (["--examples", "400", "--rules", "0"], "expected --rules of 1 or more"),
        (["--examples", "400", "--rules", "none"], "expected --rules of 1 or more, got none"),
        (["--examples", "400", "--rules", "color.xr"], "got 'color.xr': did you mean 'color.xor'?"),
        (["--examples", "5", "--rules", "all"], "got 5 examples of each of 40 rules"),
        (["--examples", "400", "--held-out", "--goal", "generation"], "expected --held-out with --goal completion"),
        (["--examples", "99"], "100 to 25,600 examples of each of 3 rules (general prior)"),
        (["--examples", "1000000"], "got 1,000,000 examples: ask within it, or add runs of your own with --evidence."),
        (["--examples", "400", "--rules", "900"], "expected --rules of at most 40, of which all puzzles are made"),
        (["--examples", "400", "--rules", "12"], "at most 2 times more or fewer rules, got 400 examples of each of 12"),
        (["--examples", "200000", "--rules", "35", "--goal", "generation"], "got 200,000 examples of each of 35 rules"),
        (["--examples", "100", "--rules", "35"], "got 100 examples of each of 35 rules"),
        (["--examples", "400", "--budget", "0.0001"], "expected a --budget within which both families were measured"),
        (["--examples", "400", "--rules", "35", "--budget", "0.1"], "got 0.1 device-hours: allow more, or leave"),
        (["--examples", "99", "--budget", "0.0001"], "100 to 25,600 examples of each of 3 rules (general prior)"),
        (["--examples", "5", "--held-out"], "of each of 35 rules (structured prior), got 5 examples: ask within it"),
        (["--examples", "400", "--evidence", "nowhere"], "expected a folder of runs, got nowhere"),
        (["--examples", "400", "--evidence", "unscored"], "expected --evidence to hold finished runs with scores"),
        (["--examples", "400", "--evidence", "old"], "expected a study of version 1"),
    ],
)  # fmt: skip
def test_what_is_refused_in_one_line(
    options: list[str], said: str, in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(in_tmp_path / "unscored" / "run", "diffusion", 400)
    shutil.copytree(SHIPPED / "structured", "old")
    table = in_tmp_path / "old" / "runs.jsonl"
    table.write_text(table.read_text().replace('"study_version": 1', '"study_version": 99'))
    assert main(["advise", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_the_page(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["advise", "--examples", "400", "--out", "answer.html"]) == 0
    printed, twin = capsys.readouterr().out, Path("answer.md").read_text()
    found = genraven.advise(examples=400)
    assert printed == f"{found}\nanswer.html\nanswer.md\n"
    assert f"<h2>{found.headline}</h2>" in html.unescape(Path("answer.html").read_text())
    for word, _ in found.parts:
        assert f"**{word}:**" in twin
    for command in found.commands:  # to be copied
        assert f"- **Run next:** `{command}`\n" in twin
        assert command in re.sub("</?span>", "", Path("answer.html").read_text())


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys; from launch.cli import main; main('advise --examples 400 --rules 3'.split())\n"
        "print({'torch', 'lightning', 'matplotlib'} & sys.modules.keys())"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert shown.startswith("Train the autoregressive family")
    assert shown.endswith("set()\n")


def test_each_sentence_is_there_and_asked_for() -> None:
    template, folder = words.TEMPLATE.read_text(), words.TEMPLATE.parent
    there = re.findall(r"macro (\w+)\(", template)
    asked = {name for file in folder.glob("*.py") for name in re.findall(r"\bsaid\(\s*\"(\w+)", file.read_text())}
    within = {name for name in there if re.search(rf"\{{\{{[^}}]*\b{name}\(", template)}
    assert set(there) == asked | within


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prior": "some"}, "expected prior= to be general or structured, got 'some'"),
        ({"goal": "both"}, "expected goal= to be completion or"),
        ({"examples": None}, "expected examples=, how many you have of each rule, got none"),
        ({"examples": "many"}, "expected examples= to be a number, got 'many'"),
        ({"examples": True}, "expected examples= to be a number, got True"),
        ({"growth": "5"}, "expected growth= to be a number, got '5'"),
        ({"budget": "1"}, "expected budget= to be a number, got '1'"),
        ({"held_out": True, "goal": "generation"}, "expected held_out= with goal='completion', got generation"),
        ({"rules": 3.5}, "expected rules= as a number or as names, got 3.5"),
        ({"rules": 0}, "expected rules= of 1 or more, got 0"),
        ({"evidence": 5}, "expected evidence= to be a path, got 5"),
        ({"evidence": ["runs", 5]}, "expected evidence= to be a path, got 5"),
        ({"check": 5}, "expected check= to be a path, got 5"),
    ],
)  # fmt: skip
def test_values_in_python_are_checked(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        advise(**{"examples": 400, **settings})
