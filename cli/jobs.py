"""Studies that a cluster drives: `coretune study submit`, `stop`, and `status` and `logs` of a job."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from coretune.errors import RequestError
from coretune.runs.interrupt import EXIT_CODE as INTERRUPTED
from coretune_cli.arguments import JsonOption, OnlyOption, SetOption, chosen_cells, parse_only
from coretune_cli.formats import duration, parse_duration, plural, size
from coretune_cli.output import note, show, show_json

if TYPE_CHECKING:
    from coretune.cluster.jobs import JobInfo, JobsClient

FAILED = 1
DashboardOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_API_SERVER_ADDRESS",
        metavar="http://HEAD:8265",
        help="The dashboard of the cluster.",
        show_default=False,
    ),
]


def submit(
    study: Annotated[
        str, typer.Argument(metavar="STUDY", help="A study file, a shipped study, or a results directory.")
    ],
    address: DashboardOption = None,
    out: Annotated[
        str | None, typer.Option("--out", metavar="DIR", help="Results directory, as the cluster's nodes see it.")
    ] = None,
    sets: SetOption = None,
    only: OnlyOption = None,
    time_limit: Annotated[
        str | None, typer.Option("--time-limit", metavar="TIME", help="As of `run`: 90s, 30m, 2h or 1h30m.")
    ] = None,
    slots: Annotated[int | None, typer.Option("--slots", min=1, help="As of `run`: runs at a time.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="As of `run`.")] = False,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Show its output until it ends.")] = True,
    as_json: JsonOption = False,
) -> int:
    """Give a study to a cluster, which then drives it by itself; given again, it is continued."""
    from coretune.cluster.jobs import JobsClient
    from coretune.study.submit import submit as give
    from coretune_cli.running import open_study

    place = _needed(address, "submit")
    loaded, _ = open_study(study, sets or [])
    if out is None:
        raise RequestError(
            f"--out is needed: where the cluster's nodes see the results, e.g. /shared/results/{loaded.study.name}"
        )
    chosen = parse_only(only)
    chosen_cells(loaded.cells, chosen)
    options = [word for kind, label in chosen.items() for word in ("--only", f"{kind}={label}")]
    if time_limit is not None:
        options += ["--time-limit", f"{parse_duration(time_limit):g}s"]
    options += ["--slots", str(slots)] if slots is not None else []
    options += ["--retry-failed"] if retry_failed else []
    client = JobsClient(place)
    _note_versions(client)
    given = give(client, loaded, out, options)
    if as_json:
        show_json({"job": given.job, "address": client.address, "results": out, "earlier": list(given.earlier)})
        return 0
    cells = plural(len(loaded.cells), "cell")
    along = f"{size(given.size)} of coretune, study and plug-ins went along"
    note(f"job {given.job}: study {loaded.study.name}, {cells}, results in {out}; {along}")
    if given.earlier:
        note(f"it continues {given.earlier[-1]}", style="dim")
    if not follow:
        note(_how_to_follow(client, given.job))
        return 0
    return follow_job(client, given.job)


def stop(
    job: Annotated[str, typer.Argument(metavar="JOB_ID", help="What `submit` said.")],
    address: DashboardOption = None,
    as_json: JsonOption = False,
) -> int:
    """Stop a submitted study; what it was training is stored, and the same `submit` goes on with it."""
    from coretune.cluster.jobs import JobsClient

    client = JobsClient(_needed(address, "stop"))
    info = client.info(job)
    stopped = not info.over and client.stop(job)
    if as_json:
        show_json({"job": job, "stopped": stopped, "status": client.info(job).status})
    elif stopped:
        note(f"job {job} is asked to stop; it stores what it trains first")
    else:
        note(f"job {job} has ended already ({info.status.lower()})")
    return 0


def job_status(address: str, job: str | None, *, as_json: bool) -> int:
    """Prints where a job stands, or all of coretune's jobs."""
    from coretune.cluster.jobs import JobsClient

    client = JobsClient(address)
    found = [client.info(job)] if job is not None else [item for item in client.jobs() if _is_ours(item)]
    now = datetime.now(UTC).timestamp()
    if as_json:
        values = [{**asdict(item), "over": item.over} for item in found]
        show_json(values[0] if job is not None else values)
        return 0
    if not found:
        note(f"no study was submitted to {client.address}")
        return 0
    show(jobs_view(found, now))
    if job is not None:
        if found[0].message:
            note(found[0].message.strip().splitlines()[-1])
        note(_how_to_follow(client, job), style="dim")
    return 0


def job_logs(address: str, job: str, lines: int) -> int:
    """Prints the end of a job's output, and follows it until the job ends."""
    from coretune.cluster.jobs import JobsClient

    return follow_job(JobsClient(address), job, lines)


def follow_job(client: JobsClient, job: str, lines: int = 0) -> int:
    """Writes a job's output until it ends, and returns the exit code of its driver; Ctrl-C leaves the job alone.

    Args:
        client: The cluster's.
        job: Its id.
        lines: So many lines of what is there at first; 0: all.
    """
    from coretune.cluster.jobs import follow

    first = True

    def write(text: str) -> None:
        nonlocal first
        if first and lines:
            text = "".join(text.splitlines(keepends=True)[-lines:])
        first = False
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        info = follow(client, job, write, note, time.sleep)
    except KeyboardInterrupt:
        note(f"\nleft alone: the job goes on; {_how_to_follow(client, job)}", style="bold")
        return INTERRUPTED
    if info.status != "SUCCEEDED":
        said = info.message.strip().splitlines()
        note(f"job {job} {info.status.lower()}" + (f": {said[0]}" if said else ""), style="bold magenta")
    return exit_code(info)


def exit_code(info: JobInfo) -> int:
    """Returns what `coretune study run` returned on the cluster; what was stopped counts as interrupted."""
    if info.status == "SUCCEEDED":
        return 0
    if info.status == "STOPPED":
        return INTERRUPTED
    return info.exit_code if info.exit_code is not None and 0 < info.exit_code < 256 else FAILED


def jobs_view(jobs: list[JobInfo], now: float) -> Table:
    """Draws jobs, one a line."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("job", "status", "for", "results"):
        table.add_column(title, overflow="fold")
    for job in jobs:
        began = job.started
        lasted = duration((job.ended or now) - began) if began is not None else "–"
        table.add_row(job.id, job.status.lower(), lasted, job.metadata.get("coretune_results", job.command))
    return table


def _is_ours(job: JobInfo) -> bool:
    return "coretune_study" in job.metadata


def _how_to_follow(client: JobsClient, job: str) -> str:
    place = f"{job} --address {client.address}"
    return f"follow it: coretune study logs {place}; stop it: coretune study stop {place}"


def _needed(address: str | None, command: str) -> str:
    if address is None:
        raise RequestError(f"study {command} needs --address, the dashboard of a cluster, e.g. http://HEAD:8265")
    return address


def _note_versions(client: JobsClient) -> None:
    from importlib import metadata

    try:
        ours: Any = metadata.version("ray")
    except metadata.PackageNotFoundError:
        ours = None
    if ours != client.ray_version:
        note(
            f"the cluster has Ray {client.ray_version}, this machine {ours or 'none'}: the cluster's counts",
            style="dim",
        )
