"""The page's parts on corruption: corrupted data sets against clean ones, and wrong given cells."""

from collections.abc import Mapping, Sequence

from genraven.metrics.table import label
from genraven.report.dataset import CLEAN, CORRUPTION
from genraven.report.english import DASH, headings, sentence, shown
from genraven.report.page import Block, Table
from genraven.report.points import Point, Variant, compare, variants
from genraven.report.runs import Run

SCORES = ("completion", "c3")


def against_clean(datasets: Sequence[tuple[Mapping[str, str], Sequence[Run]]]) -> list[Block]:
    """Of data sets, each with its runs, those that agree in all but their corruption, held against the clean one."""
    corrupted = [(words, runs) for words, runs in datasets if words.get(CORRUPTION, CLEAN) != CLEAN]
    blocks: list[Block] = []
    for words, runs in datasets:
        rows = _rows(
            runs, [(of, other[CORRUPTION]) for other, of in corrupted if {**other, CORRUPTION: CLEAN} == words]
        )
        columns = [[label(score)] for score in SCORES]
        blocks += [Table(headings("corrupted_data", *columns), rows, sentence("corrupted_data"))] if rows else []
    return blocks


def _rows(clean: Sequence[Run], others: Sequence[tuple[Sequence[Run], str]]) -> list[list[str]]:
    """By model, the clean data first, then ``others``, each with its name."""
    corrupted = [(name, {variant.recipe: variant for variant in variants(runs)}) for runs, name in others]
    rows = []
    for variant in variants(clean):
        for samples, point in variant.points.items():
            points = [(name, found[variant.recipe].points[samples]) for name, found in corrupted
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


def corrupted_givens(variants: Sequence[Variant]) -> list[Block]:
    """Completion by the fraction of given cells that were wrong, where that was asked."""
    points = [(variant.label, n, point) for variant in variants for n, point in variant.points.items()]
    asked = sorted({r.given_corruption for _, _, point in points for run in point.runs for r in run.results})
    if asked in ([], [0.0]):
        return []
    rows = [[name, f"{n:,}", *(_completion_of(point, fraction) for fraction in asked)] for name, n, point in points]
    columns = [sentence("corrupted", part=f"{fraction:.1%}") for fraction in asked]
    return [Table(headings("corrupted_givens", columns), rows, sentence("corrupted_givens"))]


def _completion_of(point: Point, fraction: float) -> str:
    """The mean over repeats, each at its last step by its own decoding; a dash where one lacks it."""
    found = {
        run.name: one
        for run, final in zip(point.runs, point.results, strict=True)
        for one in run.results
        if (one.given_corruption, one.split, one.step, one.decoding)
        == (fraction, final.split, final.step, final.decoding)
    }
    at = point.at(found)
    return DASH if at is None else shown(at.interval("completion"))
