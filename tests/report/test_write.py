from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from coretune.errors import StorageError
from coretune.report.runs_table import FIRST, LAST
from coretune.report.write import Writer, write


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_both_tables_are_written(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0, 71.5])
    leaderboard = write(builder.store)
    rows = read(builder.store.root / "leaderboard.csv")
    assert [(row["method"], row["mean"]) for row in rows] == [("ce", "70.75")] * 2
    assert leaderboard.rows[0].mean == 70.75
    assert len(read(builder.store.root / "runs.csv")) == 4
    assert not list(builder.store.root.glob(".*.tmp"))


def test_a_writer_sees_what_arrives_and_what_is_retried(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0, "failed", "unfinished", "not evaluated"])
    writer = Writer(builder.store)
    assert writer.write().rows[0].n == 1
    builder.cell("digits", "ce", [70.0, 71.0, 72.0, 73.0])
    assert writer.write().rows[0].n == 4
    assert {row["status"] for row in read(builder.store.root / "runs.csv")} == {"completed"}


def test_a_writer_is_what_a_fresh_one_is(builder) -> None:
    builder.study()
    writer = Writer(builder.store)
    writer.write()
    builder.cell("digits", "ce", [70.0, 71.0])
    writer.write()
    incremental = [(builder.store.root / name).read_bytes() for name in ("leaderboard.csv", "runs.csv")]
    write(builder.store)
    assert incremental == [(builder.store.root / name).read_bytes() for name in ("leaderboard.csv", "runs.csv")]


def test_nothing_new_writes_nothing_and_a_lost_table_is_made_again(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0])
    writer = Writer(builder.store)
    writer.write()
    path = builder.store.root / "leaderboard.csv"
    before = path.stat().st_ino
    writer.write()
    assert path.stat().st_ino == before
    path.unlink()
    writer.write()
    assert path.exists()


def test_an_empty_store_has_empty_tables(builder) -> None:
    write(builder.store)
    assert (builder.store.root / "runs.csv").read_text() == ",".join((*FIRST, *LAST)) + "\n"


def test_a_place_that_cannot_be_written_is_a_storage_error(builder) -> None:
    builder.study()
    (builder.store.root / "leaderboard.csv").mkdir()
    with pytest.raises(StorageError, match=r"leaderboard\.csv"):
        write(builder.store)


def test_writing_needs_neither_torch_nor_ray_nor_pandas() -> None:
    heavy = ("torch", "ray", "pandas", "optuna")
    code = f"import sys, coretune.report.write; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_planned_contrasts_are_a_table_of_their_own(builder) -> None:
    builder.study(contrasts={"pairs": [["core_tuning", "ce"]]})
    builder.cell("digits", "ce", [70.0, 71.5])
    builder.cell("digits", "core_tuning", [70.5, 73.0])
    write(builder.store)
    (row,) = read(builder.store.root / "contrasts.csv")
    assert (row["first"], row["second"], row["n"], row["difference"]) == ("core_tuning", "ce", "2", "1.0")
    assert (row["verdict"], row["p_tost"]) == ("incomplete", "")


def test_a_study_without_contrasts_has_no_table_of_them(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0, 71.5])
    write(builder.store)
    assert not (builder.store.root / "contrasts.csv").exists()
