"""Orders of generation and of completion each by itself, in the report and in what an evaluation prints."""

from collections.abc import Collection
from typing import Any

from tables import result, run

from genraven.report.content import _decodings
from genraven.report.evaluation import written_out
from genraven.report.page import Table
from launch.trained.printed import overview

ONE = {"num_steps": None, "order": "random", "completion_steps": None, "completion_order": None}
OTHER = {"num_steps": None, "order": "random", "completion_steps": None, "completion_order": "panels"}
WAYS = (ONE, OTHER, ONE | {"order": "panels"})


def test_completion_follows_generation_where_it_says_nothing() -> None:
    assert written_out(ONE) == ONE | {"completion_order": "random"}
    assert written_out(OTHER) == OTHER
    assert written_out({"completion": None, "temperature": 0.5, "completion_temperature": None}) == {
        "completion": None, "temperature": 0.5, "completion_temperature": 0.5
    }  # fmt: skip


def test_the_report_names_both_orders_of_every_way() -> None:
    results = tuple(result(0.5, decoding=way, checkpoint="step-100.ckpt") for way in WAYS)
    (table,) = _decodings([run("diffusion", 400, 0.5, results=results)], "completion")
    assert isinstance(table, Table)
    assert [row[1] for row in table.rows] == [
        "order random, completion_order random", "order random, completion_order panels",
        "order panels, completion_order panels",
    ]  # fmt: skip


def test_an_evaluation_names_what_was_asked_for_and_what_was_given() -> None:
    def row(**more: Any) -> tuple[str, dict[str, Any]]:
        sampling = {"temperature": 0.5, "num_steps": 9}
        return "a run", {"sampling": sampling, "metrics": {}, "step": 5, "seconds": {"all": 1.0}, **more}

    def ways(asked: Collection[str], *rows: tuple[str, dict[str, Any]]) -> list[str]:
        return [line.split("5  ", 1)[1].split("   ")[0] for line in overview([*rows], asked).splitlines()[1:]]

    assert ways([], row(), row()) == ["as the model's"] * 2
    assert ways(["temperature"], row(), row()) == ["--temperature 0.5"] * 2
    assert ways(["temperature"], row(given_corruption=0.0), row(given_corruption=0.1)) == [
        "--temperature 0.5 --given-corruption 0.0", "--temperature 0.5 --given-corruption 0.1"
    ]  # fmt: skip


def test_an_evaluation_prints_both_orders_of_every_way() -> None:
    rows = [("a run", {"sampling": way, "metrics": {}, "step": 5, "seconds": {"all": 1.0}}) for way in WAYS]
    said = [line.split("5  ")[1].split("   ")[0] for line in overview(rows).splitlines()[1:]]
    assert said == [
        "--order random --completion-order random", "--order random --completion-order panels",
        "--order panels --completion-order panels",
    ]  # fmt: skip
