"""``python docs/study/figures.py`` draws the README's figures and prints the tables of RESULTS.md, from these runs."""

from collections import defaultdict
from pathlib import Path

from genraven.report.figures import COLORS, MARKERS, Line, chart
from genraven.report.points import Point, best_checkpoints, variants
from genraven.report.reading import read_run
from genraven.report.runs import Run

HERE = Path(__file__).parent
MODELS = {  # the end of a run's name: what it is called
    "gpt2": "GPT-2",
    "gpt2_separate": "GPT-2, separate",
    "mdm": "masked diffusion",
    "sit_onehot": "SiT one-hot",
}
LOOKS = dict(zip(MODELS, zip(COLORS, MARKERS, strict=False), strict=False))
SCORES = {
    "completion": "completed by the rule (completion)",
    "novel_c3": "generated: new and consistent (novel C3)",
}
COLUMNS = ("completion", "c3", "novel_c3", "memorized_rows")


def runs_of(study: str) -> list[Run]:
    """The runs of a study, by name."""
    return [read_run(folder.name, folder, "finished")[0] for folder in sorted((HERE / study).glob("*r[0-9]-*"))]


def model_of(run: Run) -> str:
    """The last part of its name."""
    return run.name.split("-")[-1]


def little_data() -> None:
    """Writes ``completion.svg`` and ``novel_c3.svg``, and prints means and intervals of all repeats."""
    found = variants(runs_of("little_data"))
    for score, label in SCORES.items():
        lines = []
        for variant in found:
            name = model_of(variant.first)
            points = {float(n): interval for n, point in variant.points.items() if (interval := point.interval(score))}
            lines.append(Line(MODELS[name], points, LOOKS[name]))
        svg = chart(lines, "examples of each of three rules", label)
        assert svg is not None
        (HERE / f"{score}.svg").write_text(svg)
    for variant in found:
        for n, point in variant.points.items():
            best = best_checkpoints(point, "completion") or point
            cells = [MODELS[model_of(variant.first)], f"{n:,}", f"{len(point.runs)}",
                     *(str(point.interval(score)) for score in COLUMNS), str(best.interval("completion"))]  # fmt: skip
            print(f"| {' | '.join(cells)} |")


def robust() -> None:
    """Prints the scores of each model on each kind of data, those of single repeats in brackets."""
    by_data: dict[str, dict[str, Point]] = defaultdict(dict)
    for name in MODELS:
        runs = [run for run in runs_of("robust") if model_of(run) == name]
        for spoilt in sorted({run.name.split("-")[1] for run in runs}):
            (variant,) = variants([run for run in runs if run.name.split("-")[1] == spoilt])
            (by_data[spoilt][name],) = variant.points.values()
    for spoilt, points in by_data.items():
        for name, point in points.items():
            repeats = [point.repeats(score) for score in COLUMNS]
            cells = [f"{x.means.mean():.3f} ({', '.join(f'{mean:.3f}' for mean in x.means)})" for x in repeats if x]
            print(f"| {' | '.join([spoilt, MODELS[name], *cells])} |")


if __name__ == "__main__":
    little_data()
    robust()
