"""What mkdocs does before it builds the site: the pages of our studies, each of which `genraven report` makes."""

from pathlib import Path
from typing import Any

from launch.cli import main


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def on_pre_build(config: Any) -> None:
    """Makes pages that are not there, or older than their tables."""
    for runs in sorted(Path(config["docs_dir"]).glob("study/*/runs.jsonl")):
        page = runs.with_name("report.md")
        if page.exists() and page.stat().st_mtime > max(map(_changed, runs.parent.glob("*s.[cj]s*"))):
            continue
        if main(["report", str(runs.parent)]):
            raise SystemExit(f"no page of {runs.parent}")
