"""The documentation against the code: links lead somewhere, commands parse, and the method in it trains."""

import importlib.util
import os
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import unquote

import pytest
import yaml

from genraven.report import figures
from launch.arguments import TRAINING_COMMANDS
from launch.cli import build_parser, main
from launch.configs.plugins import take_plugins
from launch.configs.shipped import CONFIGS, find_config
from launch.training.resolve import Resolver

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WRITTEN = [page for page in PAGES if page.name not in ("BENCHMARKS.md", "report.md")]  # those tell what was run once
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"(<!-- cluster -->\n)?^```(\w*)(?: title=\"([^\"]*)\")?\n(.*?)^```$", re.M | re.S)
ON_A_CLUSTER = ("submit", "sweep --cluster")


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def is_made_with_the_site(page: Path) -> bool:
    """Is it the page of a study?"""
    return page.stem == "report" and (page.parent / "runs.jsonl").exists()


def hooks_of_the_site() -> ModuleType:
    """``docs/hooks.py``, which is in no package."""
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    return hooks


@pytest.mark.parametrize(
    ("html", "wanted"),
    [
        ("(<code>fit --run_dir x</code>)", "(<code><span>fit</span> <span>--run_dir</span> <span>x</span></code>)"),
        (f"<code>{'x' * 60}</code>", f"<code>{'x' * 60}</code>"),  # longer than a narrow line
        ("<pre><code>seq 2 400</code></pre>", "<pre><code>seq 2 400</code></pre>"),
        ("1 600 of 25 600; 124 k, 2 kinds", "1\u00a0600 of 25\u00a0600; 124\u00a0k, 2 kinds"),
        ('<img alt="2 400" src="a.png" />', '<a href="a.png"><img alt="2 400" src="a.png" /></a>'),
        ('<a href="b"><img alt="" src="a.png"></a>', '<a href="b"><img alt="" src="a.png"></a>'),
    ],
)
def test_a_page_can_be_read_on_a_narrow_screen(html: str, wanted: str) -> None:
    assert hooks_of_the_site().on_page_content(html, page=None) == wanted


@pytest.mark.parametrize(("page", "up"), [("train.md", ""), ("lab/gpu.md", "../")])
def test_links_into_the_results_stay_within_the_site(page: str, up: str) -> None:
    read_from = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    found = hooks_of_the_site().on_page_markdown(f"[a]({up}../RESULTS.md#b)", page=read_from)
    assert found == f"[a]({up}results.md#b)"


def test_the_pages_of_studies_are_made_with_the_site(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, and again where a table is newer."""
    monkeypatch.setattr(figures, "chart", lambda lines, *labels: "<svg/>")
    monkeypatch.setattr(figures, "per_rule", lambda fractions, look: "<svg/>")
    hooks = hooks_of_the_site()
    tables = ROOT / "docs" / "study" / "structured"
    study = Path(shutil.copytree(tables, tmp_path / "study" / "structured", ignore=shutil.ignore_patterns("report*")))
    for made in (True, False, True):
        hooks.on_pre_build({"docs_dir": str(tmp_path)})
        assert bool(capsys.readouterr().out) == made
        assert (study / "report.html").exists() and (study / "report_figures" / "examples-c3.svg").exists()
        if not made:
            os.utime(study / "outcomes.jsonl", (time.time() + 60,) * 2)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, place = link.partition("#")
        target = (page.parent / unquote(path)) if path else page
        assert target.exists() or is_made_with_the_site(target), link
        if place:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.M)
            assert place in {anchor(heading) for heading in headings}, link


def test_every_page_is_in_the_sites_list() -> None:
    class Loader(yaml.SafeLoader):
        """Reads mkdocs.yml, where a tag may stand for a Python object."""

    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)["nav"]
    listed: set[str] = set()
    waiting = list(nav)
    while waiting:
        item = waiting.pop()
        waiting += (
            [value for entry in item.values() for value in (entry if isinstance(entry, list) else [entry])]
            if (isinstance(item, dict))
            else []
        )
        listed |= {item} if isinstance(item, str) else set()
    made = {runs.with_name("report.md") for runs in (ROOT / "docs").rglob("runs.jsonl")}
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in made.union((ROOT / "docs").rglob("*.md"))}


def commands(page: Path) -> Iterator[tuple[list[str], bool]]:
    """The words after ``genraven`` of each command in ``page``, and whether it is marked as a cluster's."""
    for marked, kind, _, block in FENCE.findall(page.read_text()):
        if kind in ("", "bash", "sh", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.split()[:1] == ["genraven"]:
                    yield shlex.split(line, comments=True)[1:], bool(marked)


COMMANDS = [
    pytest.param(words, marked, id=f"{page.name}: {' '.join(words)[:60]}")
    for page in WRITTEN
    for words, marked in commands(page)
]


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 20


@pytest.fixture(scope="module")
def resolver() -> Resolver:
    return Resolver(["fit", "-c", "model/gpt2_tiny.yaml", "-c", "data/demo.yaml"])


@pytest.fixture
def readers_files(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the pages say a reader has there."""
    shutil.copy(CONFIGS / "cluster" / "gpu.yaml", "my.yaml")
    for name, text in titled(ROOT / "docs" / "method.md").items():
        Path(name).write_text(text)
    monkeypatch.syspath_prepend(in_tmp_path)
    yield in_tmp_path
    take_plugins([])


def titled(page: Path) -> dict[str, str]:
    """The blocks of ``page`` that are files."""
    return {title: block for _, _, title, block in FENCE.findall(page.read_text()) if title}


def parse(words: list[str], resolver: Resolver) -> None:
    """Raises what the command would raise of its options, configs included."""
    words = take_plugins(words)
    if words[0] in TRAINING_COMMANDS:
        resolver.resolve(["fit", *words[1:]])
        return
    options = build_parser().parse_args(words)
    if options.command in ("submit", "launch"):
        parse([word for word in options.arguments if word != "--"], resolver)
    if options.command == "sweep":
        grid = yaml.safe_load(Path(find_config(options.grid)).read_text())
        tiers = grid.get("tiers", {options.tier: grid})
        part = tiers[options.tier] if options.tier else next(iter(tiers.values()))
        models = part["axes"].get("model", {"": ""})  # where it is no axis, the base names it
        first = f"-c model/{models[0]}.yaml" if isinstance(models, list) else next(iter(models.values()))
        resolver.resolve(["fit", *shlex.split(first), *shlex.split(grid["base"])])


@pytest.mark.parametrize(("words", "marked"), COMMANDS)
def test_every_command_parses(words: list[str], marked: bool, readers_files: Path, resolver: Resolver) -> None:
    parse(words, resolver)
    assert marked == (words[0] == "submit" or "--cluster" in words)


def test_a_command_with_an_option_that_is_not_is_found(readers_files: Path, resolver: Resolver) -> None:
    for words in (["fit", "-c", "model/gpt2_tiny.yaml", "--data.no_such", "1"], ["status", "runs", "--no-such"]):
        with pytest.raises((Exception, SystemExit)):
            parse(words, resolver)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {name for page in WRITTEN for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.M)}
    assert named <= targets
    assert {"demo", "test"} <= named


def test_shipped_configs_that_are_named_exist() -> None:
    kinds = "|".join(path.name for path in CONFIGS.iterdir())
    for page in WRITTEN:
        for name in re.findall(rf"`((?:{kinds})/[a-z0-9_]+\.yaml)`", page.read_text()):
            assert (CONFIGS / name).is_file(), (page.name, name)


def test_every_network_that_is_shipped_is_on_the_page_of_the_api() -> None:
    shipped = "".join(path.read_text() for path in CONFIGS.glob("model/*.yaml"))
    modules = {*re.findall(r"class_path: (genraven\.networks\.\w+)\.", shipped)}
    assert len(modules) > 5
    assert modules <= {*re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(), re.M)}


def test_the_method_of_the_page_trains_and_is_scored(readers_files: Path) -> None:
    small = ["--data.samples_per_rule", "30", "--trainer.max_steps", "2", "--trainer.accelerator", "cpu"]
    for words, _ in commands(ROOT / "docs" / "method.md"):
        assert main([*words, *(small if words[0] == "fit" else [])]) == 0
    assert Path("runs/one_shot/evaluation.json").is_file()


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path)))
    assert "genraven.methods.method.Method" in (tmp_path / "api" / "index.html").read_text()
