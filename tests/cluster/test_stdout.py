from __future__ import annotations

import logging
import sys
import threading

import pytest

from coretune.cluster.stdout import quiet_stdout


def in_thread(name: str, text: str) -> None:
    thread = threading.Thread(target=lambda: print(text), name=name)
    thread.start()
    thread.join()


def test_only_what_ray_prints_goes_to_the_log(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = sys.stdout
    with quiet_stdout(logging.getLogger("test.ray")):
        print("ours")
        in_thread("ray_listen_error_messages", "(raylet) it died\n\nof something")
        in_thread("another", "theirs")
        assert sys.stdout.encoding == before.encoding
    assert sys.stdout is before
    assert capsys.readouterr().out == "ours\ntheirs\n"
    assert caplog.messages == ["(raylet) it died", "of something"]


def test_a_standard_output_that_was_replaced_meanwhile_stays(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    try:
        with quiet_stdout(logging.getLogger("test.ray")):
            replaced = sys.stdout = sys.stderr
        assert sys.stdout is replaced
    finally:
        sys.stdout = before
