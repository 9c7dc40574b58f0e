"""What a real TensorBoard server has to show of a real run."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from lightning.pytorch.loggers import TensorBoardLogger

from callbacks import TensorBoardOverview
from launch.cli import main

RUN = "run/tensorboard"
SCALARS = {
    "train/loss", "train/lr", "train/grad_norm", "train/puzzles_per_s", "val/loss", "val/c3", "val/c2",
    "val/any_valid", "val/novel_c3", "val/completion_trained", "val/completion_held_out", "val/memorized_rows",
    "cost/flops_per_s", "cost/share_of_peak", "cost/device_hours", "cost/money", "collapse/novel_c3",
    "collapse/memorized_rows", "collapse/loss_gap",
}  # fmt: skip
TINY = [
    *("-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/debug.yaml", "--trainer.accelerator", "cpu"),
    *("--model.network.width", "24", "--model.network.depth", "1", "--data.samples_per_rule", "30"),
    *("--data.held_out", "[number.constant]", "--data.eval_rules", "[shape.constant, number.constant]"),
    *("--data.global_batch_size", "8", "--data.eval_puzzles_per_rule", "4", "--trainer.enable_progress_bar", "false"),
    *("--trainer.enable_model_summary", "false", "--trainer.max_steps", "4", "--trainer.val_check_interval", "2"),
    *("--cost.price_per_device_hour", "1.5", "--cost.peak_tflops", "0.1"),
]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Asks a server's data API about a run that was started twice."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENRAVEN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        assert main(["fit", *TINY, "--run_dir", str(folder / "run")]) == 0
        assert main(["fit", *TINY, "--run_dir", str(folder / "run"), "--trainer.max_steps", "6"]) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:

        def answer(path: str, body: dict[str, Any] | None = None) -> Any:
            data = None if body is None else json.dumps(body).encode()
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/data/{path}", data, {"Content-Type": "application/json"}
            )
            with urllib.request.urlopen(request, timeout=10) as reply:
                return json.load(reply)

        def loaded() -> bool:
            try:
                return RUN in answer("plugin/images/tags")
            except OSError:
                return False

        try:
            end = time.monotonic() + 120
            while not loaded():
                assert server.poll() is None and time.monotonic() < end
                time.sleep(0.5)
            yield answer
        finally:
            server.terminate()


def test_every_promised_curve_is_there(ask: Callable[..., Any]) -> None:
    assert SCALARS - ask("plugin/scalars/tags")[RUN].keys() == set()


def test_curves_go_on_after_a_restart(ask: Callable[..., Any]) -> None:
    events = ask(f"plugin/scalars/scalars?tag=val/c3&run={RUN}")
    assert [step for _, step, _ in events] == [1, 3, 5]


def test_pictures_and_heat_maps(ask: Callable[..., Any]) -> None:
    assert set(ask("plugin/images/tags")[RUN]) == {
        "puzzles/generated", "puzzles/completed", "rules/c3", "rules/completion",
    }  # fmt: skip


def test_curves_that_belong_together_share_a_chart(ask: Callable[..., Any]) -> None:
    (category,) = ask("plugin/custom_scalars/layout")["category"]
    charts = {chart["title"]: chart["multiline"]["tag"] for chart in category["chart"]}
    assert {len(tags) for tags in charts.values()} == {9, 2}
    for tag in (tag for tags in charts.values() for tag in tags):
        found = ask(f"plugin/custom_scalars/scalars?tag={tag.replace('^', '%5E').replace('$', '%24')}&run={RUN}")
        assert list(found["tag_to_events"]) == [tag.strip("^$")]


def test_the_table_has_settings_and_newest_scores(ask: Callable[..., Any]) -> None:
    states = ["STATUS_SUCCESS", "STATUS_UNKNOWN", "STATUS_RUNNING"]
    body = {"startIndex": 0, "sliceSize": 9, "allowedStatuses": states, "colParams": []}
    (row,) = ask("plugin/hparams/session_groups", body)["sessionGroups"]
    assert row["hparams"]["width"] == 24
    assert row["hparams"]["samples_per_rule"] == 30
    steps = {value["name"]["tag"]: value["trainingStep"] for value in row["metricValues"]}
    assert steps["val/c3"] == steps["val/novel_c3"] == steps["val/completion_held_out"] == 5


def test_the_config_is_there_to_read_and_again_where_it_is_another(ask: Callable[..., Any]) -> None:
    texts = ask(f"plugin/text/text?tag=config/text_summary&run={RUN}")
    assert [text["step"] for text in texts] == [0, 4]
    assert ["max_steps: 4" in text["text"] for text in texts] == [True, False]
    assert "max_steps: 6" in texts[1]["text"]
    assert "eval_puzzles_per_rule: 4" in texts[0]["text"]


@pytest.mark.parametrize(("is_other", "num"), [(False, 0), (True, 1)])
def test_what_a_logger_knows_is_not_said_again(is_other: bool, num: int, tmp_path: Path) -> None:
    said = list[str]()
    writer = SimpleNamespace(add_text=lambda tag, *_: said.append(tag), add_custom_scalars=said.append,
                             _get_file_writer=lambda: SimpleNamespace(add_summary=lambda _: None))  # fmt: skip
    logger = TensorBoardLogger(tmp_path)
    logger._experiment = writer  # type: ignore[assignment]
    overview = TensorBoardOverview({"a": 1}, {}, known_to=["TensorBoardLogger"], is_other=is_other)
    overview.on_train_start(SimpleNamespace(loggers=[logger], is_global_zero=True, global_step=3), Mock())  # type: ignore[arg-type]
    assert said == ["config"] * num
