"""What decays, what the optimizer is told, and the schedule of a run that is made longer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

from datamodules import GenRAVENDataModule
from genraven.errors import InputError
from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.flow import Flow
from genraven.methods.masked import MaskedDiffusion
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.dit import DiT
from genraven.networks.mamba import Mamba
from genraven.networks.relational_masked import RelationalMasked
from genraven.networks.transformer import Transformer
from genraven.networks.unet import UNet
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule
from lightning_modules.optimization import parameter_groups, schedule_factor

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "gpt2": lambda: Transformer(width=24, depth=1, num_heads=2, num_labels=2, reads_unknown=True),
    "mamba": lambda: Mamba(width=24, depth=1, state_size=4, num_labels=2, reads_unknown=True),
    "mdm": lambda: BidirectionalTransformer(width=24, depth=1, num_heads=2, num_labels=2),
    "dit": lambda: DiT(width=24, depth=1, num_heads=2, num_labels=2),
    "unet": lambda: UNet(channels=8, multipliers=(1, 2), num_labels=2),
    "relational": lambda: RelationalMasked(
        width=24, hidden=32, writer=16, occupancy=16, mixing=1, num_heads=2, num_labels=2
    ),
}
DECAYING = {  # the last words of their names; "0" to "2" number heads
    "gpt2": {"qkv", "attention_out", "mlp_in", "mlp_out", "0", "1", "2"},
    "mamba": {"project_in", "convolution", "select", "project_out", "0", "1", "2"},
    "mdm": {"qkv", "attention_out", "mlp_in", "mlp_out", "own"},
    "dit": {"patches", "time_in", "time_out", "qkv", "attention_out", "mlp_in", "mlp_out", "modulation", "out"},
    "unet": {"time_in", "time_out", "first", "convolution1", "convolution2", "condition", "skip", "qkv",
             "attention_out", "out"},
    "relational": {"relation_in", "relation", "relation_out", "seen", "evidence", "panel", "panel_out", "qkv",
                   "attention_out", "mlp_in", "mlp_out", "sets", "gates", "score", "filled", "state", "count",
                   "features", "missing", "values", "filled_out", "layout"},
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_only_matrices_and_kernels_decay(name: str) -> None:
    network = NETWORKS[name]()
    decaying, others = (dict(group["params"]) for group in parameter_groups(network, 0.1))
    assert {**decaying, **others}.keys() == dict(network.named_parameters()).keys()
    assert not decaying.keys() & others.keys()
    assert {key.removesuffix(".weight").rpartition(".")[2] for key in decaying} == DECAYING[name]
    assert not any("embeddings" in key or "label" in key or "tables" in key for key in decaying)


def test_an_optimizer_is_told_names_and_decays_what_it_is_to(tmp_path: Path) -> None:
    module = mamba(weight_decay=0.5)
    optimizer = module.new_optimizer()
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    assert "network.blocks.0.log_a" in optimizer.param_groups[1]["param_names"]
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    shrunk = {name for name, parameter in module.named_parameters() if not torch.equal(parameter, before[name])}
    assert shrunk == {*optimizer.param_groups[0]["param_names"]}


@pytest.mark.parametrize(("module", "decays"), [(nn.LayerNorm(4), [0.0]), (nn.Linear(4, 4, bias=False), [0.1])])
def test_a_network_of_one_kind_of_parameters_is_one_group(module: nn.Module, decays: list[float]) -> None:
    optimizer = torch.optim.AdamW(parameter_groups(module, 0.1), weight_decay=0.1)
    assert [group["weight_decay"] for group in optimizer.param_groups] == decays


@pytest.mark.parametrize("decay", [{"weight_decay": 0.0}, {}])
def test_where_nothing_decays_there_is_one_group(decay: dict[str, float]) -> None:
    """Adam has no decay of its own."""
    network = NETWORKS["gpt2"]()
    module = AutoregressiveModule(network, optimizer=lambda params: torch.optim.Adam(params, **decay))
    (group,) = module.new_optimizer().param_groups
    assert len(group["params"]) == len(list(network.parameters()))
    assert group["param_names"][0] == "network.unknown"


def test_every_family_hands_on_what_its_network_spares() -> None:
    methods = {"mdm": MaskedDiffusion(), "dit": GaussianDiffusion(Flow())}
    for name, method in methods.items():
        module = DiffusionModule(NETWORKS[name](), method, optimizer=lambda p: torch.optim.AdamW(p, weight_decay=0.1))
        names = [group["param_names"] for group in module.new_optimizer().param_groups]
        assert any("label" in name for name in names[1])
        assert not any("positions" in name for name in names[0])


# Optimizers of a user's own ------------------------------------------------------------------------------------------


def test_an_optimizer_that_wants_names_is_told_the_networks_own() -> None:
    class ByName(torch.optim.SGD):
        """Of a plugin: embeddings at a tenth of the rate."""

        def __init__(self, params: Any, lr: float) -> None:
            (group,) = params
            names = [name for name, _ in group["params"]]
            if "network.blocks.0.qkv.weight" not in names:
                raise KeyError(f"no blocks in {names}")
            slow = [pair for pair in group["params"] if "embedding" in pair[0]]
            fast = [pair for pair in group["params"] if "embedding" not in pair[0]]
            super().__init__([{"params": fast}, {"params": slow, "lr": lr / 10}], lr=lr)

    module = AutoregressiveModule(NETWORKS["gpt2"](), optimizer=lambda params: ByName(params, lr=1.0))
    fast, slow = module.new_optimizer().param_groups
    assert (fast["lr"], slow["lr"]) == (1.0, 0.1)
    assert all("embedding" in name for name in slow["param_names"])
    with pytest.raises(InputError, match="expected an optimizer, got what cannot be one .*no blocks in"):
        AutoregressiveModule(NETWORKS["mamba"](), optimizer=lambda params: ByName(params, lr=1.0))


HIDDEN = {
    "gpt2": {"qkv", "attention_out", "mlp_in", "mlp_out"},
    "mamba": {"project_in", "select", "project_out"},
    "dit": {"qkv", "attention_out", "mlp_in", "mlp_out", "modulation"},
}


@pytest.mark.parametrize("name", HIDDEN)
def test_muon_takes_the_hidden_matrices_and_adamw_the_others(name: str) -> None:
    make = lambda params: torch.optim.Muon(params, lr=0.01, weight_decay=0.1)  # noqa: E731
    module: PuzzleModule
    if name == "dit":
        module = DiffusionModule(NETWORKS[name](), GaussianDiffusion(Flow()), optimizer=make)
    else:
        module = AutoregressiveModule(NETWORKS[name](), optimizer=make)
    optimizer = module.new_optimizer()
    muon, *adamw = optimizer.param_groups
    assert {n.removesuffix(".weight").rpartition(".")[2] for n in muon["param_names"]} == HIDDEN[name]
    assert all("blocks" in n for n in muon["param_names"])
    assert muon["adjust_lr_fn"] == "match_rms_adamw"
    assert [group["weight_decay"] for group in adamw] == [0.1, 0.0]
    assert {group["lr"] for group in optimizer.param_groups} == {0.01}
    names = [n for group in optimizer.param_groups for n in group["param_names"]]
    assert sorted(names) == sorted(n for n, _ in module.named_parameters())


def test_muon_for_steps_of_another_size_than_adamws_is_refused() -> None:
    make = lambda params: torch.optim.Muon(params, adjust_lr_fn="original")  # noqa: E731
    with pytest.raises(InputError, match="expected adjust_lr_fn match_rms_adamw for torch.optim.Muon, got original"):
        AutoregressiveModule(NETWORKS["gpt2"](), optimizer=make)


def test_where_all_is_to_decay_all_does() -> None:
    optimizer = lambda params: torch.optim.AdamW(params, weight_decay=0.1)  # noqa: E731
    module = AutoregressiveModule(NETWORKS["mamba"](), optimizer=optimizer, decay_all=True)
    (group,) = module.new_optimizer().param_groups
    assert group["weight_decay"] == 0.1
    assert len(group["params"]) == len(list(module.parameters()))


# Runs ----------------------------------------------------------------------------------------------------------------


def mamba(**settings: Any) -> AutoregressiveModule:
    torch.manual_seed(0)
    optimizer = lambda params: torch.optim.AdamW(params, lr=1e-2, **settings)  # noqa: E731
    return AutoregressiveModule(Mamba(width=24, depth=1, state_size=4), optimizer=optimizer, warmup_steps=2)


class Rates(L.Callback):
    """The rate of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: L.Trainer, module: Any, optimizer: torch.optim.Optimizer) -> None:
        rates = {group["lr"] for group in optimizer.param_groups}
        assert len(rates) == 1
        self.seen += rates


def train(
    module: PuzzleModule, folder: Path, max_steps: int, ckpt: Path | None = None, **more: Any
) -> tuple[list[float], Path]:
    """The rates of its steps, and its last checkpoint."""
    rates = Rates()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    settings: dict[str, Any] = {**quiet, "accelerator": "cpu", "limit_val_batches": 0, **more}
    trainer = L.Trainer(max_steps=max_steps, callbacks=[rates], default_root_dir=folder, **settings)
    data = GenRAVENDataModule(10, rules="0", held_out="none", global_batch_size=4, eval_puzzles_per_rule=1)
    trainer.fit(module, data, ckpt_path=ckpt)
    trainer.save_checkpoint(folder / f"{max_steps}.ckpt")
    return rates.seen, folder / f"{max_steps}.ckpt"


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_run_that_is_made_longer_takes_up_the_longer_schedule_at_once(schedule: Any, tmp_path: Path) -> None:
    def make() -> PuzzleModule:
        module = mamba()
        module.schedule = schedule
        return module

    def rates(length: int, first: int) -> list[float]:
        return [1e-2 * schedule_factor(step, warmup_steps=2, schedule=schedule, max_steps=length)
                for step in range(first, length)]  # fmt: skip

    seen, ckpt = train(make(), tmp_path, 6)
    assert seen == rates(6, 0)
    with pytest.warns(UserWarning, match=f"the {schedule} schedule is now one of 12 steps: at step 6 the rate goes"):
        seen, _ = train(make(), tmp_path, 12, ckpt)
    assert seen == rates(12, 6)
    assert min(seen) > 0


def test_a_run_that_began_with_decay_of_all_goes_on_so(tmp_path: Path) -> None:
    """Checkpoints of older versions have one group, whatever decays."""
    older = mamba(weight_decay=0.1)
    older._decays_all = True
    _, ckpt = train(older, tmp_path, 4)
    assert len(torch.load(ckpt, weights_only=True)["optimizer_states"][0]["param_groups"]) == 1
    _, last = train(mamba(weight_decay=0.1), tmp_path, 6, ckpt)
    (group,) = torch.load(last, weights_only=True)["optimizer_states"][0]["param_groups"]
    assert group["weight_decay"] == 0.1
    assert "network.blocks.0.log_a" in group["param_names"]


def test_a_run_by_muon_that_is_interrupted_reaches_the_same_weights(tmp_path: Path) -> None:
    def make() -> PuzzleModule:
        torch.manual_seed(0)
        optimizer = lambda params: torch.optim.Muon(params, lr=1e-2)  # noqa: E731
        network = Transformer(width=24, depth=1, num_heads=2)
        return AutoregressiveModule(network, optimizer=optimizer, warmup_steps=2, schedule="constant")

    clip = {"gradient_clip_val": 0.1}
    rates, whole = train(make(), tmp_path / "whole", 4, **clip)
    first, ckpt = train(make(), tmp_path / "parts", 2, **clip)
    later, parts = train(make(), tmp_path / "parts", 4, ckpt, **clip)
    assert first + later == rates == [5e-3, 1e-2, 1e-2, 1e-2]
    one, other = (torch.load(path, weights_only=True) for path in (whole, parts))
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
    (mine,), (its,) = one["optimizer_states"], other["optimizer_states"]
    assert mine["param_groups"] == its["param_groups"]
    assert {*map(tuple, map(sorted, mine["state"].values()))} == {
        ("momentum_buffer",),
        ("exp_avg", "exp_avg_sq", "step"),
    }
    for number, state in mine["state"].items():
        assert all(torch.equal(value, its["state"][number][name]) for name, value in state.items())
    start = make().state_dict()
    assert all(
        not torch.equal(value, start[name]) for name, value in one["state_dict"].items() if "unknown" not in name
    )
