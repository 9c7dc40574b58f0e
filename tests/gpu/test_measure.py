"""The script for the day a GPU is there, in small on a CPU: each row comes the moment it is known, whatever fails."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

spec = importlib.util.spec_from_file_location("measure", Path(__file__).with_name("measure.py"))
assert spec is not None and spec.loader is not None
measure: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(measure)


def lines(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


@pytest.mark.slow
def test_all_rows_are_measured_in_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main(["--small", "--cache", str(tmp_path)]) == 0
    found = {row["row"]: row for row in lines(capsys.readouterr().out)}
    of_gpus = {name for name, row in found.items() if row.get("left_out") == measure.NEEDS_GPU}
    assert of_gpus == {row.name for row in measure.rows(measure.SMALL, False) if row.needs_gpu}
    assert found["DiT-S/1 under the trainer"]["unit"] == "steps/s"
    assert found["DiT-S/1 under the trainer"]["preset"] == "dit_tiny"
    for name in found.keys() - of_gpus:
        assert found[name]["value"] > 0, name
        assert found[name]["device"] == "CPU"


def test_what_the_time_does_not_reach_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure.main(["--small", "--limit_s", "0"]) == 0
    found = lines(capsys.readouterr().out)
    assert len(found) == len(list(measure.rows(measure.SMALL, False)))
    assert {row["left_out"] for row in found} == {measure.NEEDS_GPU, "the time is over"}


def test_a_row_that_fails_says_why_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(at: Any) -> Any:
        raise ValueError("no such thing\nand more")

    rows = [measure.Row("bad", fails), measure.Row("good", lambda at: {"value": 2.0}, aim=1)]
    monkeypatch.setattr(measure, "rows", lambda size, is_gpu: rows)
    assert measure.main(["--small"]) == 1
    bad, good = lines(capsys.readouterr().out)
    assert bad["failed"] == "ValueError: no such thing"
    assert good["value"] == 2.0 and good["aim"] == 1
