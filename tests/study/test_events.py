from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path

import pytest

from coretune.study.events import KEPT, EventLog


def test_events_are_kept_and_logged(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.txt")
    log.add("info", "begun")
    log.add("error", "it\n  broke\tat line 3")
    assert [(event["level"], event["text"]) for event in log.newest()] == [
        ("info", "begun"),
        ("error", "it broke at line 3"),
    ]
    assert all(datetime.fromisoformat(event["time"]).utcoffset() is not None for event in log.newest())
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split(" ", 2)[1:] for line in lines] == [["info", "begun"], ["error", "it broke at line 3"]]


def test_only_the_newest_are_in_memory_and_all_in_the_log(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.txt")
    for number in range(KEPT + 7):
        log.add("info", str(number))
    assert [event["text"] for event in log.newest()] == [str(number) for number in range(7, KEPT + 7)]
    assert len((tmp_path / "log.txt").read_text().splitlines()) == KEPT + 7


@pytest.mark.parametrize("target", ["/dev/full", "folder"])
def test_a_log_that_cannot_be_written_is_an_event_once(tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    path = Path(target) if target.startswith("/") else tmp_path / target
    if target.startswith("/") and not path.exists():
        pytest.skip("no /dev/full here")
    log = EventLog(path)
    for number in range(3):
        log.add("info", str(number))
    texts = [event["text"] for event in log.newest()]
    assert texts[0] == "0" and texts[2:] == ["1", "2"]
    assert texts[1].startswith("the log is incomplete: ") and target in texts[1]


def test_threads_may_add_at_once(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "log.txt")

    def talk() -> None:
        for _ in range(20):
            log.add("info", "x" * 200)

    threads = [threading.Thread(target=talk) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert len(lines) == 80 and all(line.endswith("x" * 200) for line in lines)
