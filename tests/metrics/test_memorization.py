import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from genraven.metrics.memorization import Memorization, TrainingIndex, fingerprints
from genraven.puzzles import layout
from genraven.puzzles.generate import generate

Rows = Callable[[Tensor], list[tuple[tuple[tuple[int, int, int], ...], ...]]]


@pytest.fixture(scope="module")
def training() -> Tensor:
    return torch.cat([generate(rule, 0, 30) for rule in (2, 12, 31, 38)])


@pytest.fixture(scope="module")
def generated(training: Tensor, mixed: tuple[Tensor, Tensor]) -> Tensor:
    """Memorised, half memorised, new and random puzzles."""
    row_moved = generate(2, 1000, 10).clone()
    row_moved[:, :, 6:9] = training[:10, :, 0:3]  # a known row, in another place
    panel_moved = generate(38, 1000, 10).clone()
    panel_moved[:, :, 0:3, 6:9] = training[-10:, :, 3:6, 0:3]
    rows_exchanged = training[:20].roll(3, dims=2)
    rows_mixed = training[:20].clone()  # all rows known, the puzzle not
    rows_mixed[:, :, :3] = training[20:40, :, :3]
    half_empty = training[30:60].clone()
    half_empty[:, 1:][(half_empty[:, :1] == -1).expand(-1, 2, -1, -1)] = 4  # empty all the same: one channel is -1
    return torch.cat(
        [training[:25], row_moved, panel_moved, rows_exchanged, rows_mixed, half_empty, generate(2, 2000, 20), mixed[0]]
    )


def test_equals_sets_of_tuples(
    training: Tensor, generated: Tensor, rows: Rows, row_rule_sets: Callable[[Tensor], list[set[int]]]
) -> None:
    known = [rows(puzzle) for puzzle in training]
    known_puzzles = {tuple(sorted(puzzle)) for puzzle in known}  # in any order of their rows
    known_rows = {row for puzzle in known for row in puzzle}
    known_panels = {panel for row in known_rows for panel in row}
    puzzles = seen_rows = panels = novel = 0
    for puzzle in generated:
        cells = rows(puzzle)
        puzzles += tuple(sorted(cells)) in known_puzzles
        seen_rows += sum(row in known_rows for row in cells)
        panels += sum(panel in known_panels for row in cells for panel in row)
        has_c3 = bool(set.intersection(*row_rule_sets(puzzle)))
        novel += has_c3 and not any(row in known_rows for row in cells)
    n = len(generated)
    assert puzzles >= 75
    assert 3 * puzzles + 60 + 10 <= seen_rows < 3 * n
    assert 0 < novel < n

    metric = Memorization(TrainingIndex.build(training))
    for part in generated.split([3, 50, n - 53]):
        metric.update(part)
    counts = {name: (int(rate.hits), int(rate.total)) for name, rate in metric.compute()["rates"].items()}
    assert counts == {
        "novel_c3": (novel, n),
        "memorized_puzzles": (puzzles, n),
        "memorized_rows": (seen_rows, 3 * n),
        "memorized_panels": (panels, 9 * n),
    }


def test_equal_cells_and_only_they_have_equal_hashes(generated: Tensor, rows: Rows) -> None:
    hashes = fingerprints(generated)
    cells = [rows(puzzle) for puzzle in generated]
    flat = {
        "puzzles": [tuple(puzzle) for puzzle in cells],
        "rows": [row for puzzle in cells for row in puzzle],
        "panels": [panel for puzzle in cells for row in puzzle for panel in row],
    }
    for level, things in flat.items():
        pairs = set(zip(things, hashes[level].flatten().tolist(), strict=True))
        assert len(pairs) == len({thing for thing, _ in pairs}) == len({number for _, number in pairs}), level


def test_puzzles_of_rows_in_another_order_are_memorised(training: Tensor) -> None:
    """Training with ``augment: rows`` shows each in any of six orders."""
    metric = Memorization(TrainingIndex.build(training))
    for order in itertools.permutations(range(3)):
        metric.update(layout.rows_to_puzzles(layout.puzzles_to_rows(training)[:, order]))
    assert metric.compute()["rates"]["memorized_puzzles"].value == 1


def test_the_intervals_of_rows_and_panels_are_over_puzzles(training: Tensor) -> None:
    """A third is copied whole: nine panels of a copy are no more evidence than one."""
    metric = Memorization(TrainingIndex.build(training))
    for part in torch.cat([training[:40], generate(2, 3000, 80)]).split(50):
        metric.update(part)
    rates = metric.compute()["rates"]
    assert [rates[f"memorized_{name}"].value.item() for name in ("puzzles", "rows")] == pytest.approx([1 / 3, 1 / 3])
    assert rates["memorized_rows"].effective_total == 120
    assert rates["memorized_panels"].effective_total < 130  # some panels are known by chance


def test_a_model_that_copies_has_c3_but_no_novel_c3(training: Tensor) -> None:
    metric = Memorization(TrainingIndex.build(training))
    metric.update(training)
    rates = metric.compute()["rates"]
    assert rates["novel_c3"].value == 0
    assert rates["memorized_puzzles"].value == rates["memorized_rows"].value == rates["memorized_panels"].value == 1


def test_index_is_the_same_in_every_process_and_version(training: Tensor) -> None:
    hashes = fingerprints(torch.zeros(1, 3, 9, 9, dtype=torch.int8))
    assert hashes["puzzles"].tolist() == [1108299648659070626]
    index = TrainingIndex.build(training)
    assert index.rows.diff().gt(0).all()  # sorted, each once
    assert torch.equal(index.rows, TrainingIndex.build(training.flip(0)).rows)
