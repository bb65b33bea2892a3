from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from support.command import start

from coretune_cli.reading import data_notes

LARGE = 64 * 10**9
STUDY = """
name: large
datasets: {mine: {dataset: folder, path: photos}}
backbones: [small_resnet]
methods: [ce]
search: none
"""


def test_notes_are_shown_while_the_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("coretune.data.x")
    with data_notes():
        log.info("reading %d files", 3)
        log.debug("not said")
    log.info("said to nobody")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "reading 3 files\n")


@pytest.mark.parametrize("words", [["study", "plan", "study.yaml"], ["study", "run", "study.yaml"]])
def test_reading_large_files_is_said_and_ctrl_c_ends_it(tmp_path: Path, words: list[str]) -> None:
    for name in ("cat/0.png", "dog/0.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True)
        path.touch()
        os.truncate(path, LARGE)
    (tmp_path / "study.yaml").write_text(STUDY)
    process: Any = start(words, tmp_path)
    try:
        line = process.stderr.readline()
        while "reading" not in line:
            assert line, "it ended without reading"
            line = process.stderr.readline()
        assert line == f"reading 2 files (128.0 GB) below {tmp_path / 'photos'}, to know them by content\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
        assert "Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.communicate()
