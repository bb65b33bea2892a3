from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support.flat_images import Fields, Odd, decoded

from coretune.data.blocks import BLOCK, Squares, Unread, in_threads
from coretune.data.processes import in_processes
from coretune.errors import StorageError, UnfitError

N = 10 * BLOCK + 5
HERE = os.getpid()


@pytest.fixture
def file(tmp_path: Path) -> str:
    with (tmp_path / "images").open("wb") as file:
        file.truncate(N * 192)
    return str(tmp_path / "images")


def squares(source: Fields, file: str) -> Squares:
    return Squares(file, source, 8, crop=True)


def values(file: str) -> list[int]:
    return np.fromfile(file, dtype=np.uint8).reshape(N, -1)[:, 0].tolist()


def test_processes_write_what_one_thread_writes(file: str, tmp_path: Path) -> None:
    source = Fields(N, log=tmp_path / "log", here=HERE, others=2, pause=0.002, broken=(3, 40, N - 1))
    found = sorted(in_processes(squares(source, file), range(11), 2))
    written = Path(file).read_bytes()
    assert len({process for process, _ in decoded(tmp_path / "log")} - {HERE}) == 2
    assert [done.block for done in found] == list(range(11))
    unread = {block: done.unread for block, done in enumerate(found) if done.unread}
    assert unread == {0: (Unread(3, "i3: truncated"),), 1: (Unread(40, "i40: truncated"),), 10: found[10].unread}
    Path(file).write_bytes(bytes(len(written)))
    assert list(in_threads(squares(source, file), range(11), 3)) == found
    assert Path(file).read_bytes() == written


def test_only_the_blocks_asked_for_are_written(file: str) -> None:
    assert sorted(done.block for done in in_processes(squares(Fields(N), file), [2, 5], 2)) == [2, 5]
    expected = [index % 256 if index // BLOCK in (2, 5) else 0 for index in range(N)]
    assert values(file) == expected


@dataclass(frozen=True)
class Unsendable(Fields):
    lock: object = threading.Lock()


def test_a_source_that_cannot_be_sent_is_left_to_threads(file: str, tmp_path: Path) -> None:
    found = list(in_processes(squares(Unsendable(N, log=tmp_path / "log"), file), range(11), 2))
    assert [done.block for done in found] == list(range(11))
    assert {process for process, _ in decoded(tmp_path / "log")} == {HERE}


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
print("imported by", __name__)
from support.flat_images import Fields, Odd, decoded
from coretune.data.blocks import Squares
from coretune.data.processes import in_processes

class Mine(Fields):
    pass

log = Path({log!r})
blocks = sorted(done.block for done in in_processes(Squares({file!r}, Mine({n}, log=log), 8, True), range(11), 2))
print(blocks == list(range(11)), len({{process for process, _ in decoded(log)}}))
"""


def test_the_users_script_is_not_run_again_and_its_classes_are_left_to_threads(file: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    tests = str(Path(__file__).parents[1])
    script.write_text(SCRIPT.format(tests=tests, log=str(tmp_path / "log"), n=N, file=file))
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (said.stdout.splitlines(), said.stderr) == (["imported by __main__", "True 1"], "")


def test_a_machine_that_allows_no_processes(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    assert sorted(done.block for done in in_processes(squares(Fields(N), file), range(11), 2)) == list(range(11))


def test_a_block_whose_process_is_killed_is_done_by_another(file: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = Fields(N, log=log, here=HERE, others=2, pause=0.002, deadly=(70,), once=True)
    found = sorted(done.block for done in in_processes(squares(source, file), range(11), 2))
    assert found == list(range(11))
    assert values(file) == [index % 256 for index in range(N)]


def test_an_image_that_kills_every_process_is_named(file: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = Fields(N, log=log, here=HERE, others=2, pause=0.002, deadly=tuple(range(160, N)))
    with pytest.raises(UnfitError, match=r"decoding i\d+ to i\d+ ended by SIGKILL; is memory short.* is kept: run it"):
        list(in_processes(squares(source, file), range(11), 2))


def test_errors_of_children_are_raised_as_if_there_were_none(file: str, tmp_path: Path) -> None:
    source = Odd(N, log=tmp_path / "log", here=HERE, others=2, pause=0.002)
    with pytest.raises(RuntimeError, match="a bug in a plug-in"):
        list(in_processes(squares(source, file), range(5), 2))
    with pytest.raises(StorageError, match=r"^i200: cannot be read: Input/output error$"):
        list(in_processes(squares(source, file), range(5, 11), 2))


def test_children_end_when_their_work_is_no_longer_wanted(file: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    work = in_processes(squares(Fields(N, log=log, here=HERE, others=2, pause=0.002), file), range(11), 2)
    while len({process for process, _ in decoded(log)} - {HERE}) < 2:
        next(work)
    work.close()  # type: ignore[attr-defined]
    for process in {process for process, _ in decoded(log)} - {HERE}:
        with pytest.raises(ProcessLookupError):
            os.kill(process, signal.SIG_DFL)
