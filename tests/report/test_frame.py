from __future__ import annotations

from pathlib import Path

import pytest

from coretune.errors import RequestError
from coretune.report.export import COLUMNS
from coretune.report.frame import leaderboard


def test_a_directory_by_its_name(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0, 72.0])
    frame = leaderboard(str(builder.store.root))
    assert list(frame.columns) == list(COLUMNS)
    assert list(frame["mean"]) == [71.0, 71.0]


def test_no_directory_is_a_request_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is no directory"):
        leaderboard(tmp_path / "nothing")
