"""Configs of versions before the method was a part of its own: read in checkpoints, explained elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from genraven.methods.autoregressive import AutoregressiveSampling
from genraven.methods.gaussian import GaussianSampling
from launch.cli import main
from launch.configs.identity import build, config_hash, refuse_other, with_defaults
from launch.configs.upgrade import MOVED, moved_option, upgraded

SIT: dict[str, Any] = {
    "class_path": "lightning_modules.DiffusionModule",
    "init_args": {
        "network": {"class_path": "genraven.networks.dit.DiT", "init_args": {"width": 24, "depth": 1, "num_heads": 2}},
        "process": {"class_path": "genraven.diffusion.flow.Flow", "init_args": {"spacing": 2.0}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}},
        "sampler": "ancestral",
        "num_sampling_steps": 12,
        "masked_share": 0.0,
        "completion": None,
        "num_resamples": 2,
        "num_particles": 8,
        "guidance_strength": 1.0,
        "guidance_scale": 1.0,
        "ema_decay": 0.999,
    },
}
GPT2: dict[str, Any] = {
    "class_path": "lightning_modules.AutoregressiveModule",
    "init_args": {
        "network": {
            "class_path": "genraven.networks.transformer.Transformer",
            "init_args": {"width": 24, "depth": 1, "num_heads": 2},
        },
        "temperature": 0.9,
        "completion_temperature": 0.5,
        "top_k": 20,
        "num_particles": 1,
    },
}


def test_a_checkpoints_config_builds_the_model_that_it_built() -> None:
    model, _ = build({"model": SIT, "data": {}})
    assert model.method.sampling == GaussianSampling(sampler="ancestral", num_steps=12, num_resamples=2)
    assert (model.method.process.spacing, model.ema_decay, model.architecture) == (2.0, 0.999, "SiT")  # type: ignore[attr-defined]
    model, _ = build({"model": GPT2, "data": {}})
    assert model.method.sampling == AutoregressiveSampling(0.9, 0.5, 20)


def test_a_config_of_today_is_left_alone() -> None:
    today = upgraded({"model": SIT, "data": {}})
    assert upgraded(today) is today
    assert upgraded({"model": "no model"}) == {"model": "no model"}
    assert "method" not in SIT["init_args"]  # the one given is not changed


def test_an_old_run_goes_on_with_the_same_settings() -> None:
    old = {"model": SIT, "data": {"samples_per_rule": 10}, "seed_everything": 0}
    now = with_defaults(upgraded(old))
    refuse_other(old, now, Path("step-00000001.ckpt"))
    assert config_hash(now) == config_hash(with_defaults(old))


@pytest.mark.parametrize("options", [SIT, GPT2])
def test_a_file_of_options_says_where_they_have_moved(
    options: dict[str, Any], in_tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("old.yaml").write_text(yaml.safe_dump({"model": options}))
    assert main(["fit", "-c", "old.yaml", "--run_dir", "r"]) == 2
    said = capsys.readouterr().err
    assert "expected today's options in old.yaml, got model." in said
    assert "it is model.method." in said
    assert not Path("r").exists()


def test_an_option_says_where_it_has_moved(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = ["fit", "-c", "model/sit_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/cpu.yaml"]
    assert main([*fit, "--model.num_sampling_steps", "3"]) == 2
    assert "it is model.method.sampling.num_steps now" in capsys.readouterr().err
    assert moved_option("model.width") is None
    assert all(moved_option(f"model.{name}") for table in MOVED.values() for name in table)
