"""Lists of options by name: each must be one, or what it is for silently stops when an option moves."""

from typing import Any

import pytest

from genraven.report import reading
from launch.configs import identity
from launch.configs.changes import flat, short_names
from launch.jobs import sweep
from launch.training import initial_weights, options
from launch.training.monitoring import HYPERPARAMETERS, hyperparameters
from launch.training.resolve import Resolver

MODELS = ("gpt2_tiny", "edm_tiny", "mdm_tiny")
CORRUPTION = ["--data.corruption", "{cells: 0.1}"]


@pytest.fixture(scope="module")
def configs() -> list[dict[str, Any]]:
    """Resolved ones in which together every option stands."""
    given = [["fit", "-c", f"model/{name}.yaml", "-c", "data/demo.yaml", *CORRUPTION] for name in MODELS]
    resolver = Resolver(given[0])
    return [resolver.resolve(arguments) for arguments in given]


def test_the_table_of_hyperparameters_names_settings_that_exist(configs: list[dict[str, Any]]) -> None:
    known = {name for config in configs for name in short_names(config)}
    assert set(HYPERPARAMETERS) <= known
    shown = [hyperparameters(config) for config in configs]
    assert [table["method"].rpartition(".")[2] for table in shown[1:]] == ["GaussianDiffusion", "MaskedDiffusion"]
    assert shown[1]["process"].endswith(".Edm")


def test_lists_of_options_name_those_that_exist(configs: list[dict[str, Any]]) -> None:
    known = {name for config in configs for part, tree in config.items() for name in flat(tree, part)}
    known |= {name.replace(".init_args", "") for name in known}  # as a sweep may name them
    wholes = [
        *options.PATHS, options.READS_UNKNOWN, *options.OF_IDENTITY, *options.FROM_1, identity.SEED, identity.SOURCE,
        identity.DIGEST, *identity.PLACES, *reading.SEEDS.values(), *sweep.BARE,
        *(name for names in sweep.SEEDS.values() for name in names),
    ]  # fmt: skip
    beginnings = [*reading.SETTINGS, *reading.LEFT_OUT, initial_weights.NETWORK, initial_weights.METHOD]
    assert {name for name in wholes if name not in known} == set()
    assert {name for name in beginnings if not any(other.startswith(name) for other in known)} == set()
