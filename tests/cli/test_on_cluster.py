from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coretune_cli.on_cluster import above, without_address


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["pretrain", "digits", "--address", "auto", "--seed", "1"], ["pretrain", "digits", "--seed", "1"]),
        (["pretrain", "--address=10.0.0.1:6379", "digits"], ["pretrain", "digits"]),
        (["pretrain", "digits"], ["pretrain", "digits"]),
        (["pretrain", "--address"], ["pretrain"]),
        (["pretrain", "--", "--address", "x"], ["pretrain", "--", "--address", "x"]),
    ],
)
def test_the_address_does_not_go_along(words: list[str], left: list[str]) -> None:
    assert without_address(words) == left


def test_what_lies_below_the_working_directory_is_seen_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert above(Path("results/x")) is None and above(tmp_path / "here") is None
    assert above(tmp_path / "there" / "deeper" / "x.csv") == tmp_path
    assert above(Path("../x")) == tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["pretrain", "digits"],
        ["tune", "digits"],
        ["robust", "train", "digits"],
        ["robust", "eval"],
        ["data", "pack", "digits"],
        ["study", "plan", "quickstart", "--cost"],
    ],
)
def test_each_command_that_computes_takes_an_address(cli: Any, words: list[str]) -> None:
    said = cli(*words, "--address", "127.0.0.1:9")
    assert said.code == 3 and "no Ray cluster answers at 127.0.0.1:9" in said.err
    said = cli(*words, "--address", "ray://127.0.0.1:10001")
    assert said.code == 2 and "Ray Client" in said.err
