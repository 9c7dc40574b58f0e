"""A wheel, built from the checkout and installed far from it, has all that the command needs."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = ("*.yaml", "*.jinja", "*.css", "*.csv", "*.js", "*.typed")
PACKAGES = ("callbacks", "datamodules", "genraven", "launch", "lightning_modules")


def major(package: str) -> int:
    """The first number of the version that is installed, 0 where none is."""
    try:
        return int(version(package).partition(".")[0])
    except PackageNotFoundError:
        return 0


pytestmark = pytest.mark.skipif(not major("pip") or major("setuptools") < 77, reason="pip, setuptools 77 build a wheel")


def run(*words: str | Path, cwd: Path) -> str:
    done = subprocess.run([*map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in a copy, since setuptools leaves its own folders beside the sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE", *PACKAGES):
        (source / name).symlink_to(ROOT / name)
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "--wheel-dir", out, source, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def test_what_is_in_it(wheel: Path) -> None:
    there = set(zipfile.ZipFile(wheel).namelist())
    files = {path for package in PACKAGES for kind in ("*.py", *DATA) for path in (ROOT / package).rglob(kind)}
    assert {path.relative_to(ROOT).as_posix() for path in files} <= there
    assert {f"{package}/py.typed" for package in PACKAGES} <= there
    studies = ROOT / "docs" / "study"
    tables = {path.relative_to(studies) for kind in ("*/*.jsonl", "*/*.csv") for path in studies.glob(kind)}
    assert {f"genraven/studies/{path}" for path in tables} == {name for name in there if "/studies/" in name}
    assert {name.split("/")[0] for name in there if ".dist-info/" not in name} == {*PACKAGES}


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment, which has the wheel and, by a path, what it depends on."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    shared = [path for path in sys.path if path.endswith("-packages")]
    run(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet", "--no-deps",
        "--no-index", "--ignore-installed", wheel, cwd=folder)  # fmt: skip
    (site / "dependencies.pth").write_text("\n".join(shared))
    return folder / "bin"


def test_it_works_outside_the_checkout(installed: Path, in_tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import launch, genraven; print(launch.__file__)", cwd=in_tmp_path)
    assert Path(where).is_relative_to(installed.parent)
    assert "model/gpt2_tiny.yaml" in run(installed / "genraven", "configs", cwd=in_tmp_path)
    words = ("generate", "--rules", "shape.xor", "--num", "3", "--picture", "three.png")
    assert "3 puzzles of shape.xor" in run(installed / "genraven", *words, cwd=in_tmp_path)
    assert {path.name for path in in_tmp_path.iterdir()} == {"puzzles.npy", "three.png"}
    page = run(installed / "python", "-c", "from genraven.report.published import TABLE; print(TABLE)", cwd=in_tmp_path)
    assert Path(page.strip()).is_file()
    assert "trainings of little_data" in run(
        installed / "genraven", "advise", "--examples", "400", "--rules", "3", cwd=in_tmp_path
    )
