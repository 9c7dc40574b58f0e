"""No step of any method waits for the host, or copies from it: proved on the meta device, which has no numbers.

A mode sees every operation on its tensors. What reads a number to the host (``item``, ``bool``, a shape that depends on
data) cannot be done there at all; what mixes a tensor of the host in, or copies one over, is told by its devices. A
number of the host without dimensions travels with the operation and is no copy.
"""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from genraven.methods.any_order import AnyOrder
from genraven.methods.autoregressive import Autoregressive
from genraven.methods.gaussian import GaussianDiffusion
from genraven.methods.gaussian.samplers import SAMPLERS
from genraven.methods.gaussian.settings import Completion
from genraven.methods.masked import MaskedDiffusion
from genraven.puzzles import layout
from genraven.puzzles.masks import last_panel_mask
from launch.configs.identity import build
from launch.configs.shipped import CONFIGS
from lightning_modules import PuzzleModule

ROOT = Path(__file__).parents[2]
META = torch.device("meta")
TINY = sorted(path.stem for path in (CONFIGS / "model").glob("*_tiny.yaml"))
WITHOUT_CHANNEL = ("any_order", "block", "mdm", "axial_mdm", "relational_mdm")
"""Whose methods see no unknown cell."""
NUM = 2
COPIES = {"aten._to_copy", "aten.copy_"}
LITERALS = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}  # which fill a tensor on the host first


class Traffic(TorchDispatchMode):
    """Notes what goes between the host and the meta device, each with the file and line that asked for it.

    Args:
        known: tensors of the meta device that stand for these of the host; to read one is noted as well.
    """

    def __init__(self, *known: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.known = {id(there): here for there, here in known}
        self.copied: list[str] = []
        self.read: list[str] = []
        self._literals = Literals(self.copied)

    def __enter__(self) -> "Traffic":
        self._literals.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._literals.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = str(func).rpartition(".")[0]
        if name == "aten._to_copy" and tensors[0].device == META and _is_host(kwargs.get("device")):
            self.read.append(_where())
            assert id(tensors[0]) in self.known, f"{_where()} reads numbers that a step computed"
            return self.known[id(tensors[0])].clone()
        try:
            out = func(*args, **kwargs)
        except (RuntimeError, NotImplementedError) as error:
            raise AssertionError(f"{_where()} waits for the device in {name}: {error}") from error
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        concerned = any(leaf.device == META for leaf in [*tensors, *made])
        if concerned and any(leaf.device != META and (leaf.ndim or name in COPIES) for leaf in tensors):
            self.copied.append(f"{_where()} ({name})")
        return out


class Literals(TorchFunctionMode):
    """Notes tensors of the meta device that are made of Python's numbers, which no operation shows."""

    def __init__(self, copied: list[str]) -> None:
        super().__init__()
        self.copied = copied

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in LITERALS and out.device == META and out is not args[0]:
            self.copied.append(f"{_where()} ({func.__name__})")
        return out


def _is_host(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cpu"


def _where() -> str:
    """The innermost line of ours."""
    ours = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(ROOT)]
    ours = [frame for frame in ours if "tests" not in Path(frame.filename).parts and ".venv" not in frame.filename]
    return f"{Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}" if ours else "the test"


class MetaDraw:
    """Random numbers of a device without numbers."""

    def __call__(self, distribution: Callable[..., Tensor], *shape: int) -> Tensor:
        return distribution((NUM, *shape), device=META)

    def spread(self) -> Tensor:
        return torch.rand(NUM, device=META)


def module(preset: str, **more: Any) -> PuzzleModule:
    """The model of a preset on the meta device, of one block: all do the same."""
    config = yaml.safe_load((CONFIGS / "model" / f"{preset}.yaml").read_text())
    config["data"] = {"rules": [4], "held_out": "none", "samples_per_rule": 4, "global_batch_size": 4}
    network = config["model"]["init_args"]["network"]["init_args"]
    network |= more | ({"depth": 1} if "depth" in network else {})
    return build(config)[0].to(META)


def puzzles() -> Tensor:
    return torch.zeros(NUM, *layout.PUZZLE_SHAPE, dtype=torch.int8, device=META)


def steady(traffic: Callable[[], Traffic], work: Callable[[], object]) -> Traffic:
    """The traffic of the second time, when all tables are on the device."""
    with traffic():
        work()
    with traffic() as found:
        work()
    return found


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("preset", TINY)
def test_a_training_step_neither_waits_nor_copies(preset: str, missing: bool) -> None:
    model = module(
        preset, **({"reads_unknown": True} if missing and not preset.startswith(WITHOUT_CHANNEL) else {})
    ).train()
    unknown = torch.zeros(NUM, 9, 9, dtype=torch.bool, device=META) if missing else None
    found = steady(Traffic, lambda: model.losses(puzzles(), None, MetaDraw(), unknown).mean().backward())
    assert found.copied == []
    assert found.read == []


def ways() -> list[Any]:
    """Every tiny preset as it samples, and every sampler and completion that a process can use, with one network."""
    found = [pytest.param(preset, {}, id=preset) for preset in TINY]
    for preset in TINY:
        if preset.startswith(("axial", "relational")) and preset != "relational_ar_tiny":  # whose caches are its own
            continue
        model = module(preset)
        if isinstance(model.method, GaussianDiffusion):
            usable = [name for name, entry in SAMPLERS.items() if entry.can_use(model.method.process)]
            some = [{"sampler": name} for name in usable]
            some += [{"completion": name} for name in get_args(Completion) if name != "learned"]
        elif isinstance(model.method, MaskedDiffusion):
            some = [{"order": "entropy", "num_steps": 9}, {"completion_order": "margin"}]
            some += [{"remasking": 0.1, "num_steps": 9}]
        elif isinstance(model.method, AnyOrder):
            some = [{"order": "panels"}, {"completion_order": "left_to_right"}]
        else:
            some = [{"num_particles": 2}]
        found += [pytest.param(preset, one, id=f"{preset}-{'-'.join(map(str, one.values()))}") for one in some]
    return found


@pytest.mark.parametrize(("preset", "sampling"), ways())
def test_sampling_reads_at_most_twice_and_copies_at_most_twice(preset: str, sampling: dict[str, Any]) -> None:
    """However many steps it takes: to check a mask, and to see where it is open; the mask of cells in order."""
    model, scattered = module(preset), torch.zeros(NUM, 9, 9, dtype=torch.bool)
    scattered[:, 7, 3] = scattered[:, 8, 8] = True
    if not isinstance(model.method, Autoregressive | AnyOrder):
        sampling = {"num_steps": 3} | sampling
    model.sample_by(sampling)
    mask = scattered.to(META)
    all_found = [steady(lambda: Traffic((mask, scattered)), lambda: model.complete(puzzles(), mask))]
    if not any("complet" in name or "particles" in name for name in sampling):
        with Traffic() as generating:  # by tables that completion has made
            model.generate(NUM)
        all_found.append(generating)
    for found in all_found:
        assert len(found.copied) <= 2, found.copied
        assert len(found.read) <= 2, found.read


def test_what_waits_or_copies_is_named_with_its_line() -> None:
    model = module("mdm_tiny")
    with Traffic() as found, pytest.raises(AssertionError, match=r"masked.py:\d+ reads numbers that a step computed"):
        model.method.complete(model.network, puzzles(), last_panel_mask(NUM, META), model.sampling, None)
    with Traffic() as found:
        draws = torch.rand(3, device=META)
        assert [found.copied, found.read] == [[], []]
        _ = draws * torch.ones(3, device="cpu").to(META), draws * torch.tensor(2.0), draws.new_tensor([1.0])
    assert found.copied == ["the test (aten._to_copy)", "the test (new_tensor)"]
    for wait in (lambda: bool((draws > 0).any()), lambda: draws[draws > 0], lambda: draws.nonzero()):
        with Traffic(), pytest.raises(AssertionError, match="the test waits for the device"):
            wait()
