"""What a plan, a run and a table tell of data that are there and can be used: notes, no refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support import image_sets as sets
from support.driving import make_book

from coretune.data.roots import cache_root
from coretune.report.held_out_notes import about_held_out
from coretune.results.store import ResultsStore
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.yamlfile import parse_yaml
from coretune.study import engine
from coretune.study.check import check_study
from coretune.study.data import check_data
from coretune.study.engine import run_study
from coretune.study.plan import make_plan
from coretune.study.resolved import resolve


def loaded(datasets: str) -> LoadedStudy:
    text = f"""
name: x
datasets: {datasets}
backbones: {{small: {{arch: small_resnet}}}}
methods: [ce]
search: none
finals: {{seeds: 1}}
"""
    return resolve_study(parse_yaml(text))


@pytest.fixture
def repeating(tmp_path: Path) -> LoadedStudy:
    """Two images of photo are in art, too, one of them under another name, and sketch repeats an image of its own."""
    root = tmp_path / "mine"
    for value, name in enumerate(
        f"{d}/{c}/{i}.png" for d in ("art", "photo", "sketch") for c in "ab" for i in range(5)
    ):
        sets.draw(root / name, value)
    shutil.copy(root / "photo/a/1.png", root / "art/a/1.png")
    shutil.copy(root / "photo/a/2.png", root / "art/b/other.png")
    shutil.copy(root / "sketch/a/2.png", root / "sketch/a/again.png")
    (root / "later").mkdir()
    return loaded(f"{{mine: {{path: {root}, held_out_domain: [photo, art, sketch], image_size: 8}}}}")


IN = "in the held-out domain {} and, the same file byte for byte, in a domain that is trained on"
REPEATS = [
    "data set mine: later/: no image in there, and so no domain",
    f"mine: 2 images stand {IN.format('photo')}",
    f"mine: 2 images stand {IN.format('art')}",
]


def test_a_plan_says_which_held_out_images_are_trained_on(repeating: LoadedStudy, tmp_path: Path) -> None:
    assert [note for note in make_plan(repeating, ResultsStore(tmp_path / "r")).notes if "mine" in note] == REPEATS


def test_a_run_says_so_once_and_the_table_again(
    repeating: LoadedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(engine, "_train", lambda *arguments: None)
    run_study(repeating, out=tmp_path / "results")
    log = (tmp_path / "results" / "log.txt").read_text()
    assert all(log.count(f"warning {text}") == 1 for text in REPEATS)
    book = make_book(resolve(repeating), tmp_path / "book")
    files = [cell.file() for cell in book.cells]
    assert [file.held_out.repeated for file in files if file.held_out is not None] == [2, 2, 0]
    assert about_held_out([*files, *files]) == REPEATS[1:]


@pytest.fixture
def pacs(tmp_path: Path) -> LoadedStudy:
    root = tmp_path / "pacs"
    for number, domain in enumerate(("art_painting", "cartoon", "photo", "sketch")):
        for label, name in enumerate(sets.PACS):
            for i in range(3):
                sets.draw(root / domain / name / f"{i}.png", 21 * number + 3 * label + i)
    return loaded(f"{{pacs: {{path: {root}, held_out_domain: [photo, sketch], image_size: 8}}}}")


SHORT = (
    "data set pacs: art_painting: 21 images, expected 2,048; cartoon: 21 images, expected 2,344; photo: 21 images, "
    "expected 1,670; sketch: 21 images, expected 3,929: these are not the images of the published set"
)


def test_a_published_set_with_other_numbers_of_images_is_told_and_used(
    pacs: LoadedStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "cache"))
    found = check_study(pacs)
    assert [(item.state, item.remarks) for item in found] == [("there", (SHORT,))] * 2
    assert check_data(resolve(pacs), cache_root(), lambda label, now: None).remarks == (SHORT,)


def test_a_set_that_is_read_with_parameters_of_its_own_is_not_counted(tmp_path: Path) -> None:
    root = sets.caltech101(tmp_path / "caltech101")
    plain = f"caltech101: {{path: {root}, image_size: 8, validation: 0.5}}"
    (one,) = check_study(loaded(f"{{{plain}}}"))
    assert len(one.remarks) == 1
    (other,) = check_study(loaded(f"{{{plain[:-1]}, background: true}}}}"))
    assert other.remarks == ()


def test_the_plan_shows_them_once(pacs: LoadedStudy) -> None:
    from rich.console import Console

    from coretune_cli.plan import plan_view

    value = {
        **make_plan(pacs, ResultsStore(Path("absent"))).to_dict(),
        "check": [json.loads(json.dumps(item.__dict__)) for item in check_study(pacs)],
    }
    console = Console(width=400, record=True)
    console.print(plan_view(value, 400))
    assert console.export_text().count(f"note: {SHORT}") == 1
