"""``python docs/figures.py`` draws the README's figures and prints the tables of RESULTS.md, from these runs."""

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from genraven.methods.orders import ORDERS
from genraven.puzzles.spec import TOKENS_PER_PUZZLE
from genraven.report.figures import COLORS, MARKERS, Line, chart
from genraven.report.points import Point, Variant, best_checkpoints, compare, variants
from genraven.report.reading import run_of
from genraven.report.runs import Run
from genraven.report.study import read_study

HERE = Path(__file__).parent / "study"
MODELS = {  # end of a run's name -> its name in a figure, and in a table
    "gpt2": ("GPT-2", "GPT-2, joint head"),
    "gpt2_separate": ("GPT-2, separate", "GPT-2, separate heads"),
    "mdm": ("masked diffusion", "masked diffusion"),
    "sit_onehot": ("SiT one-hot", "SiT one-hot"),
}
LOOKS = dict(zip(MODELS, zip(COLORS, MARKERS, strict=False), strict=False))
LABELS = {"completion": "completed by the rule (completion)", "novel_c3": "generated: new and consistent (novel C3)"}
COLUMNS = ("completion", "c3", "novel_c3", "memorized_rows")
PANEL = 9  # cells that a completion writes
CORRUPTED = {  # part of a run's name -> in words, the fraction of completions and of puzzles that a copy has right
    "clean": ("clean", 1.0, 1.0),
    "missing0.1": ("10% of cells missing", 1.0, 1.0),
    "missing0.3": ("30% of cells missing", 1.0, 1.0),
    "cells0.01": ("1% of cells wrong", 0.99**PANEL, 0.99**TOKENS_PER_PUZZLE),
    "cells0.05": ("5% of cells wrong", 0.95**PANEL, 0.95**TOKENS_PER_PUZZLE),
    "exceptions0.1": ("10% exceptions", 0.9, 0.9),
    "exceptions0.3": ("30% exceptions", 0.7, 0.7),
}
VARIANTS = {  # end of a run's name -> the model of MODELS that it varies, in words
    "gpt2_plain": ("gpt2", "GPT-2, joint head, no dropout"),
    "gpt2_rows": ("gpt2", "GPT-2, joint head, rows in any order"),
    "gpt2_masks": ("gpt2", "GPT-2, joint head, a quarter by the last panel alone"),
    "gpt2_separate_rows": ("gpt2_separate", "GPT-2, separate heads, rows in any order"),
    "mdm_dropout": ("mdm", "masked diffusion, dropout 0.1"),
    "mdm_rows": ("mdm", "masked diffusion, rows in any order"),
    "sit_onehot_rows": ("sit_onehot", "SiT one-hot, rows in any order"),
    "gpt2": ("gpt2", "GPT-2, joint head, as it is"),
    "gpt2_masked_inputs": ("gpt2", "GPT-2, joint head, 15% of inputs masked"),
    "gpt2_decay": ("gpt2", "GPT-2, joint head, decay 0.3"),
    "any_order_forwards": ("gpt2", "any-order AR, trained from left to right"),
    "any_order": ("gpt2", "any-order AR, trained in random orders"),
    "any_order_half": ("gpt2", "any-order AR, half of the puzzles in random orders"),
    "mdm": ("mdm", "masked diffusion, as it is"),
    "mdm_decay": ("mdm", "masked diffusion, decay 0.3"),
    "block_puzzle": ("mdm", "block diffusion, one block of 81 cells"),
    "block_row": ("mdm", "block diffusion, blocks of a row"),
    "block_panel": ("mdm", "block diffusion, blocks of a panel"),
    "block_cell": ("mdm", "block diffusion, blocks of a cell"),
}
WHOLE = {  # end of a run's name -> its name in a figure, in a table, and its looks
    "ar": ("autoregressive", "relational autoregressive", LOOKS["gpt2"]),
    "mdm": ("masked diffusion", "relational masked diffusion", LOOKS["mdm"]),
}
WHOLE_LABELS = {
    "completion_held_out": "completed: rules that were held out",
    "novel_c3": "generated: new and consistent (novel C3)",
}
WHOLE_COLUMNS = ("completion_trained", "completion_held_out", "c3", "novel_c3")
WHOLE_TASK = {  # a run's name -> its name in a table
    "gpt2": "GPT-2 small, joint head",
    "mdm": "masked diffusion `mdm_s`",
    "sit": "SiT-S/1",
}


def by_model(study: str, pattern: str) -> dict[str, Variant]:
    """The variant of each model, of a study's runs of this name."""
    kept = read_study(HERE / study)
    runs = [run_of(name, files, "finished")[0] for name, files in kept.items() if fnmatch(name, pattern)]
    return {_model(variant.first): variant for variant in variants(runs)}


def _only(study: str, pattern: str) -> Variant:
    (variant,) = by_model(study, pattern).values()
    return variant


def _model(run: Run) -> str:
    return run.name.split("-")[-1]


def _print(rows: Sequence[Sequence[str]]) -> None:
    for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]]:
        print(f"| {' | '.join(row)} |")
    print()


def little_data() -> None:
    """Writes ``completion.svg`` and ``novel_c3.svg``, and prints means and intervals of all repeats."""
    found = by_model("little_data", "*-r[0-9]-*")
    for score, label in LABELS.items():
        lines = []
        for name, variant in found.items():
            points = {float(n): interval for n, point in variant.points.items() if (interval := point.interval(score))}
            lines.append(Line(MODELS[name][0], points, LOOKS[name]))
        svg = chart(lines, "examples of each of three rules", label)
        assert svg is not None
        (HERE / f"{score}.svg").write_text(svg)
    rows = [["examples of each rule", "model", "completion", "C3", "novel C3", "memorised rows",
             "completion at `best.ckpt`"]]  # fmt: skip
    for n in found["gpt2"].points:
        for name in reversed(MODELS):
            point = found[name].points[n]
            best = best_checkpoints(point, "completion") or point
            scores = [str(point.interval(score)) for score in COLUMNS]
            rows.append([f"{n:,}", MODELS[name][1], *scores, str(best.interval("completion"))])
    _print(rows)


def whole() -> None:
    """Writes ``whole_*.svg``, and prints what each family of relational network learns of the whole task."""
    sizes = sorted({int(name.split("-")[1]) for name in read_study(HERE / "whole")})
    found = {
        n: {name: variant.points[n] for name, variant in by_model("whole", f"r[0-9]-{n}-*").items()} for n in sizes
    }
    for score, label in WHOLE_LABELS.items():
        lines = []
        for name, (words, _, look) in WHOLE.items():
            points = {float(n): one for n in sizes if name in found[n] and (one := found[n][name].interval(score))}
            lines.append(Line(words, points, look))
        svg = chart(lines, "examples of each of 35 rules", label)
        assert svg is not None
        (HERE / f"whole_{score}.svg").write_text(svg)
    rows = [["examples of each rule", "model", "repeats", "TFLOP", "completion, trained rules", "held-out rules", "C3",
             "novel C3"]]  # fmt: skip
    for n, points in found.items():
        for name, point in sorted(points.items()):
            assert point.runs[0].flops is not None
            rows.append([f"{n:,}", WHOLE[name][1], str(len(point.runs)), f"{point.runs[0].flops / 1e12:.0f}",
                         *(str(point.interval(score)) for score in WHOLE_COLUMNS)])  # fmt: skip
        if len(points) == len(WHOLE):
            both = min(len(point.runs) for point in points.values())
            rows.append([f"{n:,}", "difference", str(both), "",
                         *(_difference(points["ar"], points["mdm"], score) for score in WHOLE_COLUMNS)])  # fmt: skip
    _print(rows)


def robust() -> None:
    """Prints the scores of each model on each kind of data, the scores of single repeats in brackets."""
    names = ("gpt2", "mdm", "sit_onehot")
    headings = [cell for name in names for cell in (f"{MODELS[name][0]}: completion", "C3")]
    rows = [["training data", "a copy: completion, C3", *headings]]
    for corrupted, (words, completions, puzzles) in CORRUPTED.items():
        found = by_model("robust", f"r[0-9]-{corrupted}-*")
        points = [next(iter(found[name].points.values())) for name in names]
        cells = [_repeats(point, score) for point in points for score in ("completion", "c3")]
        rows.append([words, f"{completions:.2f}, {puzzles:.2f}", *cells])
    _print(rows)


def differences(study: str) -> None:
    """Prints the scores of each variant in ``study``, and by how much it differs from its model as it is.

    Only with the same repeats, which have the same training puzzles.
    """
    found = by_model(study, "*-r[0-9]-*")
    rows = [["examples of each rule", "variant", "repeats", "completion", "difference", "C3", "novel C3",
             "difference", "memorised rows", "completion at `best.ckpt`"]]  # fmt: skip
    for n in sorted({n for variant in found.values() for n in variant.points}):
        for name, (model, words) in VARIANTS.items():
            if name in found and (point := found[name].points.get(n)):
                repeats = "".join(run.name.split("-r")[1][0] for run in point.runs)
                as_it_is = _only("little_data", f"{n}-r[{repeats}]-{model}").points[n]
                rows.append([f"{n:,}", words, str(len(point.runs)), str(point.interval("completion")),
                             _difference(point, as_it_is, "completion"), str(point.interval("c3")),
                             str(point.interval("novel_c3")), _difference(point, as_it_is, "novel_c3"),
                             str(point.interval("memorized_rows")),
                             str((best_checkpoints(point, "completion") or point).interval("completion"))])  # fmt: skip
    _print(rows)


def orders() -> None:
    """Prints what the same weights generate in each order of writing, where they were tried in several."""
    scores = ("c3", "novel_c3", "any_valid", "memorized_rows")
    rows = [["examples of each rule", "model", "order of writing", "repeats", "C3", "novel C3", "AnyValid",
             "memorised rows"]]  # fmt: skip
    models = by_model("between", "*-r[0-9]-*")
    for name in filter(models.get, VARIANTS):
        for n, point in models[name].points.items():
            tried = {order: at for order in ORDERS if (at := _in_order(point, order))}
            for order, at in tried.items() if len(tried) > 1 else ():
                cells = [str(at.interval(score)) for score in scores]
                rows.append([f"{n:,}", VARIANTS[name][1], order.replace("_", " "), str(len(at.runs)), *cells])
    _print(rows)


def _in_order(point: Point, order: str) -> Point | None:
    """Its runs as they generated in ``order`` at their last step."""
    wanted = "test", order
    return point.at({
        run.name: result
        for run in point.runs
        for result in run.results
        if (result.split, result.decoding.get("order")) == wanted and result.step == run.step
    })  # fmt: skip


def collapse() -> None:
    """Prints what Gaussian diffusion learns of one rule, the scores of single repeats in brackets."""
    rows = [["examples", "checkpoint", "completion", "C3", "novel C3", "memorised rows", "AnyValid"]]
    for n, point in _only("collapse", "*-r[0-9]").points.items():
        for words, at in (("last", point), ("`best.ckpt`", best_checkpoints(point, "completion"))):
            if at:
                rows.append([f"{n:,}", words, *(_repeats(at, score) for score in (*COLUMNS, "any_valid"))])
    _print(rows)


def whole_task() -> None:
    """Prints the scores of each model, and what few puzzles of held-out rules teach the best of them."""
    columns = ("completion_trained", "completion_held_out", "c3", "novel_c3", "any_valid")
    rows = [["model", "completion, trained rules", "held-out rules", "C3", "novel C3", "AnyValid"]]
    for name, words in WHOLE_TASK.items():
        (point,) = _only("whole_task", name).points.values()
        rows.append([words, *(str(point.interval(score)) for score in columns)])
    _print(rows)
    points = {start: _only("transfer", f"{start}-*").points for start in ("init", "nothing")}
    rows = [["examples of each of five rules", "from trained weights: completion", "C3", "novel C3",
             "from nothing: completion", "C3", "novel C3"]]  # fmt: skip
    for n in points["init"]:
        scores = [str(points[start][n].interval(score)) for start in points for score in COLUMNS[:3]]
        rows.append([str(n), *scores])
    _print(rows)


def _difference(point: Point, other: Point, score: str) -> str:
    """Bold where it is sure, over three repeats of both."""
    interval = compare(point, other, score)
    if interval is None:
        return "–"
    text = f"{interval.value:+.3f} [{interval.low:.3f}, {interval.high:.3f}]"
    is_sure = min(len(point.runs), len(other.runs)) >= 3 and (interval.low > 0 or interval.high < 0)
    return f"**{text}**" if is_sure else text


def _repeats(point: Point, score: str) -> str:
    means = [result.scores[score].value for result in point.results]
    return f"{sum(means) / len(means):.3f} ({', '.join(f'{mean:.2f}' for mean in means)})"


if __name__ == "__main__":
    whole()
    little_data()
    differences("little_data_variants")
    differences("between")
    orders()
    robust()
    collapse()
    whole_task()
