"""Both families through Lightning: resume, accumulation, processes, averaging, what is logged.

Trained by plain gradient descent: Adam makes large steps of gradients that are nothing but rounding.
"""

import math
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks import StepCheckpoint, WholeCheckpointIO
from datamodules import GenRAVENDataModule
from datamodules.batches import Batch
from genraven.errors import InputError
from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.edm import Edm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.gaussian.process import Process
from genraven.methods.masked import MaskedDiffusion
from genraven.metrics.scores import Scores
from genraven.networks.axial import AxialTransformer
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.dit import DiT
from genraven.networks.relational_ar import RelationalAR
from genraven.networks.transformer import Transformer
from genraven.puzzles import layout
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.spec import NUM_RULES, RULE_ID
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule
from lightning_modules.averaging import ExponentialMovingAverage
from lightning_modules.optimization import schedule_factor

OPTIMIZER = partial(torch.optim.SGD, lr=0.1)
RULES = ["shape.constant", "position.xor"]


def diffusion(process: Process | None = None, *, self_conditioning: bool = False, **kwargs: Any) -> DiffusionModule:
    torch.manual_seed(0)
    network = DiT(
        width=24,
        depth=1,
        num_heads=2,
        patch=3,
        num_labels=kwargs.pop("num_labels", 0),
        in_channels=(6 if self_conditioning else 3) + (1 if kwargs.get("masked_share") else 0),
        out_channels=6 if isinstance(process, Ddpm) else 3,
    )
    with torch.no_grad():  # away from the zero output of a fresh network
        network.out.weight.normal_(std=0.1)
    masked_share, label_dropout = kwargs.pop("masked_share", 0.0), kwargs.pop("label_dropout", 0.1)
    sampling = GaussianSampling(**{"num_steps": 2} | kwargs)
    settings = {"masked_share": masked_share, "self_conditioning": self_conditioning}
    method = GaussianDiffusion(process or Flow(), sampling=sampling, **settings)
    return DiffusionModule(network, method, optimizer=OPTIMIZER, ema_decay=0.9, label_dropout=label_dropout)


def recalling() -> DiffusionModule:
    """Which reads its own last estimate, in training of half of the puzzles."""
    return diffusion(self_conditioning=True)


def autoregressive(**kwargs: Any) -> AutoregressiveModule:
    torch.manual_seed(0)
    network = Transformer(width=24, depth=1, num_heads=2, num_labels=kwargs.pop("num_labels", 0))
    return AutoregressiveModule(network, optimizer=OPTIMIZER, warmup_steps=2, **kwargs)


TINY: dict[str, Any] = {"width": 36, "depth": 1, "num_heads": 3}
FAMILIES = pytest.mark.parametrize("make", [diffusion, autoregressive])
FAMILIES_AND_RECALLING = pytest.mark.parametrize("make", [diffusion, autoregressive, recalling])


def data(**kwargs: Any) -> GenRAVENDataModule:
    settings: dict[str, Any] = {
        "samples_per_rule": 50,
        "rules": RULES,
        "held_out": "none",
        "global_batch_size": 8,
        "eval_rules": ["shape.constant", "size.constant"],
        "eval_puzzles_per_rule": 5,
        "eval_batch_size": 4,
    }
    return GenRAVENDataModule(**settings | kwargs)


def trainer(folder: Path, **kwargs: Any) -> L.Trainer:
    settings: dict[str, Any] = {
        "default_root_dir": folder,
        "accelerator": "cpu",
        "devices": 1,
        "max_steps": 16,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "val_check_interval": 1000,
        "check_val_every_n_epoch": None,
    }
    return L.Trainer(**settings | kwargs)


def weights(module: L.LightningModule) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], atol: float = 0.0) -> None:
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=atol, msg=lambda m, name=name: f"{name}: {m}")


class Interrupt(L.Callback):
    """Ends the run after ``step``, which no checkpoint holds."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("interrupted on purpose")


@FAMILIES
@pytest.mark.parametrize("samples_per_rule", [10, None])
def test_an_interrupted_run_ends_with_the_same_weights(
    make: Callable[[], PuzzleModule], samples_per_rule: int | None, tmp_path: Path
) -> None:
    whole = make()
    trainer(tmp_path).fit(whole, data(samples_per_rule=samples_per_rule))

    save = ModelCheckpoint(tmp_path, filename="last", every_n_train_steps=5, enable_version_counter=False)
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer(tmp_path, enable_checkpointing=True, callbacks=[save, Interrupt(13)]).fit(
            make(), data(samples_per_rule=samples_per_rule)
        )
    resumed = make()
    with torch.no_grad():
        for parameter in resumed.parameters():
            parameter.zero_()
    trainer(tmp_path).fit(resumed, data(samples_per_rule=samples_per_rule), ckpt_path=tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 10
    assert_same(weights(whole), weights(resumed))


class CountValidations(L.Callback):
    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.steps.append(trainer.global_step)


class KillInValidation(L.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("killed in a validation")


def test_killed_twice_with_accumulation_dropout_and_validation(tmp_path: Path) -> None:
    """Killed between two checkpoints and within a validation, at which a checkpoint was due."""

    def run(*more: L.Callback) -> tuple[PuzzleModule, list[int]]:
        torch.manual_seed(0)
        network = Transformer(width=24, depth=1, num_heads=2, dropout=0.2)
        module, count = AutoregressiveModule(network, optimizer=OPTIMIZER, warmup_steps=2), CountValidations()
        last = max(tmp_path.glob("step-*.ckpt"), default=None)
        callbacks = [StepCheckpoint(tmp_path, 3), count, *more]
        torch.manual_seed(len(more))  # what a new process draws by itself is another thing
        fitting = trainer(
            tmp_path, max_steps=12, val_check_interval=24, accumulate_grad_batches=4, callbacks=callbacks,
            enable_checkpointing=True, plugins=[WholeCheckpointIO()],
        )  # fmt: skip
        fitting.fit(module, data(samples_per_rule=10), ckpt_path=last)
        return module, count.steps

    whole, validated = run()
    assert validated == [6, 12]
    for checkpoint in tmp_path.glob("step-*.ckpt"):
        checkpoint.unlink()
    with pytest.raises(RuntimeError, match="on purpose"):
        run(Interrupt(5))
    with pytest.raises(RuntimeError, match="in a validation"):
        run(KillInValidation(6))
    resumed, validated = run()
    assert validated == [6, 12]
    assert_same(weights(whole), weights(resumed))


@FAMILIES_AND_RECALLING
def test_accumulation_changes_nothing(make: Callable[[], PuzzleModule], tmp_path: Path) -> None:
    one, four = make(), make()
    trainer(tmp_path, max_steps=6).fit(one, data())
    trainer(tmp_path, max_steps=6, accumulate_grad_batches=4).fit(four, data())
    assert_same(weights(one), weights(four), atol=2e-5)


def train_and_save(make: Callable[[], PuzzleModule], folder: Path, **settings: Any) -> None:
    module = make()
    run = trainer(folder, **settings, max_steps=4, val_check_interval=4)
    run.fit(module, data())
    scores = {name: value.item() for name, value in run.callback_metrics.items() if name.startswith("val")}
    result = {"weights": module.state_dict(), "scores": scores, "processes": run.world_size}
    torch.save(result, folder / f"{make.__name__}.pt")


# A fork spares the second process its imports, and is safe where no gradient was computed before: not in this process.
SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_modules import autoregressive, diffusion, recalling, train_and_save
for make in (autoregressive, diffusion, recalling):
    train_and_save(make, Path({out!r}), devices=2, strategy="ddp_fork")
"""


@pytest.fixture(scope="module")
def of_two_processes(warm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what two processes made of each family."""
    out = tmp_path_factory.mktemp("two")
    script = SCRIPT.format(folder=str(Path(__file__).parent), out=str(out))
    subprocess.run([warm_python, "-c", script], check=True, timeout=300)
    return out


@pytest.mark.slow
@FAMILIES_AND_RECALLING
def test_two_processes_train_and_score_like_one(
    make: Callable[[], PuzzleModule], of_two_processes: Path, tmp_path: Path
) -> None:
    train_and_save(make, tmp_path)
    folders = tmp_path, of_two_processes
    alone, together = (torch.load(folder / f"{make.__name__}.pt", weights_only=True) for folder in folders)
    assert (alone["processes"], together["processes"]) == (1, 2)
    assert_same(alone["weights"], together["weights"], atol=2e-5)
    one, two = alone["scores"], together["scores"]
    counts = {name for name in one if name.startswith("val_count/")}
    assert counts
    assert {name: one[name] for name in counts} == {name: two[name] for name in counts}
    assert one["val/loss"] == pytest.approx(two["val/loss"], abs=1e-4)


def test_validation_logs_every_score_with_its_count(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_steps=2, val_check_interval=2)
    run.fit(autoregressive(), data())
    logged = {name: value.item() for name, value in run.callback_metrics.items()}
    rates = {name.removeprefix("val_count/") for name in logged if name.startswith("val_count/")}
    assert rates == {
        *("c3", "c2", "any_valid", "novel_c3", "memorized_puzzles", "memorized_rows", "memorized_panels"),
        *("completion", "completion_trained", "completion_held_out"),
        *("different_novel_c3", "different_puzzles", "different_rows"),
    }
    assert {f"val/{rate}" for rate in rates} <= logged.keys()
    assert {"val/loss", "train/loss"} <= logged.keys()
    assert logged["val_count/c3"] == logged["val_count/completion"] == 10
    assert logged["val_count/any_valid"] == 30
    assert logged["val_count/completion_trained"] == logged["val_count/completion_held_out"] == 5


def test_a_stream_has_no_training_set_to_compare_with(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_steps=1, val_check_interval=1)
    run.fit(autoregressive(), data(samples_per_rule=None))
    assert "val/c3" in run.callback_metrics
    assert "val/novel_c3" not in run.callback_metrics


class Rows(L.Callback):
    """What callbacks see at the end of each validation, by step."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, float]] = {}

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen[trainer.global_step] = {name: x.item() for name, x in trainer.callback_metrics.items()}


def test_a_score_that_a_validation_lacks_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No puzzle has C3 from step 4 on, so that there is no entropy over their rules."""
    module, rows = autoregressive(), Rows()
    consistent = generate(RULE_ID["shape.constant"], 0, 5)

    def made(n: int, *_: Any) -> torch.Tensor:
        return consistent[:n] if module.global_step < 4 else torch.full_like(consistent[:n], -1)

    monkeypatch.setattr(module, "generate", made)
    trainer(tmp_path, max_steps=6, val_check_interval=2, callbacks=[rows]).fit(module, data())
    assert [row["val/c3"] for row in rows.seen.values()] == [1, 0, 0]
    assert ["val/rule_entropy_bits" in row for row in rows.seen.values()] == [True, False, False]
    assert "val/rule_entropy_bits" not in module.trainer.logged_metrics


def test_what_a_row_says_of_training_is_of_its_own_step(tmp_path: Path) -> None:
    """Steps 4 and 8 are logged, 5 and 10 are validated; of the others nothing is said, least of all an earlier loss."""
    losses, said = list[float](), list[int]()

    class Look(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, *args: Any) -> None:
            losses.append(outputs["loss"].item())
            said.extend([trainer.global_step] * ({"train/loss", "train/grad_norm"} <= trainer.callback_metrics.keys()))

    rows = Rows()
    settings: dict[str, Any] = {"max_steps": 10, "val_check_interval": 5, "log_every_n_steps": 4}
    trainer(tmp_path, callbacks=[Look(), rows], **settings).fit(autoregressive(), data())
    assert said == [4, 5, 8, 10]
    assert {step: row["train/loss"] for step, row in rows.seen.items()} == {5: losses[4], 10: losses[9]}


def test_averages_follow_the_warmed_up_decay_and_validation_sees_them(tmp_path: Path) -> None:
    seen: dict[str, Any] = {"raw": [], "val": None}

    class Look(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *args: Any) -> None:
            seen["raw"].append(module.network.out.bias.detach().clone())  # type: ignore[union-attr]

        def on_validation_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *args: Any) -> None:
            seen["val"] = module.network.out.bias.detach().clone()  # type: ignore[union-attr]

    trainer(tmp_path, max_steps=8, val_check_interval=8, callbacks=[Look()]).fit(diffusion(), data())
    average = seen["raw"][0]
    for step, raw in enumerate(seen["raw"][1:], start=1):
        average = torch.lerp(average, raw, 1 - min(0.9, (1 + step) / (10 + step)))
    torch.testing.assert_close(seen["val"], average)
    assert not torch.equal(seen["val"], seen["raw"][-1])


def test_averages_stay_float32_where_training_is_bf16(tmp_path: Path) -> None:
    """Through validations, checkpoints and an interruption, to the last bit."""
    raw: list[torch.Tensor] = []

    class Look(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *args: Any) -> None:
            raw.append(module.network.out.bias.detach().float())  # type: ignore[union-attr]

    settings: dict[str, Any] = {"precision": "bf16-true", "val_check_interval": 2, "enable_checkpointing": True}
    save = partial(ModelCheckpoint, tmp_path, every_n_train_steps=5, enable_version_counter=False)
    whole = trainer(tmp_path, callbacks=[save(filename="{step}", save_top_k=-1), Look()], **settings)
    whole.fit(diffusion(), data())
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer(tmp_path, callbacks=[save(filename="last"), Interrupt(13)], **settings).fit(diffusion(), data())
    resumed = trainer(tmp_path, callbacks=[save(filename="resumed")], **settings)
    resumed.fit(diffusion(), data(), ckpt_path=tmp_path / "last.ckpt")

    average = raw[0]
    for step, weight in enumerate(raw[1:15], start=1):
        average = torch.lerp(average, weight, 1 - min(0.9, (1 + step) / (10 + step)))
    one, other = (torch.load(tmp_path / name, weights_only=True) for name in ("step=15.ckpt", "resumed.ckpt"))
    assert one["state_dict"]["network.out.bias"].dtype == torch.float32
    torch.testing.assert_close(one["state_dict"]["network.out.bias"], average)
    assert torch.equal(one["current_model_state"]["network.out.bias"].float(), raw[14])
    for part in ("state_dict", "current_model_state"):
        assert_same(one[part], other[part])


def test_a_validation_that_raises_leaves_the_weights_in_their_places(tmp_path: Path) -> None:
    class Raise(L.Callback):
        def on_validation_batch_end(self, *args: Any) -> None:
            raise RuntimeError("in validation")

    class Remember(L.Callback):
        raw: torch.Tensor

        def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *args: Any) -> None:
            self.raw = module.network.out.bias.detach().clone()  # type: ignore[union-attr]

    module, remember = diffusion(), Remember()
    with pytest.raises(RuntimeError, match="in validation"):
        trainer(tmp_path, max_steps=4, val_check_interval=4, callbacks=[Raise(), remember]).fit(module, data())
    assert torch.equal(module.network.out.bias, remember.raw)


def test_no_average_where_none_is_wanted() -> None:
    module = diffusion()
    assert [type(c) for c in module.configure_callbacks()] == [ExponentialMovingAverage]
    module.ema_decay = None
    assert module.configure_callbacks() == []


@FAMILIES
def test_completion_keeps_what_is_given_and_reads_nothing_under_the_mask(make: Callable[[], PuzzleModule]) -> None:
    module = make().eval()
    puzzles = generate(RULE_ID["color.xor"], 0, 4, split="val")
    mask = torch.rand(4, 9, 9, generator=torch.Generator().manual_seed(1)) < 0.4
    once = module.complete(puzzles, mask, torch.Generator().manual_seed(2))
    shown = ~mask.unsqueeze(1).expand_as(puzzles)
    assert torch.equal(once[shown], puzzles[shown])
    blanked = puzzles.masked_fill(~shown, -1)
    assert torch.equal(once, module.complete(blanked, mask, torch.Generator().manual_seed(2)))
    assert once.dtype == torch.int8
    assert not torch.equal(once, puzzles)


@FAMILIES
def test_a_mask_leaves_something_open_and_something_given(make: Callable[[], PuzzleModule]) -> None:
    module, puzzles = make().eval(), generate(0, 0, 3, split="val")
    mask = last_panel_mask(3)
    for value, which in ((False, "none"), (True, "all")):
        wrong = mask.clone()
        wrong[1] = value
        with pytest.raises(InputError, match=f"leaves {which} open in puzzle 1"):
            module.complete(puzzles, wrong)
    with pytest.raises(InputError, match="expected a bool mask"):
        module.complete(puzzles, mask[:2])


PROCESSES = [Flow, Edm, Ddpm]


@pytest.mark.parametrize("completion", ["replacement", "guidance", "tds"])
@pytest.mark.parametrize("make_process", PROCESSES)
def test_every_process_completes_in_every_way(make_process: Callable[[], Process], completion: Any) -> None:
    module = diffusion(make_process(), completion=completion, num_particles=2, num_resamples=2).eval()
    puzzles, mask = generate(0, 0, 3, split="val"), torch.zeros(3, 9, 9, dtype=torch.bool)
    mask[:, 2:5, ::2] = True  # not only the last panel
    once, again = (module.complete(puzzles, mask, torch.Generator().manual_seed(1)) for _ in range(2))
    shown = ~mask.unsqueeze(1).expand_as(puzzles)
    assert torch.equal(once, again)
    assert torch.equal(once[shown], puzzles[shown])
    assert not torch.equal(once, puzzles)
    if completion != "replacement":
        module.sample_by({"completion": "replacement"})
        assert not torch.equal(once, module.complete(puzzles, mask, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(("masked_share", "precision"), [(0.0, "32-true"), (0.5, "bf16-mixed")])
@pytest.mark.parametrize("completion", ["guidance", "tds"])
@pytest.mark.parametrize("make_process", PROCESSES)
def test_every_process_trains_and_is_validated(
    make_process: Callable[[], Process], completion: Any, masked_share: float, precision: Any, tmp_path: Path
) -> None:
    """``validate`` runs in inference mode, where completion needs gradients all the same."""
    run = trainer(tmp_path, max_steps=2, val_check_interval=2, precision=precision)
    settings = {"completion": completion, "masked_share": masked_share}
    module = diffusion(make_process(), **settings, num_particles=2, num_labels=NUM_RULES)
    run.fit(module, data())
    assert run.callback_metrics["train/loss"].isfinite()
    run.validate(module, data())
    assert run.callback_metrics["val_count/completion"] == 10


def test_labels_are_strengthened_by_the_guidance_scale() -> None:
    rules = torch.arange(3)
    modules = [diffusion(num_labels=NUM_RULES, guidance_scale=scale).eval() for scale in (1.0, 1.0, 5.0)]
    for module in modules:
        torch.manual_seed(1)
        torch.nn.init.normal_(module.network.modulation.weight)  # type: ignore[union-attr]  # from 0: reads labels
    made = [m.generate(3, rules, torch.Generator().manual_seed(0)) for m in modules]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    free = [m.generate(3, None, torch.Generator().manual_seed(0)) for m in modules[1:]]
    assert torch.equal(*free)


def test_the_default_sampler_is_the_processs_own() -> None:
    for make, usual in zip(PROCESSES, ("euler", "heun", "ancestral"), strict=True):
        made = [diffusion(make(), sampler=name).eval().generate(3, None, torch.Generator().manual_seed(0))
                for name in (None, usual)]  # fmt: skip
        assert torch.equal(*made)


@pytest.mark.parametrize(
    ("process", "settings", "says"),
    [
        (Ddpm, {"sampler": "heun"}, "Ddpm can use, one of ddim, ancestral, dpmpp_2m, dpmpp_2m_sde, got heun"),
        (Edm, {"sampler": "flow_sde"}, "a sampler that Edm can use"),
        (Flow, {"sampler": "eular"}, "a sampler that Flow can use"),
        (Ddpm, {"num_steps": 1001}, "at most 1000"),
        (Flow, {"num_steps": 0}, "num_steps to be 1 or more"),
        (Flow, {"num_particles": 0}, "num_particles to be 1 or more, got 0"),
        (Flow, {"num_resamples": 0}, "num_resamples to be 1 or more"),
        (Flow, {"guidance_strength": -1.0}, "guidance_strength to be 0 or more"),
        (Flow, {"completion": "magic"}, "completion to be one of replacement, guidance, tds, learned, got magic"),
        (Flow, {"guidance_strength": math.nan}, "guidance_strength to be 0 or more"),
    ],
)
def test_settings_of_sampling_that_make_no_sense(
    process: Callable[[], Process], settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        diffusion(process(), **settings)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: AutoregressiveModule(Transformer(**TINY, symbols=(8, 11, 10))), r"symbols \(8, 11, 11\), got Trans"),
        (lambda: AutoregressiveModule(Transformer(**TINY, num_cells=80)), "num_cells 81, got Transformer of num_c"),
        (lambda: AutoregressiveModule(RelationalAR(symbols=(8, 11, 10))), r"symbols \(8, 11, 11\), got RelationalAR"),
        (lambda: AutoregressiveModule(RelationalAR(shape=(3, 3, 8))), r"shape \(3, 3, 9\), got RelationalAR of shape"),
        (lambda: AutoregressiveModule(AxialTransformer(**TINY, shape=(9, 3, 3))), r"shape \(3, 3, 9\), got Axial"),
        (lambda: DiffusionModule(BidirectionalTransformer(**TINY, shape=(9, 3, 3)), MaskedDiffusion()), "shape"),
    ],
)
def test_a_network_of_other_sizes_than_those_of_puzzles_is_refused(make: Callable[[], PuzzleModule], says: str) -> None:
    with pytest.raises(InputError, match=f"expected a network of puzzles, .*{says}"):
        make()


@FAMILIES
def test_generation_follows_its_generator(make: Callable[[], PuzzleModule]) -> None:
    module = make().eval()
    one, same, other = (module.generate(3, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert one.shape == (3, *layout.PUZZLE_SHAPE)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@FAMILIES
def test_rules_are_for_networks_with_labels(make: Callable[..., PuzzleModule], tmp_path: Path) -> None:
    rules = torch.tensor([RULE_ID["shape.constant"]] * 3)
    with pytest.raises(InputError, match="num_labels 40"):
        make().eval().generate(3, rules)
    labelled = make(num_labels=NUM_RULES)
    trainer(tmp_path, max_steps=3, val_check_interval=3).fit(labelled, data())
    assert labelled.eval().generate(3, rules).shape == (3, *layout.PUZZLE_SHAPE)


def test_another_familys_checkpoint_is_refused(tmp_path: Path) -> None:
    run = trainer(tmp_path, max_steps=1)
    run.fit(autoregressive(), data())
    run.save_checkpoint(tmp_path / "gpt.ckpt")
    with pytest.raises(InputError, match="expected a checkpoint of the diffusion family, got one of autoregressive"):
        trainer(tmp_path).fit(diffusion(), data(), ckpt_path=tmp_path / "gpt.ckpt")


def test_schedules() -> None:
    def factor(step: int, schedule: Any) -> float:
        return schedule_factor(step, warmup_steps=10, schedule=schedule, max_steps=110)

    assert [factor(step, "constant") for step in (0, 4, 9, 10, 200)] == [0.1, 0.5, 1.0, 1.0, 1.0]
    assert [factor(step, "linear") for step in (10, 60, 110)] == [1.0, 0.5, 0.0]
    assert factor(60, "cosine") == pytest.approx(0.5)
    assert factor(110, "cosine") == pytest.approx(0.0)


@pytest.mark.parametrize("make", [diffusion, autoregressive])
@pytest.mark.parametrize("training", [True, False])
def test_puzzles_without_a_rule_have_no_label(make: Callable[..., PuzzleModule], training: bool) -> None:
    module = make(num_labels=NUM_RULES, label_dropout=0.0).train(training)
    puzzles = generate(3, 0, 4)

    def labels(*rules: int) -> list[int]:
        found = module._labels(Batch(puzzles, torch.tensor(rules), 0, 0, 4))
        assert found is not None
        return found.tolist()

    assert labels(3, -1, 3, -1) == [3, NUM_RULES, 3, NUM_RULES]
    scores = Scores(range(NUM_RULES))
    sampled = module.score(scores, Batch(puzzles, torch.full((4,), -1), 0, 0, 4), "test")
    assert sampled["generated"].shape == puzzles.shape
    assert scores.compute().rates["completion"].total == 4
