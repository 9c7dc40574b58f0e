"""What users give in Python, as tensors of ours: puzzles, masks and rules, refused in one line where they are none."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from genraven.errors import InputError
from genraven.methods.method import num_labels
from genraven.puzzles.layout import PUZZLE_SHAPE
from genraven.puzzles.masks import last_panel_mask
from genraven.puzzles.spec import GRID, RULES, resolve_rules
from lightning_modules import PuzzleModule
from lightning_modules.given import check_given

Rules = str | int | Sequence[str | int] | NDArray[Any] | Tensor
"""One rule or several: ids, names such as ``position.xor``, attributes."""
WHOLE = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
SHAPE = ", ".join(map(str, PUZZLE_SHAPE))


def puzzles_and_mask(puzzles: ArrayLike, mask: ArrayLike | None, module: PuzzleModule) -> tuple[Tensor, Tensor]:
    """(B, 3, 9, 9) int8 and (B, 9, 9) bool on the CPU, for ``module`` to complete.

    Raises:
        InputError: as ``puzzles_of`` and ``masks_of``; a given cell that holds no value, or a mask that leaves nothing
            to write or all.
    """
    given = puzzles_of(puzzles)
    open_cells = masks_of(mask, len(given))
    module.check_mask(given, open_cells)
    if not module.method.reads_numbers:
        check_given(given, open_cells)
    return given, open_cells


def labels_of(rules: Rules, module: PuzzleModule, num: int | None = None) -> Tensor:
    """The ids of ``rules``, as ``rule_ids`` has them, int64, for ``module`` to read.

    Raises:
        InputError: as ``rule_ids``; a rule whose label the model has never read.
    """
    ids = rule_ids(rules, num)
    unknown = [RULES[rule].name for rule in dict.fromkeys(ids) if rule not in module.trained]
    if unknown and num_labels(module.network):  # the model refuses labels itself where its network reads none
        raise InputError(f"expected rules that the model was trained on, got {', '.join(unknown)}, whose labels it "
                         "has never read: leave them out.")  # fmt: skip
    return torch.tensor(ids)


def puzzles_of(puzzles: ArrayLike) -> Tensor:
    """(B, 3, 9, 9) int8 on the CPU, of a tensor or an array of whole numbers.

    Raises:
        InputError: another type or shape, none at all, or a number that int8 does not hold.
    """
    found = _tensor(puzzles)
    is_whole = found is not None and found.dtype in WHOLE
    if found is None or not is_whole or found.shape[1:] != PUZZLE_SHAPE or not len(found):
        raise InputError(f"expected puzzles as whole numbers (B, {SHAPE}), B of 1 or more, got {_said(puzzles)}: give "
                         "a torch tensor or a numpy array; puzzle[None] for a single puzzle.")  # fmt: skip
    limits = torch.iinfo(torch.int8)
    if found.dtype != torch.int8 and ((found < limits.min) | (found > limits.max)).any():
        raise InputError(f"expected puzzles whose cells are -1 (empty) or small whole numbers, got {int(found.min())} "
                         f"to {int(found.max())}.")  # fmt: skip
    return found.to(torch.int8)


def masks_of(mask: ArrayLike | None, num: int) -> Tensor:
    """(num, 9, 9) bool on the CPU, of one mask for all or one for each; None opens the last panel.

    Raises:
        InputError: another type or shape.
    """
    if mask is None:
        return last_panel_mask(num)
    found = _tensor(mask)
    if found is None or found.dtype != torch.bool or found.shape not in ((GRID, GRID), (num, GRID, GRID)):
        raise InputError(f"expected a bool mask ({GRID}, {GRID}) or ({num}, {GRID}, {GRID}), got {_said(mask)}: true "
                         "is a cell to write.")  # fmt: skip
    return found.expand(num, GRID, GRID)


def rule_ids(rules: Rules, num: int | None = None) -> tuple[int, ...]:
    """Ids of ``rules`` in ascending order; with ``num``, of so many puzzles in theirs: one rule of all, or of each.

    Raises:
        InputError: no rule, an unknown one, or another number than ``num``.
    """
    named: list[Any] = [rules] if isinstance(rules, (str, int)) else np.asarray(rules, object).reshape(-1).tolist()
    if num is None:
        if not (ids := resolve_rules(named)):
            raise InputError("expected rules to ask for, got an empty selection: name some, or leave rules out.")
        return ids
    named = named * num if len(named) == 1 else named
    each = {rule: resolve_rules([rule]) for rule in dict.fromkeys(named)}
    if several := [(rule, ids) for rule, ids in each.items() if len(ids) != 1]:
        rule, ids = several[0]
        raise InputError(f"expected one rule of each puzzle, got {rule}, which names {len(ids)}: "
                         f"name one, such as {RULES[0].name}.")  # fmt: skip
    if len(named) != num:
        raise InputError(f"expected one rule of all {num} puzzles, or one of each, got {len(named)}.")
    return tuple(each[rule][0] for rule in named)


def _tensor(value: Any) -> Tensor | None:
    """On the CPU; None of what is neither a tensor nor an array of whole numbers or bool."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biu":
        if value.dtype.kind == "u":  # the largest number that is taken is still refused as a cell
            value = value.clip(max=np.iinfo(np.int64).max)
        return torch.from_numpy(value.astype(np.bool_ if value.dtype.kind == "b" else np.int64))  # a copy of its own
    return None


def _said(value: Any) -> str:
    known = isinstance(value, (Tensor, np.ndarray))
    return f"{value.dtype} of {tuple(value.shape)}" if known else type(value).__name__
