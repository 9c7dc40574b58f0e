"""``python docs/study/figures.py`` draws the README's figure and prints the table of RESULTS.md, from the runs here."""

from pathlib import Path

from genraven.report.figures import COLORS, MARKERS, Line, chart
from genraven.report.points import best_checkpoints, variants
from genraven.report.reading import read_run

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
    "novel_c3": "consistent and new when generated (novel C3)",
}


COLUMNS = ("completion", "c3", "novel_c3", "memorized_rows")


def main() -> None:
    """Writes ``completion.svg`` and ``novel_c3.svg``, and prints means and intervals of all repeats."""
    folders = sorted((HERE / "little_data").glob("*-r*-*"))
    runs = [read_run(folder.name, folder, "finished")[0] for folder in folders]
    for score, label in SCORES.items():
        lines = []
        for variant in variants(runs):
            name = variant.first.name.split("-")[-1]
            points = {float(n): interval for n, point in variant.points.items() if (interval := point.interval(score))}
            lines.append(Line(MODELS[name], points, LOOKS[name]))
        svg = chart(lines, "examples of each of three rules", label)
        assert svg is not None
        (HERE / f"{score}.svg").write_text(svg)
    for variant in variants(runs):
        for n, point in variant.points.items():
            best = best_checkpoints(point, "completion") or point
            cells = [MODELS[variant.first.name.split("-")[-1]], f"{n:,}", f"{len(point.runs)}",
                     *(str(point.interval(score)) for score in COLUMNS), str(best.interval("completion"))]  # fmt: skip
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
