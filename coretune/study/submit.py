"""Gives a study to a cluster, whose own driver then runs it: this machine may go away."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from packaging.requirements import Requirement

from coretune.cluster.jobs import JobInfo, JobsClient
from coretune.cluster.shipping import archive
from coretune.errors import LockedError, RequestError, UnfitError
from coretune.results.remote import remote_url
from coretune.spec.load import LoadedStudy
from coretune.study.directory import resolved_yaml

STUDY = "study.yaml"
OUT = "coretune_results"
"""Key of a job's metadata: where the results go. Two jobs that write one directory are one too many."""
STOP_S = 60
"""How long Ray waits for the driver to store the states of its runs before it kills it; Ray's own 3 s are too short."""

ELSEWHERE = 'cd / && PYTHONPATH="$OLDPWD${PYTHONPATH:+:$PYTHONPATH}"'
"""Leaves the job's folder: nodes that share a machine unpack it again, and a process in it has no folder then."""


@dataclass(frozen=True)
class Submitted:
    """A study that was given to a cluster.

    Attributes:
        job: The job's id.
        size: Bytes of coretune, the study file and its plug-ins, as they went along.
        earlier: Ids of jobs that wrote the same directory, which this one continues.
    """

    job: str
    size: int
    earlier: tuple[str, ...]


def submit(client: JobsClient, loaded: LoadedStudy, out: str, options: Sequence[str] = ()) -> Submitted:
    """Submits a study.

    Args:
        client: The cluster's.
        loaded: The study, overrides applied.
        out: The results directory, as the cluster's nodes see it.
        options: Further words for `coretune study run`.

    Raises:
        RequestError: `out` is no place that outlives the job.
        LockedError: A job is writing that directory.
        UnfitError: The cluster's Ray is too old, or it does not take the job.
    """
    out = check_out(out)
    if (problem := version_problem(client.ray_version)) is not None:
        raise UnfitError(f"the cluster at {client.address} has Ray {client.ray_version}: {problem}")
    earlier = [job for job in client.jobs() if job.metadata.get(OUT) == out]
    for job in earlier:
        if not job.over:
            raise LockedError(
                f"job {job.id} is writing {out} already ({job.status.lower()}); follow it: "
                f"coretune study logs {job.id} --address {client.address}; "
                f"stop it: coretune study stop {job.id} --address {client.address}"
            )
    path = archive(loaded.plugins, {STUDY: resolved_yaml(loaded).encode()})
    id = job_id(loaded.study.name, out, earlier)
    words = ["--out", out, "--address", "auto", *options]
    client.submit(
        id,
        f'{ELSEWHERE} exec python -m coretune_cli.main study run "$OLDPWD/{STUDY}" {shlex.join(words)}',
        runtime_env={
            "working_dir": client.upload(path),
            "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)},
        },
        metadata={"coretune_study": loaded.study.name, OUT: out},
    )
    return Submitted(id, path.stat().st_size, tuple(job.id for job in earlier))


def check_out(out: str) -> str:
    """Returns a results directory in one spelling.

    Raises:
        RequestError: It is relative: a job's own folder goes with the job.
    """
    if (url := remote_url(out)) is not None:
        return url
    if not out.startswith("/"):
        raise RequestError(
            f"--out {out}: needs an absolute path on storage that all nodes of the cluster see, or s3://; below a "
            "job's own folder results would go with the job"
        )
    return str(PurePosixPath(out))


def job_id(study: str, out: str, earlier: Iterable[JobInfo]) -> str:
    """Returns an id that says the study and is unused: `coretune-<study>-<hash of out>-<number>`."""
    stem = f"coretune-{re.sub('[^A-Za-z0-9_-]', '-', study)}-{hashlib.sha256(out.encode()).hexdigest()[:6]}"
    taken = [int(match[1]) for job in earlier if (match := re.fullmatch(rf"{re.escape(stem)}-(\d+)", job.id))]
    return f"{stem}-{max(taken, default=0) + 1}"


def version_problem(theirs: str) -> str | None:
    """Returns why coretune cannot run with a cluster's Ray, or None; None too where coretune's needs are not known."""
    try:
        needs = importlib.metadata.requires("coretune") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for need in map(Requirement, needs):
        if need.name == "ray" and not need.specifier.contains(theirs, prereleases=True):
            return f"coretune needs {need.specifier}"
    return None
