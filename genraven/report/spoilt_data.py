"""The page's part on data sets that are spoilt in different ways: what that costs each model against clean data."""

from collections.abc import Mapping, Sequence

from genraven.metrics.table import label
from genraven.report.dataset import CLEAN, CORRUPTION
from genraven.report.page import Block, Table
from genraven.report.points import Point, compare, variants
from genraven.report.quality import DASH, shown
from genraven.report.runs import Run

SCORES = ("completion", "c3")


def against_clean(datasets: Sequence[tuple[Mapping[str, str], Sequence[Run]]]) -> list[Block]:
    """Of data sets, each with its runs, those that agree in all but their corruption, held against the clean one."""
    spoilt = [(words, runs) for words, runs in datasets if words.get(CORRUPTION, CLEAN) != CLEAN]
    blocks: list[Block] = []
    for words, runs in datasets:
        rows = _rows(runs, [(of, other[CORRUPTION]) for other, of in spoilt if {**other, CORRUPTION: CLEAN} == words])
        blocks += [_table(rows)] if rows else []
    return blocks


def _rows(clean: Sequence[Run], others: Sequence[tuple[Sequence[Run], str]]) -> list[list[str]]:
    """By model, the clean data first, then ``others``, each with its name."""
    spoilt = [(name, {variant.recipe: variant for variant in variants(runs)}) for runs, name in others]
    rows = []
    for variant in variants(clean):
        for samples, point in variant.points.items():
            points = [(name, found[variant.recipe].points[samples]) for name, found in spoilt
                      if variant.recipe in found and samples in found[variant.recipe].points]  # fmt: skip
            if points:
                rows += [_row(variant.label, samples, CLEAN, point, None)]
                rows += [_row(variant.label, samples, name, other, point) for name, other in points]
    return rows


def _row(model: str, samples: int, name: str, point: Point, clean: Point | None) -> list[str]:
    cells = [model, f"{samples:,}", name]
    for score in SCORES:
        less = compare(point, clean, score) if clean else None
        cells += [shown(point.interval(score)), str(less) if less else DASH]
    return [*cells, f"{len(point.runs)}"]


def _table(rows: Sequence[Sequence[str]]) -> Table:
    headings = ["model", "examples per rule", CORRUPTION]
    headings += [word for score in SCORES for word in (label(score), "change")]
    caption = ("What spoilt training data cost: the same models and recipes, scored on whole puzzles. Change: the "
               "difference from clean data, paired by the seed of the training puzzles, with its 95% interval; unsure "
               "where that holds 0, and wide with two repeats.")  # fmt: skip
    return Table([*headings, "runs"], rows, caption)
