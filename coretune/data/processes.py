"""Decodes blocks in processes of its own, which end with their parent, whatever ends it.

They are neither forked (a fork leaves the threads of torch and Ray in pieces) nor made by `multiprocessing`, whose
children import the user's script again and outlive a killed parent. A child is a fresh interpreter that finds the
source of the images in a file without a name, talks over a socket, and ends in the moment that the socket does.
"""

from __future__ import annotations

import json
import mmap
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from coretune.data.blocks import Done, Target, in_threads, members, opened, write_block
from coretune.data.shares import Shares
from coretune.errors import UnfitError

AHEAD = 8
"""Blocks that a child has in hand at most, so that it goes on while this process waits for the disk."""

TRIES = 2
"""Times that a block may take its child down."""

END_S = 5.0
"""Seconds that a child has to end by itself."""

BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from coretune.data.processes import serve; serve(*map(int, sys.argv[2:]))"
)
READY = "ready"

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A child multiplies no matrices: threads for that would only take memory."""


def in_processes(target: Target, blocks: Sequence[int], processes: int, *, held: Sequence[int] = ()) -> Iterator[Done]:
    """Writes blocks with several processes and yields each as it is done. This process works until the first is up.

    Where none comes up (a source that cannot be sent, such as one of a class in the user's script), threads do the
    rest. A block that fails in a child is done again here, so that its error is raised as if there were no children.

    Args:
        target: The images and where they go.
        blocks: Which.
        processes: How many, at least 1.
        held: Descriptors that stay open until the last child is gone, e.g. of a lock.

    Raises:
        UnfitError: Children were killed.
        StorageError: As in `write_block`.
        OSError: As in `write_block`.
    """
    shares = Shares(blocks, processes)
    with tempfile.TemporaryFile() as content:
        try:
            pickle.dump(target, content)
        except Exception:  # what a source holds may refuse to be sent in whatever way it likes
            children = []
        else:
            content.flush()
            children = _born(processes, content.fileno(), held)
        try:
            with opened(target) as descriptor:
                yield from _led(children, shares, target, descriptor)
        finally:
            for child in children:
                child.connection.close()
            for child in children:
                child.wait()
    yield from in_threads(target, shares.rest(), processes)


def serve(connection: int, content: int) -> None:
    """Is a child: writes the blocks that the parent names until the parent is gone.

    Args:
        connection: Descriptor of the socket to the parent.
        content: Descriptor of the file with the target.
    """
    parent: Connection[Any, Any] = Connection(connection)
    wanted: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(parent, wanted), daemon=True).start()
    try:
        with mmap.mmap(content, 0, access=mmap.ACCESS_READ) as view:
            target = pickle.loads(view)
    except Exception:  # its class cannot be imported here: the parent does without this child
        return
    with opened(target) as descriptor:
        parent.send(READY)
        while True:
            block = wanted.get()
            try:
                answer: Done | int = write_block(target, descriptor, block)
            except Exception:  # the parent tries it again, and raises what it meets
                answer = block
            parent.send(answer)


def _listen(parent: Connection[Any, Any], wanted: queue.SimpleQueue[int]) -> None:
    """Takes the parent's words, also while an image is decoded, and ends this process with their end."""
    try:
        while True:
            wanted.put(parent.recv())
    except (EOFError, OSError):
        os._exit(0)


class _Child:
    """A process, whether it is up, and the blocks that it has in hand, in order."""

    def __init__(self, number: int, content: int, held: Sequence[int]) -> None:
        self.number = number
        self.pending: list[int] = []
        self.up = False
        self.connection, theirs = Pipe()
        command = [sys.executable, "-c", BOOT, json.dumps([str(entry) for entry in sys.path])]
        try:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno()), str(content)],
                pass_fds=(theirs.fileno(), content, *held),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD},
                process_group=0,  # Ctrl-C is the parent's to answer
            )
        except OSError:
            self.connection.close()
            raise
        finally:
            theirs.close()

    def answer(self) -> str | Done | int | None:
        """Returns what it says: READY, a block that is done, the number of one that failed, or None if it is gone."""
        try:
            said: str | Done | int = self.connection.recv()
        except (EOFError, OSError):
            return None
        if self.up:
            self.pending.pop(0)
        self.up = True
        return said

    def feed(self, shares: Shares, ahead: int) -> None:
        """Gives it blocks until it has so many in hand, once it is up."""
        while self.up and len(self.pending) < ahead and (block := shares.take(self.number)) is not None:
            self.pending.append(block)
            try:
                self.connection.send(block)
            except OSError:
                return  # it is gone, which its next answer tells

    def hand_back(self, shares: Shares) -> None:
        """Puts what it has in hand before all else that is left of its share."""
        for block in reversed(self.pending):
            shares.give_back(self.number, block)
        self.pending.clear()

    def wait(self) -> int:
        """Waits for its end and returns its exit status."""
        try:
            return self._process.wait(END_S)
        except subprocess.TimeoutExpired:  # stuck in a read of a lost disk, perhaps
            self._process.kill()
            return self._process.wait()


def _born(processes: int, content: int, held: Sequence[int]) -> list[_Child]:
    """Starts as many children as the machine allows."""
    children = []
    for number in range(processes):
        try:
            children.append(_Child(number, content, held))
        except OSError:
            break
    return children


def _led(children: list[_Child], shares: Shares, target: Target, descriptor: int) -> Iterator[Done]:
    """Hands blocks to children and yields what comes back, until all is done, or until no child has come up."""
    crashes: Counter[int] = Counter()
    alive: dict[Any, _Child] = {child.connection: child for child in children}
    while alive and (len(shares) or any(child.pending for child in alive.values())):
        found = wait(list(alive), timeout=None if any(child.up for child in alive.values()) else 0)
        if not found and (block := shares.take(0)) is not None:
            yield write_block(target, descriptor, block)
        for connection in found:
            child = alive[connection]
            answer = child.answer()
            if answer is None:
                del alive[connection]
                crashes.update(child.pending[:1])
                _check_crash(child, crashes, target, left=len(alive))
                child.hand_back(shares)
            elif isinstance(answer, int):
                yield write_block(target, descriptor, answer)
            elif isinstance(answer, Done):
                yield answer
        # Towards the end, less: nobody is to wait long for the one that is last.
        ahead = min(AHEAD, 2 + len(shares) // (2 * max(1, len(alive))))
        for child in alive.values():
            child.feed(shares, ahead)


def _check_crash(child: _Child, crashes: Counter[int], target: Target, *, left: int) -> None:
    """Refuses to go on after a child's end if its block has ended one before, or if it was the last.

    Raises:
        UnfitError: So it is; says which images it was at, and what ended it.
    """
    if not child.pending or (crashes[child.pending[0]] < TRIES and left):
        return
    status = child.wait()
    span = members(target, child.pending[0])
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    raise UnfitError(
        f"a process that was decoding {target.names[span[0]]} to {target.names[span[-1]]} ended {how}; is memory "
        "short, or an image one that crashes its decoder? What is packed so far is kept: run it again"
    )
