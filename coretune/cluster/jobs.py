"""Ray Jobs over HTTP, as its REST interface documents it: no Ray of the cluster's version is needed here.

Each question has a time limit, unlike those of Ray's own client: a laptop that slept, or a cut line, ends no follow.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from coretune.cluster.reach import our_token, token_place
from coretune.errors import RequestError, UnfitError

PATIENCE_S = 15.0
UPLOAD_S = 120.0
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class NoAnswer(UnfitError):
    """The dashboard does not answer now; it may later."""


@dataclass(frozen=True)
class JobInfo:
    """A submitted job.

    Attributes:
        id: Its submission id.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        message: What Ray says of it.
        command: What it executes.
        exit_code: Of its driver, once that ended by itself.
        started: Seconds since the epoch, or None.
        ended: Seconds since the epoch, or None.
        metadata: What was said of it when it was submitted.
    """

    id: str
    status: str
    message: str
    command: str
    exit_code: int | None
    started: float | None
    ended: float | None
    metadata: Mapping[str, str]

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.status in ENDED


class JobsClient:
    """The jobs of one cluster.

    Args:
        address: `http://host:8265`, of the cluster's dashboard.

    Raises:
        RequestError: It is no such address.
        UnfitError: Nobody answers there, it is no Ray, or it wants a token and none, or a wrong one, is here.
    """

    def __init__(self, address: str) -> None:
        self.address = check_dashboard(address)
        self._token: str | None = None
        try:
            said = self._ask("GET", "/api/version")
        except _Refused:
            self._token = our_token()
            if self._token is None:
                raise UnfitError(
                    f"the Ray cluster at {self.address} wants a token and none is here: set RAY_AUTH_TOKEN, "
                    "RAY_AUTH_TOKEN_PATH (a file), or copy the cluster's to ~/.ray/auth_token"
                ) from None
            said = self._checked("GET", "/api/version")
        if not isinstance(said, dict) or "ray_version" not in said:
            raise UnfitError(f"{self.address} answers, but is no dashboard of Ray")
        self.ray_version = str(said["ray_version"])

    def upload(self, archive: Path) -> str:
        """Puts an archive where jobs find it, unless it is there, and returns its address."""
        name = f"_ray_pkg_{archive.stem}.zip"
        place = f"/api/packages/gcs/{quote(name)}"
        if self._checked("GET", place, missing=True) is None:
            self._checked("PUT", place, content=archive.read_bytes(), patience_s=UPLOAD_S)
        return f"gcs://{name}"

    def submit(self, id: str, command: str, *, runtime_env: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
        """Submits a job.

        Raises:
            UnfitError: Ray does not take it.
        """
        said = {"submission_id": id, "entrypoint": command, "runtime_env": runtime_env, "metadata": metadata}
        self._checked("POST", "/api/jobs/", content=json.dumps(said).encode(), patience_s=UPLOAD_S)

    def jobs(self) -> list[JobInfo]:
        """Returns all jobs that were submitted, the oldest first."""
        found = [job_info(item) for item in self._checked("GET", "/api/jobs/") if item.get("submission_id")]
        return sorted(found, key=lambda job: (job.started or float("inf"), job.id))

    def info(self, id: str) -> JobInfo:
        """Returns what is known of a job.

        Raises:
            RequestError: There is none of that id.
        """
        said = self._checked("GET", f"/api/jobs/{quote(id)}", missing=True)
        if said is None:
            known = [job.id for job in self.jobs()][-5:]
            hint = f"; the latest are {', '.join(known)}" if known else ""
            raise RequestError(f"no job {id} on the cluster at {self.address}{hint}")
        return job_info(said)

    def logs(self, id: str) -> str:
        """Returns all that a job has printed so far."""
        said = self._checked("GET", f"/api/jobs/{quote(id)}/logs", missing=True)
        return str((said or {}).get("logs") or "")

    def stop(self, id: str) -> bool:
        """Asks a job to stop; returns whether it ran."""
        return bool((self._checked("POST", f"/api/jobs/{quote(id)}/stop", content=b"") or {}).get("stopped"))

    def _checked(self, method: str, path: str, **options: Any) -> Any:
        try:
            return self._ask(method, path, **options)
        except _Refused:
            raise UnfitError(
                f"the Ray cluster at {self.address} refuses our token ({token_place()}): it must be the one that the "
                "cluster was started with"
            ) from None

    def _ask(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        missing: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> Any:
        """Returns the JSON of an answer, or None where nothing is there and `missing` says that this may be."""
        request = urllib.request.Request(self.address + path, data=content, method=method)
        request.add_header("Content-Type", "application/json" if method == "POST" else "application/octet-stream")
        if self._token is not None:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with urllib.request.urlopen(request, timeout=patience_s) as answer:
                return _json(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode(errors="replace").strip()
            if error.code in (401, 403):
                raise _Refused from None
            if error.code == 404 and missing:
                return None
            told = (said.splitlines() or [str(error.reason)])[-1][:300]
            kind = NoAnswer if error.code >= 500 and method == "GET" else UnfitError
            raise kind(f"{self.address}{path}: {error.code}: {told}") from error
        except (OSError, urllib.error.URLError, ValueError) as error:
            reason = getattr(error, "reason", error)
            told = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
            raise NoAnswer(f"no Ray dashboard answers at {self.address}: {told[:1].lower()}{told[1:]}") from error


class _Refused(Exception):
    """The dashboard wants a token, or another one."""


def check_dashboard(address: str) -> str:
    """Returns the address of a dashboard without what may follow its port.

    Raises:
        RequestError: It is none.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
        hint = f"; http://{parts.netloc.partition(':')[0] or 'HEAD'}:8265, perhaps?" if parts.scheme == "ray" else ""
        raise RequestError(
            f"--address {address}: needs the address of the cluster's dashboard, e.g. http://HEAD:8265{hint}"
        )
    return f"{parts.scheme}://{parts.netloc}"


def job_info(said: Mapping[str, Any]) -> JobInfo:
    """Returns what Ray says of a job; its times are in milliseconds."""

    def seconds(key: str) -> float | None:
        return float(said[key]) / 1000 if said.get(key) else None

    return JobInfo(
        id=str(said.get("submission_id") or said.get("job_id") or ""),
        status=str(said["status"]),
        message=str(said.get("message") or ""),
        command=str(said.get("entrypoint") or ""),
        exit_code=said.get("driver_exit_code"),
        started=seconds("start_time"),
        ended=seconds("end_time"),
        metadata=dict(said.get("metadata") or {}),
    )


def follow(
    client: JobsClient,
    id: str,
    write: Callable[[str], None],
    note: Callable[[str], None],
    sleep: Callable[[float], None],
    *,
    every_s: float = 2.0,
) -> JobInfo:
    """Writes a job's output as it comes, until the job ends, and returns how it ended.

    Streams of logs end while jobs run (ray-project/ray #51601): status and output are asked for again and again, and
    what is longer than last time is written. Silence of the dashboard is told once and waited out.

    Args:
        client: The cluster's.
        id: The job.
        write: Takes new output.
        note: Takes what is worth telling beside it.
        sleep: Waits so many seconds.
        every_s: Seconds between two questions; longer where the output is many megabytes.

    Raises:
        RequestError: There is no such job.
    """
    shown, silent = 0, False
    while True:
        try:
            info = client.info(id)  # before the output: what came before the end is in the output that follows
            text = client.logs(id)
        except NoAnswer as error:
            if not silent:
                note(f"{error}; the job goes on, and this waits for the answer")
            silent = True
            sleep(5 * every_s)
            continue
        if silent:
            note(f"{client.address} answers again")
        silent = False
        if len(text) > shown:
            write(text[shown:])
        shown = len(text)
        if info.over:
            return info
        sleep(every_s * max(1.0, len(text) / 4e6))


def _json(content: bytes) -> Any:
    return json.loads(content) if content.strip() else {}
