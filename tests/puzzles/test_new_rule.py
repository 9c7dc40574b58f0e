"""A rule that is added: an id in the table of rules, and the relation's definition where no other rule has it.

The package is copied, the entries are added to the copy, and the copy is imported beside the one that is tested.
"""

import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import genraven
from genraven.puzzles import instances, spec
from genraven.puzzles.corrupt import Corruption, corrupted
from genraven.puzzles.generate import BLOCK, Draws, _draw_cells, generate

PLUS_3, SECOND_ALONE, BY_3 = 40, 41, 42  # color.progression+3, shape.second, number.progression+3
ENTRIES = {
    "spec.py": [
        ('"constant": 20,', f'"constant": 20, "progression+3": {PLUS_3},'),
        ('"constant": 0,', f'"constant": 0, "second": {SECOND_ALONE},'),
        ('"constant": 30,', f'"constant": 30, "progression+3": {BY_3},'),
    ],
    "instances.py": [
        ('    "constant": lambda', '    "progression+3": _progression(3),\n    "constant": lambda'),
        ('    "xor": operator.xor,', '    "second": lambda a, b: b & ~a,\n    "xor": operator.xor,'),
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """``import_module`` of the package to which three rules were added."""
    root = tmp_path_factory.mktemp("added")
    source = Path(genraven.__file__).parent
    shutil.copytree(source, root / "genraven", ignore=shutil.ignore_patterns("__pycache__"))
    for name, entries in ENTRIES.items():
        path = root / "genraven" / "puzzles" / name
        text = path.read_text()
        for before, after in entries:
            assert text.count(before) == 1, before
            text = text.replace(before, after)
        path.write_text(text)
    ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("genraven", "datamodules")}
    for name in ours:
        del sys.modules[name]
    sys.path.insert(0, str(root))
    try:
        yield import_module  # type: ignore[misc]
    finally:
        sys.path.remove(str(root))
        for name in [name for name in sys.modules if name.split(".")[0] in ("genraven", "datamodules")]:
            del sys.modules[name]
        sys.modules.update(ours)


def test_ids_splits_and_groups_stay(added: Any) -> None:
    new = added("genraven.puzzles.spec")
    assert new.NUM_RULES == 43
    assert {name: new.RULE_ID[name] for name in spec.RULE_ID} == spec.RULE_ID
    assert new.HELD_OUT_SPLITS == spec.HELD_OUT_SPLITS
    assert new.resolve_rules("study") == spec.resolve_rules("all")
    assert new.resolve_rules("color") == (*spec.resolve_rules("color"), PLUS_3)
    assert new.resolve_rules(["shape.second", "number.progression+3"]) == (SECOND_ALONE, BY_3)


def test_words_in_the_files_of_runs_keep_their_rules(added: Any) -> None:
    """``all`` of a run from before means the study's rules; a run that learns more names them."""
    new = added("genraven.puzzles.spec")
    for rules in ("all", "color", ["color", "shape.second"]):
        before = spec.split_rules(rules if isinstance(rules, str) else "color", "split0")[0]
        extra = (SECOND_ALONE,) if isinstance(rules, list) else ()
        assert new.split_rules(new.rules_of_file(rules, "split0"), "split0")[0] == (*before, *extra)
        written = new.rules_in_file(rules, "split0")
        assert new.split_rules(written, "split0") == new.split_rules(rules, "split0")
        assert new.rules_of_file(written, "split0") == written == new.rules_in_file(written, "split0")
    assert new.rules_in_file("study", "none") == new.rules_of_file("study", "none") == "study"
    assert spec.rules_in_file("all", "none") == spec.rules_of_file("all", "none") == "all"


def test_no_puzzle_changes_not_even_where_it_is_corrupted(added: Any) -> None:
    rule, corruption = spec.RULE_ID["color.xor"], Corruption(cells=0.1, exceptions=0.3, missing=0.1)
    puzzles = generate(rule, BLOCK - 4, 64)
    assert torch.equal(added("genraven.puzzles.generate").generate(rule, BLOCK - 4, 64), puzzles)
    corrupt = added("genraven.puzzles.corrupt")
    same = corrupt.Corruption(cells=0.1, exceptions=0.3, missing=0.1)
    for known in (rule, -1):
        before = corrupted(puzzles, corruption, seed=3, rule=known, start=0)
        assert torch.equal(corrupt.corrupted(puzzles, same, seed=3, rule=known, start=0), before)


def test_puzzles_of_a_new_rule_obey_it_and_no_other_that_there_was(added: Any) -> None:
    puzzles = added("genraven.puzzles.generate").generate(PLUS_3, 0, 256)
    rules = added("genraven.puzzles.rules").row_rules(puzzles)
    assert (rules & (1 << PLUS_3 + 1) - 1 == 1 << PLUS_3).all()


def test_a_new_relation_of_sets_holds_where_it_is_defined(added: Any) -> None:
    row_rules = added("genraven.puzzles.rules").row_rules
    puzzles = torch.zeros(1, 3, 9, 9, dtype=torch.int8)
    for panel, shapes in enumerate(({0, 1}, {1, 2, 3}, {2, 3})):
        cells = [*shapes, *[min(shapes)] * (9 - len(shapes))]
        puzzles[0, 0, :, 3 * panel : 3 * panel + 3] = torch.tensor(cells, dtype=torch.int8).view(3, 3).repeat(3, 1)
    assert (row_rules(puzzles) >> SECOND_ALONE & 1 == 1).all()
    puzzles[0, 0, :, 6:] = 2
    assert (row_rules(puzzles) >> SECOND_ALONE & 1 == 0).all()


def test_counts_that_no_position_rule_begins_with_get_cells() -> None:
    counts = np.array([[1, 1, 3], [2, 2, 4], [9, 9, 9]])
    cells = _draw_cells(counts, 40, Draws(0, "puzzles", 0))
    assert np.bitwise_count(cells).tolist() == counts.tolist()


def test_no_instance_is_lost_and_no_triple_has_two_rules(added: Any) -> None:
    new = added("genraven.puzzles.instances")
    for attribute in ("shape", "number"):
        tables = new.instances(attribute)
        rows = np.concatenate(list(tables.values()))
        if attribute != "number":
            assert (new.completions(attribute) >= 0).sum() == len(rows)
        for relation, rows in instances.instances(attribute).items():
            assert np.array_equal(tables[relation], rows)
    by_3 = new.value_triples("color")["progression+3"].tolist()
    assert by_3 == [[0, 3, 6], [1, 4, 7], [2, 5, 8]], "3, 6, 9 is a sum"


def test_a_relation_with_several_thirds_overwrites_none(monkeypatch: pytest.MonkeyPatch) -> None:
    many = np.array([(1, 2, 4), (1, 2, 8), (1, 4, 8), (1, 2, 16)], np.int16)
    monkeypatch.setattr(instances, "instances", lambda attribute, known: {"any": many, "one": many[:1] + 1})
    table = instances.completions.__wrapped__("shape", 99)
    assert sorted(table[1, 2].tolist()) == [4, 8, 16]
    assert sorted(table[1, 4].tolist()) == [-1, -1, 8]
    assert sorted(table[2, 3].tolist()) == [-1, -1, 5]


def test_what_is_counted_and_drawn_by_rule_has_the_new_ones(added: Any) -> None:
    rules = added("genraven.puzzles.rules")
    assert rules.rule_bits(torch.tensor([1 << PLUS_3 | 1 << BY_3])).nonzero()[:, 1].tolist() == [PLUS_3, BY_3]
    assert rules.rule_names(torch.tensor([1 << SECOND_ALONE])) == ["shape.second"]
    heatmap = added("genraven.puzzles.heatmap")
    assert heatmap.render_heatmap([0.5] * 43, title="").size > (0, 0)
    assert {"second", "progression+3"} < set(heatmap.COLUMNS)


def test_files_of_the_study_are_read_as_before_and_new_rules_have_files(added: Any, tmp_path: Path) -> None:
    names = added("genraven.formats.names")
    assert names.rule_stem(spec.RULE_ID["position.xor"]) == "4_7"
    assert names.rule_in_name(Path(f"{names.rule_stem(PLUS_3)}.npy")) == PLUS_3
    assert names.kept_rules("split0") == [r for r in range(40) if r not in spec.HELD_OUT_SPLITS["split0"]]
    np.save(tmp_path / "study.npy", np.full((40, 3, 3, 9, 3), -1, np.int8))
    opened = added("genraven.formats.read").open_puzzles(tmp_path / "study.npy")
    assert opened.layout.startswith("published")
    assert [part.rules for part in opened.parts] == list(range(40))
