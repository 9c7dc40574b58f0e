"""The names in a run folder have one owner: with others in it, everything else goes on working."""

import ast
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tiny import fit

from genraven import run_folder
from genraven.installation import CODE, PACKAGES
from genraven.report.reading import read_run
from genraven.run_folder import JobFiles, RunFiles
from launch.cli import main
from launch.processes.process_group import ProcessGroup
from launch.runs.folder import RunFolder
from launch.runs.freeze import replaced
from launch.runs.starting import open_run
from launch.runs.status import named_runs, rows
from launch.schedulers.job import Cluster, JobSpec
from launch.schedulers.slurm_script import render_sbatch
from launch.trained.evaluate import Request, evaluate_run
from launch.trained.settings import Opening, Scoring

PLACES = [place for files in (RunFiles(Path()), JobFiles(Path())) for place in vars(files).values()]
OURS = {place.name for place in PLACES if isinstance(place, Path) and place.suffix} | {run_folder.CHECKPOINT}
VALIDATE_LITTLE = ["--trainer.limit_val_batches", "1"]
MODULES = sorted(path for package in PACKAGES for path in (CODE / package).rglob("*.py"))


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """All names in the folders of runs and jobs are others."""
    for cls in (RunFiles, JobFiles):
        as_usual = cls.__init__

        def init(self: object, folder: Path, as_usual: object = as_usual) -> None:
            as_usual(self, folder)  # type: ignore[operator]
            for name, path in vars(self).items():
                place = path.folder if isinstance(path, JobFiles) else path
                parts = [part.removeprefix("my-") for part in place.relative_to(folder).parts]
                new = folder.joinpath(*(f"my-{part}" if part != run_folder.BEST else part for part in parts))
                setattr(self, name, JobFiles(new) if isinstance(path, JobFiles) else new)

        monkeypatch.setattr(cls, "__init__", init)


def test_another_layout_works_everywhere(made_up: None, in_tmp_path: Path) -> None:
    """A training, what would go on with it, the table, an evaluation, and what a report reads."""
    run = Path("runs/a")
    assert main(fit(run, "--trainer.max_steps", "2", "--trainer.val_check_interval", "2", *VALIDATE_LITTLE)) == 0
    files = RunFiles(run)
    with ExitStack() as stack:
        options = {"run_dir": str(run), "ckpt_path": None}
        start = open_run(options, RunFolder(run).config(), stack)
        assert (start.step, start.checkpoint) == (2, str(files.checkpoints / "step-00000002.ckpt"))
        assert files.lock.exists()
    (cells,) = rows(Path("runs"))
    assert cells[:2] == ("a", "finished") and "2/2" in cells
    asked = Request(opening=Opening(device="cpu"), scorings=[Scoring(puzzles_per_rule=1)])
    assert evaluate_run(run, asked, ProcessGroup())
    found, notes = read_run("a", run, "finished")
    assert {result.split for result in found.results} == {"val", "test"} and not notes
    theirs = {files.checkpoints, files.tensorboard}  # what stands in these has names of its own
    names = {path.name for path in run.rglob("*") if path.parent not in theirs}
    assert all(name.startswith(("my-", ".my-")) for name in names), names


def test_another_layout_of_a_job(made_up: None, tmp_path: Path) -> None:
    run = RunFiles(tmp_path / "a")
    with replaced(run.job.folder):
        run.job.config.write_text("{}")
        run.job.log("slurm", "7").touch()
    assert [*named_runs(tmp_path)] == ["a"]
    script = render_sbatch(JobSpec(Cluster(), "a", run.job.folder, "python", run.folder))
    lines = ('-c "$run_dir/my-job/my-config.yaml"', f"--output={run.job.folder}/slurm-%j.out",
             'find "$run_dir/my-checkpoints"', "GENRAVEN_REFUSAL=$run_dir/my-job/my-refused.txt",
             f"PYTHONPATH={run.job.folder}/my-code")  # fmt: skip
    assert [line for line in lines if line not in script] == []
    with replaced(run.job.folder):  # by another submission: all in it is ours
        pass
    assert [path.name for path in run.job.folder.iterdir()] == ["slurm-7.out"]


def texts(tree: ast.AST) -> Iterator[str]:
    """The texts in ``tree`` that are no docstrings."""
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def test_no_other_module_says_a_name() -> None:
    sources = {path.relative_to(CODE).as_posix(): path.read_text() for path in MODULES}
    said = {
        (path, word)
        for path, source in sources.items()
        if any(name in source for name in OURS)  # to parse all takes seconds
        for text in texts(ast.parse(source))
        for word in re.findall(r"[\w.-]+", text)
        if word in OURS or word.endswith(run_folder.CHECKPOINT)
    }
    assert {where for where, _ in said} == {"genraven/run_folder.py"}, said
