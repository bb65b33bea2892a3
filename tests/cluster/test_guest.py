from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.command import wait_until

from coretune.cluster import guest
from coretune.cluster.guest import STREAMS, Guest, Screen

HARD_OF_HEARING = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
from coretune.cluster.guest import Guest, Screen
guest = Guest(["pretrain", "digits", "--arch", "small_resnet", "--epochs", "500"], sys.argv[1], Screen())
while not (read := guest.read())[0] and read[1] is None:
    pass
time.sleep(2)
guest.interrupt()
while (code := guest.read()[1]) is None:
    pass
print(code)
"""


def ended(of: Guest) -> tuple[dict[str, bytes], int]:
    """Reads to the end."""
    said = {name: b"" for name in STREAMS}
    while True:
        chunks, code = of.read()
        for name, content in chunks:
            said[name] += content
        if code is not None:
            return said, code


def test_a_command_line_is_executed_with_its_streams_apart(tmp_path: Path) -> None:
    said, code = ended(Guest(["--version"], str(tmp_path), Screen()))
    assert (said["stdout"].decode().split()[0], said["stderr"], code) == ("coretune", b"", 0)
    said, code = ended(Guest(["no-such"], str(tmp_path), Screen()))
    assert said["stdout"] == b"" and b"no such command" in said["stderr"] and code == 2


def test_it_runs_in_the_folder_without_a_word_of_the_nodes_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    code = "import os; print(os.getcwd(), os.environ.get('RAY_ADDRESS'), os.environ['TERM'], flush=True)"
    monkeypatch.setattr(guest, "START", code)
    said, _ = ended(Guest([], str(tmp_path), Screen(variables={"TERM": "xterm-mine"})))
    assert said["stdout"].decode().split() == [str(tmp_path), "None", "xterm-mine"]


def test_a_stream_that_is_a_terminal_here_is_one_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import os, sys; print(sys.stdout.isatty(), sys.stderr.isatty(), *os.get_terminal_size(2), flush=True)"
    monkeypatch.setattr(guest, "START", code)
    said, _ = ended(Guest([], str(tmp_path), Screen(frozenset(["stderr"]), 97, 31)))
    assert said["stdout"].decode() == "False True 97 31\n"


def test_an_interruption_is_a_ctrl_c_and_the_code_of_a_signal_a_shells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "START", "import time; print('up', flush=True); time.sleep(60)")
    made = Guest([], str(tmp_path), Screen())
    while not made.read()[0]:
        pass
    made.interrupt()
    said, code = ended(made)
    assert b"KeyboardInterrupt" in said["stderr"] and code in (1, 130)
    made.interrupt()  # it has ended: nothing happens
    monkeypatch.setattr(guest, "START", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert ended(Guest([], str(tmp_path), Screen()))[1] == 137


def test_signals_that_the_process_above_ignores_or_blocks_reach_it(tmp_path: Path) -> None:
    """As Ray's do."""
    said = subprocess.run(
        [sys.executable, "-c", HARD_OF_HEARING, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 0, said.stderr
    assert "130" in said.stdout


def test_it_ends_when_the_process_above_it_was_killed(tmp_path: Path) -> None:
    """As where a driver is killed: Ray kills its actors, and the kernel tells their children nothing."""
    (tmp_path / "coretune_cli").mkdir()
    (tmp_path / "coretune_cli" / "__init__.py").touch()
    (tmp_path / "coretune_cli" / "main.py").write_text("import time\n\ndef main():\n    time.sleep(120)\n")
    code = f"""
import os, time
os.environ["PYTHONPATH"] = {str(tmp_path)!r}
from coretune.cluster import guest
guest._environment = lambda screen: dict(os.environ)
print(guest.Guest([], {str(tmp_path)!r}, guest.Screen()).pid(), flush=True)
time.sleep(60)
"""
    above = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert above.stdout is not None
    below = psutil.Process(int(above.stdout.readline()))
    time.sleep(1.0)
    assert below.is_running() and below.status() != psutil.STATUS_ZOMBIE
    above.kill()
    above.communicate()
    wait_until(lambda: not below.is_running() or below.status() == psutil.STATUS_ZOMBIE, timeout=20)
