"""A model of somebody else's: it chooses no place to write to, and no amount of disk or memory."""

import json
import os
import resource
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import fit

from genraven.errors import InputError
from genraven.paths import default_cache_dir
from launch.cli import main
from launch.runs.exported import DESCRIPTION, WEIGHTS, _digest
from launch.trained.load import load_run

torch.set_num_threads(1)
AUTOREGRESSIVE = "genraven.methods.autoregressive.Autoregressive"
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models of one step."""
    folder = tmp_path_factory.mktemp("runs")
    short = ["--trainer.max_steps", "1", "--trainer.limit_val_batches", "0"]
    for family in ("autoregressive", "diffusion"):
        assert main(fit(folder / family, *short, family=family)) == 0
        assert main(["export", str(folder / family)]) == 0
    return {family: folder / family / "export" for family in ("autoregressive", "diffusion")}


@pytest.fixture
def changed(exported: dict[str, Path], in_tmp_path: Path) -> Callable[..., Path]:
    """A model whose card says something else of its config."""

    def change(of_config: Change, family: str = "autoregressive", of_weights: Change | None = None) -> Path:
        folder = Path(shutil.copytree(exported[family], in_tmp_path / "card"))
        card = json.loads((folder / DESCRIPTION).read_text())
        del card["digest"]  # which somebody may leave out
        of_config(card["config"])
        if of_weights is not None:
            weights = load_file(folder / WEIGHTS)
            of_weights(weights)
            save_file(weights, folder / WEIGHTS)
            card["sha256"] = _digest(folder / WEIGHTS)
        (folder / DESCRIPTION).write_text(json.dumps(card))
        return folder

    return change


def in_network(**options: Any) -> Change:
    return lambda config: config["model"]["init_args"]["network"]["init_args"].update(options)


def in_sampling(**options: Any) -> Change:
    def change(config: dict[str, Any]) -> None:
        arguments = config["model"]["init_args"]
        arguments["method"] = arguments["method"] or {"class_path": AUTOREGRESSIVE, "init_args": {"sampling": {}}}
        arguments["method"]["init_args"]["sampling"].update(options)

    return change


def in_data(**options: Any) -> Change:
    return lambda config: config["data"].update(options)


def error_of(words: list[Any], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("genraven: error: ")]
    return said


def test_it_writes_to_no_place_of_its_choice(changed: Callable[..., Path], in_tmp_path: Path) -> None:
    card = changed(in_data(cache_dir=str(in_tmp_path / "chosen"), samples_per_rule=50))
    assert main(["evaluate", str(card), "--puzzles-per-rule", "1", "--device", "cpu"]) == 0
    assert not (in_tmp_path / "chosen").exists()
    assert list(default_cache_dir().glob("*-n50.npy"))


@pytest.mark.parametrize("options", [[], ["--training-set-gib", "0.001"]])
def test_it_makes_no_training_set_of_a_size_of_its_choice(
    options: list[str], changed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    card = changed(in_data(samples_per_rule=10**12 if not options else 1001))
    command = ["evaluate", card, "--puzzles-per-rule", "1", "--device", "cpu", *options]
    assert "expected a training set of at most" in error_of(command, capsys)
    assert not list(default_cache_dir().glob("*-n1000000000000*")) + list(default_cache_dir().glob("*-n1001*"))
    if options:
        assert main([str(word) for word in command[:-1]] + ["0.01"]) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_network(width=10**6), "expected model.init_args.network.init_args.width of at most 65536 in a checkpoint"),
        (in_network(depth=10**9), "network.init_args.depth of at most 65536"),
        (in_network(width=65532), "got one of a larger model"),
        (in_network(width=6144), "got one of a larger model"),
        (in_network(depth=60000), "got one of a larger model"),
        (in_network(width=30), "expected a checkpoint of this network, got one that differs"),
        (in_sampling(num_particles=10**4), "num_particles of at most 256"),
        (in_data(eval_puzzles_per_rule=10**9), "data.eval_puzzles_per_rule of at most 65536"),
        (in_data(global_batch_size=10**9), "data.global_batch_size of at most 65536"),
    ],
)
def test_it_takes_no_memory_of_its_choice(
    change: Change, said: str, changed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    card = changed(change)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for command in (["sample", card, "--num", "1"], ["probe", card]):
        assert said in error_of([*command, "--device", "cpu"], capsys)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_seeds_and_steps_are_no_amounts(changed: Callable[..., Path]) -> None:
    card = changed(lambda config: (in_data(seed=2**40, eval_seed=2**40)(config), in_sampling(num_steps=1000)(config)),
                   family="diffusion")  # fmt: skip
    model, data, _ = load_run(card, "cpu")
    assert (data.seed, model.method.sampling.num_steps) == (2**40, 1000)


def test_weights_that_are_stretched_are_not_believed(exported: dict[str, Path], in_tmp_path: Path) -> None:
    """A tensor of one number may say that it is of any size, and so may many that share a storage."""
    checkpoint = next((exported["autoregressive"].parent / "checkpoints").glob("step-*.ckpt"))
    found = torch.load(checkpoint, weights_only=True)
    found["state_dict"]["network.more"] = torch.zeros(1).expand(10**5, 10**5)
    torch.save(found, "x.ckpt")
    with pytest.raises(InputError, match=r"got network\.more that is no plain tensor"):
        load_run("x.ckpt", "cpu")
    found["state_dict"]["network.more"] = torch.eye(3).to_sparse()
    torch.save(found, "x.ckpt")
    with pytest.raises(InputError, match=r"got network\.more that is no plain tensor"):
        load_run("x.ckpt", "cpu")


def test_a_checkpoint_that_is_compressed_or_a_pipe_is_not_read(
    exported: dict[str, Path], in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = exported["autoregressive"].parent
    (checkpoint,) = (run / "checkpoints").glob("step-*.ckpt")
    Path("run/checkpoints").mkdir(parents=True)
    with zipfile.ZipFile(checkpoint) as old, zipfile.ZipFile("x.ckpt", "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    shutil.copy("x.ckpt", "run/checkpoints/step-00000002.ckpt")
    os.mkfifo("run/checkpoints/step-00000003.ckpt")
    os.mkfifo("y.ckpt")
    for place in ("x.ckpt", "y.ckpt"):
        error_of(["sample", place, "--num", "1", "--device", "cpu"], capsys)
    capsys.readouterr()
    assert main(["sample", "run", "--num", "1", "--device", "cpu"]) == 2
    assert "incomplete or corrupt" in capsys.readouterr().err
    shutil.copy(checkpoint, "run/checkpoints")
    with pytest.warns(UserWarning, match="incomplete or corrupt"):
        assert load_run("run", "cpu")[2]["global_step"] == 1
