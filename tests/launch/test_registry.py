"""What a checkpoint or a card may name: classes of a closed table. Nothing else in it is imported, called or walked."""

import copy
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse._common import parsing_settings
from safetensors.torch import save_file

from genraven.errors import InputError
from launch.cli import main
from launch.configs.identity import build, with_defaults
from launch.configs.registry import classes, is_plain
from launch.trained.load import load_run
from launch.training.initial_weights import read_initial

COMMAND = "touch gone_off"
PATHS = """
    os.system posix.system os.popen os.getcwd subprocess.run subprocess.Popen subprocess.getoutput builtins.eval
    builtins.exec builtins.open builtins.__import__ builtins.print runpy.run_path genraven.files.os.system
    genraven.files.os genraven.files.Path datamodules.store.os.remove lightning_modules.base.torch.nn.Module
    lightning_modules.base.nn.ReLU lightning_modules.base.hashlib.new genraven.networks.dit.nn.Linear
    genraven.networks.dit.torch.load genraven.networks.mamba.functools.partial torch.hub.load torch.load
    torch.jit.load torch.nn.ReLU torch.nn.Module torch.compile torch.os.system torch.optim.sgd.torch.os.system
    torch.optim.lr_scheduler.StepLR torch.optim.Optimizer.__init__ torch.optim.optimizer.functools.partial
    torch.optim.adamw.Tensor torch.serialization.os.system trap trap.Network trap.run trap.inner.Network .trap trap.
    ..trap trap:Network trap/Network lightning_modules.trap genraven.trap.Network genraven.networks.dit.DiT.forward
    genraven.networks.dit.DiT.trap genraven.networks.dit.DiT.__init__ genraven.networks.dit.DiT.__init__.__globals__
    genraven.networks.dit genraven.networks.dit.__builtins__.eval genraven.networks.dit.__loader__
    genraven.networks.dit.__dict__ lightning_modules.DiffusionModule.__subclasses__
    lightning_modules.DiffusionModule.load_from_checkpoint lightning_modules.base.PuzzleModule.__mro__
    lightning_modules.__class__ object.__subclasses__ type DiT Adam SGD Module Network
    datamodules.GenRAVENDataModule launch.cli.main launch.processes.launcher.launch lightning.Trainer
    lightning.pytorch.Trainer lightning.pytorch.cli.LightningCLI jsonargparse.CLI jsonargparse.set_parsing_settings
    callbacks.RunGuard pickle.loads marshal.loads ctypes.CDLL importlib.import_module pydoc.locate functools.partial
    operator.methodcaller shutil.rmtree sys.exit webbrowser.open socket.socket code.interact pty.spawn timeit.timeit
    antigravity this
""".split()  # noqa: SIM905
TEXTS = [
    *("", " ", ".", "..", "\n", "a\nb", "a b", "a.b", "é", "ｏｓ．ｓｙｓｔｅｍ", "os\u200b.system", "\ud800", "\0"),
    *("💥.💥", "x" * 100_000, "os." * 30_000, "trap.Network\n", " trap.Network", "trap.Network ", "TRAP.Network"),
    *("!!python/object/apply:os.system [touch gone_off]", "{class_path: trap.Network}", "class_path: trap.Network"),
    *('{"class_path": "trap.Network"}', "[trap.Network]", "lambda: trap", "__import__('os').system('touch gone_off')"),
    *("trap.yaml", "trap", "./trap", "/etc/passwd", "file:///etc/passwd", "https://example.org/x.yaml"),
    *("${trap}", "~/.ssh/id_rsa", "null", "true", "1e3", "-", "--plugin trap"),
]  # fmt: skip
SHAPES: list[Any] = [
    *({"class_path": path, "init_args": {"command": COMMAND}} for path in PATHS),
    *({"class_path": path} for path in PATHS[::4]),
    *({"class_path": path, "dict_kwargs": {"command": COMMAND}} for path in PATHS[::8]),
    *([path] for path in PATHS[::8]),
    {"class_path": "torch.optim.SGD", "init_args": {"params": {"class_path": "trap.Network"}}},
    {"class_path": "torch.optim.SGD", "init_args": "trap.Network"},
    {"class_path": "torch.optim.SGD", "init_args": ["trap.Network"]},
    {"class_path": "torch.optim.SGD", "init_args": {"lr": "trap.Network"}},
    {"class_path": "torch.optim.SGD", "init_args.lr": "trap.Network"},
    {"class_path": "torch.optim.SGD", "__path__": "trap.yaml"},
    {"class_path": ["os.system"]},
    {"class_path": {"class_path": "os.system"}},
    {"class_path": 3},
    {"class_path": None, "init_args": {"class_path": "trap.Network"}},
    {"class_path+": "trap.Network"},
    {"init_args": {"class_path": "trap.Network"}},
    {"init_args.class_path": "trap.Network"},
    {"network.class_path": "trap.Network"},
    {"a": {"b": [{"c": {"class_path": "trap.Network"}}]}},
    [[{"class_path": "trap.Network"}]],
    {"": "trap"}, {" ": {"class_path": "trap.Network"}}, {"$schema": "trap.yaml"}, {"__default_config__": "trap.yaml"},
]  # fmt: skip
NUMBERS: list[Any] = [None, True, 0, -1, -(2**70), 0.5, -1e308, float("inf"), float("nan"), [], {}, [[]], [1, [2]]]
UNSAFE = {"import", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove", "subprocess.Popen", "pty.spawn"}
UNSAFE |= {"shutil.rmtree", "socket.connect", "ctypes.dlopen", "webbrowser.open", "urllib.Request"}
CONFIG = {
    "model": {
        "class_path": "lightning_modules.DiffusionModule",
        "init_args": {
            "network": {
                "class_path": "genraven.networks.dit.DiT",
                "init_args": {"width": 12, "depth": 1, "num_heads": 2},
            },
            "process": {"class_path": "genraven.diffusion.flow.Flow"},
            "optimizer": {"class_path": "torch.optim.AdamW"},
        },
    },
    "data": {"samples_per_rule": 30, "rules": [0, "position.or"], "corruption": {"cells": 0.1}},
}
heard: list[str] | None = None


def hear(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook, which stays for ever: says what Python imports or starts while somebody listens."""
    if heard is not None and event in UNSAFE:
        heard.append(f"{event} {arguments[0]}")


sys.addaudithook(hear)


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """A config with every option."""
    return with_defaults(CONFIG)


@pytest.fixture
def canary(whole: dict[str, Any], in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """In a folder full of traps: what is imported or started from now on."""
    global heard
    for name in ("trap.py", "Network.py"):
        Path(name).write_text("raise SystemExit('the trap has gone off')")
    for name in ("trap", "trap.yaml", "DiT", "gone"):
        Path(name).write_text("class_path: trap.Network")
    monkeypatch.syspath_prepend(in_tmp_path)
    Path("card").mkdir()
    save(whole, build(whole)[0].state_dict())
    for name in ("x.ckpt", "card"):  # what Python imports late, it has imported now
        load_run(name, "cpu")
        read_initial(name, whole)
    assert main(["sample", "missing.ckpt"]) == 2
    heard = []
    yield heard
    found, heard = heard, None
    assert found == []
    assert not {"trap", "Network"} & sys.modules.keys()
    assert not Path("gone_off").exists()


def places(tree: Any, prefix: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every value, and of one more in each dict."""
    if prefix:
        yield prefix
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*prefix, key))
    if isinstance(tree, dict) and prefix:
        yield from ((*prefix, key) for key in ("class_path", "init_args", "dict_kwargs", "extra"))


def corrupted(config: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    config = copy.deepcopy(config)
    tree: Any = config
    for key in place[:-1]:
        tree = tree.setdefault(key, {}) if isinstance(tree, dict) else tree[key]
    tree[place[-1]] = value
    return config


def refused_or_clean(function: Any, *arguments: Any) -> None:
    said = "one line"
    try:
        function(*arguments)
    except InputError as error:
        said = str(error)
    assert len(said.splitlines()) == 1
    assert len(said) < 2000


VALUES = [*PATHS, *TEXTS, *SHAPES, *NUMBERS]
FREE = (
    "network",
    "process",
    "optimizer",
    "model",
    "corruption",
    "init_args",
)  # places that a class fits, or may seem to


def test_there_are_enough_of_them(whole: dict[str, Any]) -> None:
    assert len(VALUES) > 200
    assert len(list(places(whole))) > 60


def test_nothing_in_a_config_is_called(whole: dict[str, Any], canary: list[str]) -> None:
    everywhere = list(places(whole))
    for number, value in enumerate([*PATHS, *TEXTS, *SHAPES]):
        turn = [everywhere[(7 * number + 11 * i) % len(everywhere)] for i in range(6)]
        for place in [*turn, *(place for place in everywhere if place[-1] in FREE and place[0] == "model")]:
            refused_or_clean(build if number % 3 else with_defaults, corrupted(whole, place, value))
            if canary:
                pytest.fail(f"{value!r} as {place}: {canary}")


def save(config: Any, weights: dict[str, Any]) -> None:
    """As a checkpoint and as an exported model."""
    common = {"state_dict": weights, "global_step": 3, "family": "diffusion"}
    torch.save(common | {"genraven_config": config}, "x.ckpt")
    save_file(weights, "card/model.safetensors")
    digest = hashlib.sha256(Path("card/model.safetensors").read_bytes()).hexdigest()
    card = {"format": 1, "family": "diffusion", "step": 3, "config": config, "sha256": digest}
    Path("card/card.json").write_text(json.dumps(card))


def test_nothing_in_a_checkpoint_or_a_card_is_called(whole: dict[str, Any], canary: list[str]) -> None:
    everywhere, weights = list(places(whole)), build(whole)[0].state_dict()
    for number, value in enumerate(VALUES):
        save(corrupted(whole, everywhere[(5 * number) % len(everywhere)], value), weights)
        for name in ("x.ckpt", "card"):
            refused_or_clean(load_run, name, "cpu")
            refused_or_clean(read_initial, name, whole)
        if canary:
            pytest.fail(f"{value!r}: {canary}")


@pytest.mark.parametrize("path", ["genraven.files.os.system", "lightning_modules.base.torch.nn.Module", "trap.Network"])
def test_a_walk_is_refused_in_one_line(
    path: str, whole: dict[str, Any], canary: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    evil = {"class_path": path, "init_args": {"command": COMMAND}}
    save(corrupted(whole, ("model", "init_args", "optimizer"), evil), build(whole)[0].state_dict())
    for name in ("x.ckpt", "card"):
        assert main(["sample", name, "--num", "1"]) == 2
        said = capsys.readouterr().err.splitlines()
        assert said[-1].startswith(
            f"genraven: error: expected classes of genraven in a checkpoint, got {path!r} as model."
        )


def test_the_parser_refuses_it_too(whole: dict[str, Any], canary: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    before = copy.deepcopy(parsing_settings)
    monkeypatch.setattr("launch.configs.identity.check_config", lambda *_: None)
    for path in ("trap.Network", "genraven.files.os.system", "genraven.networks.dit.nn.Linear"):
        for name in ("network", "process", "optimizer"):
            with pytest.raises(InputError, match="is not allowed"):
                with_defaults(corrupted(whole, ("model", "init_args", name), {"class_path": path}))
    assert parsing_settings == before


def test_the_table_is_of_classes_that_a_config_is_made_of() -> None:
    table = classes()
    networks = {"genraven.networks.dit.DiT", "lightning_modules.DiffusionModule"}
    methods = {"genraven.methods.gaussian.GaussianDiffusion", "genraven.methods.masked.MaskedDiffusion"}
    assert networks | methods | {"genraven.methods.gaussian.edm.Edm"} <= table.keys()
    assert {"torch.optim.AdamW", "torch.optim.adamw.AdamW", "genraven.puzzles.corrupt.Corruption"} <= table.keys()
    assert not [path for path in table if path.rsplit(".", 1)[1].startswith("_")]
    roots = {cls.__module__.split(".")[0] for cls in table.values()}
    assert roots == {"genraven", "lightning_modules", "torch"}


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {"b", "c"}}, torch.ones(2), [b"x"], {"a": 1j}])
def test_only_plain_values_are_read_of_a_file(value: Any) -> None:
    assert not is_plain(value)
    assert is_plain({"a": [1, 2.0, None, True, ("b",)]})


def test_neither_circles_nor_depth_are_walked(whole: dict[str, Any], in_tmp_path: Path) -> None:
    circle: list[Any] = []
    circle.append(circle)
    deep: Any = "a"
    for _ in range(200):
        deep = [deep]
    for value in (circle, deep):
        torch.save({"genraven_config": corrupted(whole, ("data", "rules"), value)}, "x.ckpt")
        with pytest.raises(InputError, match="without a config"):
            load_run("x.ckpt")


def test_inference_makes_no_optimizer_of_the_file(whole: dict[str, Any]) -> None:
    config = corrupted(
        whole, ("model", "init_args", "optimizer"), {"class_path": "torch.optim.SGD", "init_args": {"lr": 9}}
    )
    optimizer = build(config)[0].make_optimizer([torch.nn.Parameter(torch.zeros(1))])
    assert (type(optimizer), optimizer.defaults["lr"]) == (torch.optim.AdamW, 0.001)
    assert with_defaults(config)["model"]["init_args"]["optimizer"]["class_path"] == "torch.optim.SGD"
