"""Labels are read where training has shown them, and completion reads those that it is given."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from datamodules import GenRAVENDataModule
from datamodules.batches import Batch
from genraven.errors import InputError
from genraven.methods.any_order import AnyOrder
from genraven.methods.autoregressive import Autoregressive, AutoregressiveSampling
from genraven.methods.block import BlockDiffusion
from genraven.methods.gaussian import GaussianDiffusion, GaussianSampling
from genraven.methods.gaussian.ddpm import Ddpm
from genraven.methods.gaussian.flow import Flow
from genraven.methods.masked import MaskedDiffusion
from genraven.metrics.scores import Scores
from genraven.networks.any_order import AnyOrderTransformer
from genraven.networks.bidirectional import BidirectionalTransformer
from genraven.networks.block import BlockTransformer
from genraven.networks.dit import DiT
from genraven.networks.transformer import Transformer
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from lightning_modules import AutoregressiveModule, DiffusionModule, PuzzleModule

SIZE: dict[str, Any] = {"width": 24, "depth": 1, "num_heads": 2, "num_labels": 40}


def cells(**settings: Any) -> PuzzleModule:
    sampling = AutoregressiveSampling(**{k: v for k, v in settings.items() if k != "label_dropout"})
    dropout = settings.get("label_dropout", 0.1)
    return AutoregressiveModule(Transformer(**SIZE), Autoregressive(sampling=sampling), label_dropout=dropout)


def fields(process: Any, **sampling: Any) -> PuzzleModule:
    network = DiT(**SIZE, patch=3, out_channels=3 * (1 + process.learned_variance))
    return DiffusionModule(network, GaussianDiffusion(process, sampling=GaussianSampling(num_steps=2, **sampling)))


MODELS: dict[str, Callable[[], PuzzleModule]] = {
    "gpt2": cells,
    "particles": lambda: cells(num_particles=2),
    "any order": lambda: AutoregressiveModule(AnyOrderTransformer(**SIZE, head="joint"), AnyOrder()),
    "blocks": lambda: DiffusionModule(BlockTransformer(**SIZE), BlockDiffusion()),
    "mdm": lambda: DiffusionModule(BidirectionalTransformer(**SIZE), MaskedDiffusion()),
    "sit": lambda: fields(Flow()),
    "guidance": lambda: fields(Flow(), completion="guidance"),
    "tds": lambda: fields(Ddpm(), completion="tds", num_particles=2),
}


def made(name: str) -> PuzzleModule:
    torch.manual_seed(0)
    module = MODELS[name]().eval()
    with torch.no_grad():
        for parameter in module.parameters():  # away from networks that begin as 0
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return module


def change_label(module: PuzzleModule, label: int) -> None:
    """Another embedding for ``label``."""
    table = module.network.start if hasattr(module.network, "start") else module.network.label
    with torch.no_grad():
        table.weight[label].normal_(std=10)  # type: ignore[index, union-attr]


@pytest.mark.parametrize("name", MODELS)
def test_completion_reads_the_labels_that_it_is_given(name: str) -> None:
    module, puzzles = made(name), generate(3, 0, 6)
    mask = torch.zeros(6, 9, 9, dtype=torch.bool)
    mask[:, 3:6, 3:6] = True
    rules = torch.tensor([3, 7] * 3)

    def completed(told: torch.Tensor | None) -> torch.Tensor:
        return module.complete(puzzles, mask, torch.Generator().manual_seed(0), told)

    before, by_itself = completed(rules), completed(None)
    change_label(module, 7)
    changed = (completed(rules) != before).flatten(1).any(1)
    assert not changed[::2].any()
    assert changed[1::2].any()
    assert torch.equal(completed(None), by_itself)


def test_a_method_that_cannot_use_rules_says_so() -> None:
    class Plain(MaskedDiffusion):
        def complete(self, network: Any, puzzles: Any, mask: Any, sampling: Any, generator: Any) -> Any:  # type: ignore[override]
            return puzzles

    module = DiffusionModule(BidirectionalTransformer(**SIZE), Plain())
    puzzles, mask = generate(3, 0, 2), last_panel_mask(2)
    assert module.complete(puzzles, mask).shape == puzzles.shape
    with pytest.raises(InputError, match="expected no rules for completion by Plain"):
        module.complete(puzzles, mask, None, torch.tensor([3, 3]))


def test_a_training_that_never_hides_a_label_is_refused(tmp_path: Path) -> None:
    trainer = L.Trainer(accelerator="cpu", logger=False, max_steps=1, default_root_dir=tmp_path)
    with pytest.raises(InputError, match="expected label_dropout above 0 for a network with labels, got 0"):
        trainer.fit(cells(label_dropout=0.0), GenRAVENDataModule(10))


def test_a_network_needs_a_label_for_each_rule_that_it_is_trained_on(tmp_path: Path) -> None:
    trainer = L.Trainer(accelerator="cpu", logger=False, max_steps=1, default_root_dir=tmp_path)
    module = AutoregressiveModule(Transformer(**SIZE | {"num_labels": 7}), Autoregressive(), label_dropout=0.1)
    with pytest.raises(InputError, match="whose last id is 7, got num_labels 7: set it to 40"):
        trainer.fit(module, GenRAVENDataModule(10, rules=[3, 7], cache_dir=str(tmp_path)))


def test_what_was_so_trained_completes_with_a_warning_unless_it_is_given_rules() -> None:
    module, puzzles, mask = cells(label_dropout=0.0).eval(), generate(3, 0, 2), last_panel_mask(2)
    with pytest.warns(UserWarning, match="never shown a puzzle without its label"):
        module.complete(puzzles, mask)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.complete(puzzles, mask, None, torch.tensor([3, 3]))


@pytest.mark.parametrize("name", ["gpt2", "mdm", "sit"])
def test_no_score_reads_a_label_that_was_never_trained(name: str) -> None:
    """Of a held-out rule a puzzle is generated, and its loss taken, without one."""
    module, puzzles = made(name), torch.cat([generate(3, 0, 2), generate(7, 0, 2)])
    module.trained = (3,)

    def scored(held_out: int) -> tuple[torch.Tensor, float]:
        scores, rules = Scores(module.trained), torch.tensor([3, 3, held_out, held_out])
        generated = module.score(scores, Batch(puzzles, rules, 0, 0, 4), "test")["generated"]
        return generated, scores.compute().values["loss"]

    before, loss = scored(7)
    change_label(module, 7)
    after, same = scored(7)
    assert torch.equal(before, after)
    assert same == loss == scored(-1)[1]
