"""Words for rules in the files of a run go on meaning the study's rules, and any words for the same rules agree."""

from pathlib import Path
from typing import Any

import pytest

from genraven.errors import InputError
from genraven.puzzles import spec
from launch.configs import rule_words
from launch.configs.identity import refuse_other


def config(**data: Any) -> dict[str, Any]:
    return {
        "model": {"class_path": "lightning_modules.AutoregressiveModule", "init_args": {}},
        "data": {"rules": "all", "held_out": "split0", "eval_rules": "all", **data},
    }


def test_other_words_for_the_same_rules_are_no_other_run() -> None:
    named = [rule.name for rule in spec.RULES if rule.id not in spec.HELD_OUT_SPLITS["split0"]]
    for rules in ("study", named):
        refuse_other(config(), config(rules=rules), Path("run"))
    with pytest.raises(InputError, match="a run with data.rules 'all' instead of"):
        refuse_other(config(), config(rules=named[:-1]), Path("run"))


def test_a_config_that_needs_no_other_words_is_itself() -> None:
    for same in (config(), config(rules="no_such"), {"data": None}, {}):
        assert rule_words.in_file(same) is same
        assert rule_words.of_file(same) is same


def test_where_rules_were_added_a_run_names_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the study had had 39 rules, and ``position.and`` had been added."""
    monkeypatch.setattr(spec, "NUM_STUDY_RULES", 39)
    written = rule_words.in_file(config())["data"]
    assert len(written["rules"]) == 35
    assert written["rules"][-1] == "position.and"
    assert len(written["eval_rules"]) == 40
    assert written["held_out"] == "split0"
    read = rule_words.of_file(config())["data"]
    assert (len(read["rules"]), len(read["eval_rules"])) == (34, 39)
    assert rule_words.of_file({"data": written})["data"] == written
