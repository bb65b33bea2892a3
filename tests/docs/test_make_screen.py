from __future__ import annotations

import html
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from coretune.results.store import ResultsStore

Script = Callable[[str], ModuleType]


@pytest.fixture
def made(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The script, in UTC: events are shown in local time."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield script("make_screen")
    monkeypatch.undo()
    time.tzset()


def words(svg: str) -> str:
    """Returns the text of a picture: fonts and colours are Rich's affair."""
    return " ".join(html.unescape(" ".join(re.findall(r"<text[^>]*>(.*?)</text>", svg))).split())


def test_the_picture_is_up_to_date(made: ModuleType) -> None:
    svg = made.screen(json.loads(made.STATE.read_text(encoding="utf-8")))
    assert svg.startswith("<svg")
    assert words(svg) == words((made.DOCS / "screen.svg").read_text(encoding="utf-8")), "python docs/make_screen.py"
    assert "core_tuning" in words(svg)


def test_the_readme_tells_the_recorded_run(made: ModuleType) -> None:
    text = made.README.read_text(encoding="utf-8")
    run = json.loads(made.RUN.read_text(encoding="utf-8"))
    assert made.readme(text, run) == text, "run: python docs/make_screen.py"
    assert run["leaderboard"]["complete"] and run["leaderboard"]["study"] == "quickstart"
    assert {row["n"] for row in run["leaderboard"]["rows"]} == {6}


def test_the_script_writes_what_it_makes(made: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{made.BEGIN}\nold\n{made.END}\nafter\n")
    monkeypatch.setattr(made, "DOCS", tmp_path)
    monkeypatch.setattr(made, "README", readme)
    made.main()
    assert (tmp_path / "screen.svg").stat().st_size > 1000
    text = readme.read_text()
    assert "± is the standard error" in text and "old" not in text
    assert text.startswith("before\n") and text.endswith("after\n")


def test_an_unfinished_study_is_refused(made: ModuleType, tmp_path: Path) -> None:
    ResultsStore(tmp_path).put_json("state.json", {"phase": "searching"})
    with pytest.raises(ValueError, match="not finished"):
        made.read_run(tmp_path)
