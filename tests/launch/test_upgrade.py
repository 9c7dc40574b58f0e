"""Configs of versions before the method was a part of its own: read in checkpoints, explained elsewhere."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from genraven.errors import InputError
from genraven.methods.autoregressive import AutoregressiveSampling
from genraven.methods.gaussian import GaussianSampling
from genraven.methods.gaussian.categorical import code_deviation
from genraven.puzzles.layout import FIELDS_DEVIATION, SYMBOLS
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
    assert "expected current options in old.yaml, got the former name model." in said
    assert ": write model.method." in said
    assert not Path("r").exists()


def test_an_option_says_where_it_has_moved(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = ["fit", "-c", "model/sit_tiny.yaml", "-c", "data/demo.yaml", "-c", "trainer/cpu.yaml"]
    assert main([*fit, "--model.num_sampling_steps", "3"]) == 2
    assert "it is model.method.sampling.num_steps now" in capsys.readouterr().err
    assert moved_option("model.width") is None
    assert moved_option("model.method.sampling.top_k") is None  # it is there already
    assert all(moved_option(f"model.{name}") for table in MOVED.values() for name in table)


EDM: dict[str, Any] = {
    "class_path": "lightning_modules.DiffusionModule",
    "init_args": {
        "network": {"class_path": "genraven.networks.unet.UNet", "init_args": {"channels": 8}},
        "method": {
            "class_path": "genraven.methods.gaussian.GaussianDiffusion",
            "init_args": {
                "process": {
                    "class_path": "genraven.methods.gaussian.edm.Edm",
                    "init_args": {"sigma_data": None, "sigma_min": 0.02, "sigma_max": 10.0},
                }
            },
        },
    },
}


def edm(code: str = "numbers", **process: Any) -> dict[str, Any]:
    """A config of EDM with these arguments of its process."""
    config = copy.deepcopy(EDM)
    method = config["init_args"]["method"]["init_args"]
    method["code"] = code
    method["process"]["init_args"] = process
    channels = 3 if code == "numbers" else 30
    config["init_args"]["network"]["init_args"] |= {"in_channels": channels, "out_channels": channels}
    return {"model": config, "data": {"samples_per_rule": 10}, "seed_everything": 0}


def sigma_data(config: dict[str, Any]) -> float:
    process: Any = build(config)[0].method.process  # type: ignore[attr-defined]
    return float(getattr(process, "path", process).sigma_data)


def test_old_configs_of_edm_mean_what_they_meant() -> None:
    assert sigma_data(edm(sigma_data=None)) == sigma_data(edm(sigma_data=0.5)) == 0.5
    assert sigma_data(edm("onehot", sigma_data=None)) == pytest.approx(code_deviation(SYMBOLS))
    assert sigma_data(edm()) == sigma_data(edm(sigma_data="data")) == FIELDS_DEVIATION
    oldest = copy.deepcopy(SIT)
    oldest["init_args"]["network"] = EDM["init_args"]["network"]
    oldest["init_args"]["process"] = {"class_path": "genraven.diffusion.edm.Edm", "init_args": {"sigma_min": 0.02}}
    assert sigma_data({"model": oldest, "data": {}}) == 0.5
    assert upgraded(today := edm(sigma_data="data")) is today


def test_an_old_run_of_edm_goes_on_with_its_own_sigma_data_alone() -> None:
    old, same, new = edm(sigma_data=None), with_defaults(edm(sigma_data=0.5)), with_defaults(edm())
    refuse_other(old, same, Path("step-00000001.ckpt"))
    with pytest.raises(InputError, match=r"sigma_data 0.5 instead of 'data': .* give the old config"):
        refuse_other(old, new, Path("step-00000001.ckpt"))
