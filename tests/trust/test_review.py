"""The page as a person uses it: by keyboard alone, on a wide and on a narrow screen, without a network."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from simulated import Copier

from genraven.errors import InputError
from genraven.puzzles.generate import generate
from genraven.puzzles.masks import last_panel_mask
from genraven.trust.audit import Candidate, Record, cells_of, puzzles_of, read_records, strongest_first, write_records
from genraven.trust.confidence import confidence, feature_agreement, write_candidates
from genraven.trust.review import to_html

NUM, CANDIDATES = 6, 8


def records(num_accepted: int = 2) -> list[Record]:
    """Completions of a model that empties some cells of a copied panel."""
    puzzles, mask, model = generate(3, 0, NUM), last_panel_mask(NUM), Copier(0.15)
    candidates = write_candidates(model, puzzles, mask, CANDIDATES, torch.Generator().manual_seed(0))
    scores = confidence("agreement", model, candidates, mask, None)
    agreed = feature_agreement(candidates, mask)
    written = list(range(72, 81))
    found = []
    for b in range(NUM):
        cells = [cells_of(candidate) for candidate in candidates[b]]
        found.append(
            Record(
                puzzle=b,
                decision="accept" if b < num_accepted else "review",
                confidence=0.95 - 0.1 * b,
                score="agreement",
                threshold=0.8,
                promise={
                    "max_error": 0.05,
                    "delta": 0.1,
                    "holds_for": "puzzles like those of the calibration",
                    "check": {"in_words": "40 different puzzles checked."},
                },
                familiarity=None,
                given=[*cells[0][:72], *[None] * 9],
                written_cells=written,
                candidates=[
                    Candidate([each[i] for i in written], float(score), fractions)
                    for each, score, fractions in zip(cells, scores[b], agreed[b], strict=True)
                ],
                chosen=int(scores[b].argmax()),
                rests_on=strongest_first(torch.tensor([0.1, 0.0, -0.2, 0.3, 0, 0, 0.5, 2.5, float("nan")])),
                rests_on_unit="nats",
                checker={"name": "<b>the rules</b>", "says_right": b % 2 == 0, "note": "apart"},
                made_by={"model": "0" * 64},
            )
        )
    return found


def test_records_are_read_as_written_and_hold_the_puzzles(tmp_path: Path) -> None:
    made = records()
    write_records(tmp_path / "r.jsonl", made)
    assert read_records(tmp_path / "r.jsonl") == made
    puzzles, mask = puzzles_of(made)
    given = ~last_panel_mask(NUM).unsqueeze(1).expand_as(puzzles)
    assert torch.equal(puzzles[given], generate(3, 0, NUM)[given])
    assert torch.equal(mask, last_panel_mask(NUM))
    lines = (tmp_path / "r.jsonl").read_text().splitlines()
    assert {(json.loads(line)["version"], json.loads(line)["decision"]) for line in lines} == {
        (3, "accept"), (3, "review"),
    }  # fmt: skip


@pytest.mark.parametrize("version", [1, 2])
def test_records_of_older_versions_are_refused_in_a_line_that_says_what_to_do(version: int, tmp_path: Path) -> None:
    write_records(tmp_path / "r.jsonl", records())
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    for line in lines:
        del line["digest"], line["records"]
        if version == 1:
            del line["familiarity"]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line | {"version": version}) + "\n" for line in lines))
    with pytest.raises(InputError, match=r"version 3 in line 1 of .*r\.jsonl, got another: write it anew with"):
        read_records(tmp_path / "r.jsonl")


@pytest.mark.parametrize("kind", ["edited", "left out", "cut off", "in another order", "twice", "without digest"])
def test_records_that_are_not_as_they_were_written_are_refused(kind: str, tmp_path: Path) -> None:
    """And the message says what that tells, and what not."""
    write_records(path := tmp_path / "r.jsonl", records())
    lines = path.read_text().splitlines()
    edited = {
        "edited": [line.replace('"decision": "review"', '"decision": "accept"') for line in lines],
        "left out": lines[:2] + lines[3:],
        "cut off": lines[:-1],
        "in another order": [*lines[1::-1], *lines[2:]],
        "twice": [*lines, lines[-1]],
        "without digest": [json.dumps({k: v for k, v in json.loads(line).items() if k != "digest"}) for line in lines],
    }
    path.write_text("\n".join(edited[kind]) + "\n")
    with pytest.raises(InputError, match=r"r\.jsonl as it was written.*not who wrote it: it has no key"):
        read_records(path)


def test_reasons_name_given_panels_the_strongest_first() -> None:
    found = strongest_first(torch.tensor([0.1, 0.0, -0.2, 0.3, 0, 0, 0.5, 2.5, float("nan")]))
    assert found[0] == {"row": 3, "panel": 2, "change": 2.5}
    assert found[-1] == {"row": 1, "panel": 3, "change": -0.2}
    assert len(found) == 8


def test_the_page_says_whether_any_was_accepted() -> None:
    assert "The others were accepted: with probability 90% at most 5%" in to_html(records(), source="a.npy")
    none = to_html(records(num_accepted=0), source="a.npy")
    assert "40 different puzzles checked." in none
    assert "The others" not in none and "None was accepted" in none


def test_the_most_doubtful_is_first_and_nothing_is_loaded() -> None:
    page = to_html(records(), source="<script>alert(1)</script>.npy")
    order = [page.index(f'id="puzzle-{b}"') for b in (5, 4, 3, 2)]
    assert order == sorted(order)
    assert 'id="puzzle-1"' not in page and 'id="puzzle-0"' not in page
    assert "<script>alert" not in page and "<b>the rules" not in page
    assert 'src="http' not in page and 'href="http' not in page
    assert to_html([], source="p.npy").count("<article") == 0


@pytest.mark.parametrize("width", [1280, 400])
def test_a_review_by_keyboard_alone(width: int, tmp_path: Path) -> None:
    if (path := shutil.which("chromium") or shutil.which("google-chrome")) is None:
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    (tmp_path / "review.html").write_text(to_html(records(), source="p.npy"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        said: list[Any] = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.extend([] if request.url[:5] in ("file:", "data:", "blob:") else [1]))
        page.goto((tmp_path / "review.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 60)")
        for key in ("j", "1", "j", "0", "j", "Tab", "Space", "ArrowDown", "u"):
            page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.puzzle") == "2"
        assert page.inner_text("#progress") == "3 of 4 decided"
        with page.expect_download() as download:
            page.keyboard.press("e")
        download.value.save_as(tmp_path / "review.json")
        page.screenshot(path=str(tmp_path / f"{width}.png"), full_page=True)
        browser.close()
    found = json.loads((tmp_path / "review.json").read_text())
    assert (found["version"], found["puzzles"], found["model"]) == (1, "p.npy", "0" * 64)
    assert [choice["puzzle"] for choice in found["choices"]] == [5, 4, 3]
    assert found["choices"][0]["candidate"] == records()[5].chosen
    assert found["choices"][1]["candidate"] is None
    assert found["choices"][2]["candidate"] not in (None, records()[3].chosen)
    assert said == []
