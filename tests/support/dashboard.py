"""Answers HTTP as the jobs part of Ray's dashboard does, from a table; it can be made to fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Dashboard:
    """The table, and what goes wrong.

    Attributes:
        token: What it wants to see, or None.
        version: Of Ray.
        jobs: By submission id, as Ray's JSON has them.
        logs: By submission id.
        packages: Uploaded archives by name.
        broken: So many of the next questions about jobs are answered with 500.
        asked: Every request, method and path.
        steps: Called with the dashboard before each question about a job, one after the other: time goes by.
    """

    token: str | None = None
    version: str = "2.60.0"
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    packages: dict[str, bytes] = field(default_factory=dict)
    broken: int = 0
    asked: list[str] = field(default_factory=list)
    steps: list[Any] = field(default_factory=list)
    address: str = ""

    def add(self, id: str, status: str = "RUNNING", log: str = "", **more: Any) -> None:
        """Puts a job into the table."""
        self.jobs[id] = {"submission_id": id, "status": status, "entrypoint": "exec python", **more}
        self.logs[id] = log


def _answer(board: Dashboard, method: str, path: str, content: bytes) -> tuple[int, Any]:
    words = path.strip("/").split("/")
    if path == "/api/version":
        return 200, {"version": "4", "ray_version": board.version}
    if words[1] == "packages":
        if method == "PUT":
            board.packages[words[3]] = content
        return (200, None) if words[3] in board.packages else (404, "not found")
    if len(words) == 2:
        if method == "GET":
            return 200, list(board.jobs.values())
        said = json.loads(content)
        board.add(said["submission_id"], "PENDING", entrypoint=said["entrypoint"])
        board.jobs[said["submission_id"]] |= {"metadata": said["metadata"], "runtime_env": said["runtime_env"]}
        return 200, {"submission_id": said["submission_id"]}
    if len(words) == 3 and board.steps:
        board.steps.pop(0)(board)
    if board.broken:
        board.broken -= 1
        return 500, "Traceback\nOSError: head is restarting"
    if words[2] not in board.jobs:
        return 404, "Job does not exist"
    if words[-1] == "logs":
        return 200, {"logs": board.logs[words[2]]}
    if words[-1] == "stop":
        board.jobs[words[2]]["status"] = "STOPPED"
        return 200, {"stopped": True}
    return 200, board.jobs[words[2]]


@contextmanager
def dashboard(token: str | None = None) -> Iterator[Dashboard]:
    """Yields a dashboard that listens on this machine."""
    board = Dashboard(token)

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            board.asked.append(f"{self.command} {self.path}")
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if board.token is not None and self.headers.get("Authorization") != f"Bearer {board.token}":
                code, value = 401, "Unauthorized"
            else:
                code, value = _answer(board, self.command, self.path, content)
            said = b"" if value is None else value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_PUT = do_POST = answer

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    board.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield board
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
