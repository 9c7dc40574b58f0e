"""What runs leave with each logger: with the real ones, where they are installed."""

import csv
import importlib
import json
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.loggers import holds_pictures, noted_ids
from launch.cli import main
from launch.training.loggers import keep_in_order

TINY = [
    *("-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/debug.yaml", "--trainer.accelerator", "cpu"),
    *("--model.network.width", "24", "--model.network.depth", "1", "--model.network.num_heads", "2"),
    *("--data.samples_per_rule", "30", "--data.global_batch_size", "8", "--data.eval_puzzles_per_rule", "4"),
    *("--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"),
    *("--trainer.max_steps", "4", "--trainer.val_check_interval", "2"),
]
PICTURES = {"puzzles/generated", "puzzles/completed", "rules/c3", "rules/completion"}
SCORES = {"val/c3", "val/novel_c3", "val/completion", "val/loss", "train/loss", "cost/device_hours"}


def fit_twice(run: Path, *options: str, end: Callable[[], object] = lambda: None) -> None:
    """A run of four steps that goes on to six; ``end`` does what the end of a process does."""
    for more in ([], ["--trainer.max_steps", "6"]):
        assert main(["fit", *TINY, "--run_dir", str(run), "--pictures.share", "1", *options, *more]) == 0
        end()


def log_records(data: bytes, block: int = 1 << 15, head: int = 7) -> Iterator[bytes]:
    """The records of a file in the format of LevelDB's logs, with W&B's head before them."""
    place, parts = head, b""
    while place + head <= len(data):
        if block - place % block < head:
            place += block - place % block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        parts += data[place + head : place + head + length]
        place += head + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""


def test_tensorboard_reads_a_run_in_the_order_of_its_starts(tmp_path: Path) -> None:
    """Also where the clock was set back between two of them."""
    run = tmp_path / "run"
    assert main(["fit", *TINY, "--run_dir", str(run)]) == 0
    (first,) = (run / "tensorboard").glob("events.*")
    parts = first.name.split(".")
    first.rename(first.with_name(".".join([*parts[:3], f"{int(parts[3]) + 7200:010d}", *parts[4:]])))
    assert main(["fit", *TINY, "--run_dir", str(run), "--trainer.max_steps", "6"]) == 0
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    assert [event.step for event in events.Scalars("val/loss")] == [1, 3, 5]


def test_names_of_event_files_go_up(tmp_path: Path) -> None:
    """In containers, where each start has the same number, none takes the place of another."""
    folder, now = tmp_path / "tensorboard", int(time.time())
    folder.mkdir()
    seconds = [now - 500, now + 99, now + 100, now + 100]
    names = [f"events.out.tfevents.{second:010d}.host.{7 + (i == 3)}.0" for i, second in enumerate(seconds)]
    for name in (*names, f"events.out.tfevents.{now - 1:010d}.host.7.0", "events.of_mine"):
        (folder / name).write_text(name)
    keep_in_order([TensorBoardLogger(tmp_path, name="tensorboard", version="")], tmp_path)
    found = sorted(path for path in folder.iterdir() if path.name != "events.of_mine")
    assert [path.read_text() for path in found] == sorted(path.read_text() for path in found)
    assert (folder / names[0]).read_text() == names[0]
    assert len(found) == 5
    assert found[-1].name < f"events.out.tfevents.{now:010d}"
    keep_in_order([TensorBoardLogger(tmp_path / "elsewhere", name="", version="")], tmp_path)  # is not there


def test_csv(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit_twice(run, "-c", "logger/csv.yaml")
    for version, steps in (("version_0", ["1", "3"]), ("version_1", ["5"])):  # a start leaves alone what another wrote
        with (run / "csv" / version / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert rows[0].keys() >= SCORES
        assert [row["step"] for row in rows if row["val/c3"]] == steps
        config = yaml.safe_load((run / "csv" / version / "hparams.yaml").read_text())
        assert config["model"]["init_args"]["network"]["init_args"]["width"] == 24
    assert not list((run / "tensorboard").iterdir())
    logger = yaml.safe_load((run / "config.yaml").read_text())["trainer"]["logger"]
    assert logger["init_args"]["save_dir"] == "{run_dir}"  # so that the config says the same of another run


def test_several_loggers(tmp_path: Path) -> None:
    place = {"save_dir": "{run_dir}/logs", "version": ""}
    loggers = [
        {"class_path": f"lightning.pytorch.loggers.{name}", "init_args": place | {"name": "{run}-" + name}}
        for name in ("CSVLogger", "TensorBoardLogger")
    ]
    (tmp_path / "both.yaml").write_text(yaml.safe_dump({"trainer": {"logger": loggers}}))
    run = tmp_path / "run"
    assert main(["fit", *TINY, "--run_dir", str(run), "-c", str(tmp_path / "both.yaml")]) == 0
    assert (run / "logs" / "run-CSVLogger" / "metrics.csv").exists()
    assert list((run / "logs" / "run-TensorBoardLogger").glob("events.*"))


def test_a_refused_start_makes_no_logger(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(["fit", *TINY, "--run_dir", str(run), "-c", "logger/csv.yaml", "--collapse.memorized_rows", "2"]) == 2
    assert not run.exists()


@pytest.mark.parametrize(("name", "needs"), [("wandb", "wandb"), ("mlflow", "mlflow")])
def test_a_service_whose_package_is_missing(
    name: str, needs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(f"lightning.pytorch.loggers.{name}._{name.upper()}_AVAILABLE", False)
    assert main(["fit", *TINY, "--run_dir", str(tmp_path / "run"), "-c", f"logger/{name}.yaml"]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error:")]
    assert len(error) == 1
    assert "ModuleNotFoundError" in error[0]
    assert not (tmp_path / "run").exists()


def test_who_holds_pictures(tmp_path: Path) -> None:
    class Trainer:
        is_global_zero = True
        loggers: list[Any] = [CSVLogger(tmp_path)]  # noqa: RUF012

    assert not holds_pictures(Trainer())  # type: ignore[arg-type]
    Trainer.loggers.append(TensorBoardLogger(tmp_path))
    assert holds_pictures(Trainer())  # type: ignore[arg-type]
    Trainer.is_global_zero = False
    assert not holds_pictures(Trainer())  # type: ignore[arg-type]


def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    records = importlib.import_module("wandb.proto.wandb_internal_pb2")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = tmp_path / "run"
    fit_twice(run, "-c", "logger/wandb.yaml", end=wandb.finish)
    wandb.teardown()  # all is written
    (name,) = noted_ids(run).values()
    stores = sorted(run.glob(f"wandb/offline-run-*/run-{name}.wandb"))
    assert len(stores) == 2  # starts of one run
    history: dict[str, list[int]] = {}
    configs: list[Any] = []
    for path in stores:
        for data in log_records(path.read_bytes()):
            record = records.Record.FromString(data)
            items = {item.nested_key[0]: item.value_json for item in record.history.item}  # a picture is several
            for key in items:
                history.setdefault(key, []).append(int(items.get("trainer/global_step", -1)))
            configs += [json.loads(item.value_json) for item in record.config.update if item.key == "model"]
    assert history.keys() >= SCORES | PICTURES
    assert history["val/c3"] == [1, 3, 5]
    assert {*history["puzzles/generated"]} >= {1, 5}  # the first of each start
    assert [config["init_args"]["network"]["init_args"]["width"] for config in configs] == [24]
    for picture in PICTURES:
        assert len(list(run.glob(f"wandb/offline-run-*/files/media/images/{picture}_*.png"))) >= 2


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = f"file:{tmp_path / 'mlruns'}"
    run = tmp_path / "run"
    fit_twice(run, "-c", "logger/mlflow.yaml", "--trainer.logger.tracking_uri", store)
    client = tracking.MlflowClient(store)
    (found,) = client.search_runs([client.get_experiment_by_name("genraven").experiment_id])  # of both starts
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.metrics.keys() >= SCORES
    assert [metric.step for metric in client.get_metric_history(found.info.run_id, "val/c3")] == [1, 3, 5]
    assert found.data.params["model/init_args/network/init_args/width"] == "24"
    assert found.data.params["trainer/max_steps"] == "4"
    images = [Path(entry.path).name.split("+")[:3] for entry in client.list_artifacts(found.info.run_id, "images")]
    drawn = {(name.replace("~", "/"), int(step)) for name, _, step in images}
    assert drawn >= {(name, step) for name in PICTURES for step in (1, 5)}
