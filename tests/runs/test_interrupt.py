from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import IO

import pytest

from coretune.runs.interrupt import EXIT_CODE, interruptible

PROGRAM = """
import time
from coretune.runs.interrupt import interruptible

def abort():
    print("abort", flush=True)
    raise OSError("the terminal is gone")

with interruptible(lambda reason: print("stop", reason, flush=True), on_abort=abort):
    print("ready", flush=True)
    time.sleep(60)
"""


def line(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_the_second_ends_the_process(first: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        assert line(process.stdout) == "ready"
        process.send_signal(first)
        assert line(process.stdout) == "stop interrupted"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert line(process.stdout) == "abort"
        assert process.wait(timeout=5) == EXIT_CODE == 130
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_second_sigterm_does_not_cut_the_clean_end_short(first: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    try:
        assert line(process.stdout) == "ready"
        process.send_signal(first)
        assert line(process.stdout) == "stop interrupted"
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
        process.send_signal(signal.SIGINT)
        assert line(process.stdout) == "abort"
        assert process.wait(timeout=5) == EXIT_CODE
    finally:
        process.kill()
        process.communicate()


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    said: list[str] = []
    with pytest.raises(KeyError), interruptible(said.append):
        os.kill(os.getpid(), signal.SIGINT)
        raise KeyError
    assert said == ["interrupted"]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_thread_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with interruptible(lambda reason: None):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
