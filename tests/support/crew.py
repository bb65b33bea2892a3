"""Processes that train one model together: started once, given one function after another."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import secrets
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from coretune.tuning.shard import Link, Shard

PATIENCE_S = 120.0


class Crew:
    """Some processes with torch loaded and gloo between them. After a failure they are started anew.

    Args:
        size: How many.
        folder: Where they meet.
    """

    def __init__(self, size: int, folder: Path) -> None:
        self._size = size
        self._folder = folder
        self._ends: list[Connection] = []
        self._processes: list[SpawnProcess] = []

    def run(self, workers: int, function: Callable[..., Any], *args: Any) -> list[Any]:
        """Runs `function(shard, *args)` on the first so many processes at once; returns their results by rank.

        The function has to be one of a module that the processes can import.

        Raises:
            AssertionError: One of them raised (the first to do so is told), or they do not answer in time.
        """
        if not self._ends:
            self._start()
        ends = self._ends[:workers]
        try:
            return self._answers(ends, (workers, function, args))
        except (EOFError, OSError) as error:
            self.close()
            raise AssertionError("one of the processes has died") from error

    def _answers(self, ends: list[Connection], task: tuple[Any, ...]) -> list[Any]:
        for end in ends:
            # Not end.send, which lets all processes share the memory of a tensor.
            end.send_bytes(pickle.dumps(task))
        answers: dict[Connection, Any] = {}
        deadline = time.monotonic() + PATIENCE_S
        while len(answers) < len(ends):
            ready = wait([end for end in ends if end not in answers], max(0.0, deadline - time.monotonic()))
            found = {end: pickle.loads(end.recv_bytes()) for end in ready if isinstance(end, Connection)}
            broken = [text for ok, text in found.values() if not ok]
            if broken or not found:
                self.close()
                raise AssertionError(broken[0] if broken else f"no answer in {PATIENCE_S:.0f} s")
            answers.update(found)
        return [answers[end][1] for end in ends]

    def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()
        self._ends, self._processes = [], []

    def _start(self) -> None:
        spawning = multiprocessing.get_context("spawn")
        meeting = self._folder / secrets.token_hex(4)
        for rank in range(self._size):
            mine, theirs = spawning.Pipe()
            process = spawning.Process(target=_serve, args=(theirs, rank, self._size, str(meeting)), daemon=True)
            process.start()
            self._ends.append(mine)
            self._processes.append(process)


def _serve(end: Connection, rank: int, size: int, meeting: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    links = {workers: Link(dist.new_group(list(range(workers)))) for workers in range(1, size + 1)}
    while True:
        try:
            asked = end.recv_bytes()
        except EOFError:
            return
        try:
            workers, function, args = pickle.loads(asked)
            answer = True, function(Shard(rank, workers, links[workers]), *args)
        except Exception:  # whatever it is, it is told where the test is
            answer = False, traceback.format_exc()
        end.send_bytes(pickle.dumps(answer))
