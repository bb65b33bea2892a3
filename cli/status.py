"""`coretune study status` and `watch`: where a study stands, from its `state.json` alone."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from coretune.errors import RequestError
from coretune.results.remote import remote_url
from coretune.runs.interrupt import EXIT_CODE as INTERRUPTED
from coretune_cli.arguments import JobAddressOption, JsonOption, ResultsArgument
from coretune_cli.driver import Driver, inspect_driver
from coretune_cli.jobs import job_status
from coretune_cli.output import console, note, show, show_json, show_json_line
from coretune_cli.places import find_results, read_state, read_state_json
from coretune_cli.state import StudyState, parse_state

PERIOD_S = 1.0


def status(results: ResultsArgument = None, address: JobAddressOption = None, as_json: JsonOption = False) -> int:
    """Say where a study stands, and whether its driver is alive."""
    if address is not None:
        return job_status(address, results, as_json=as_json)
    folder = _chosen(results)
    raw = read_state_json(folder)
    state = parse_state(raw)
    driver = inspect_driver(state)
    if as_json:
        show_json({**raw, "driver": asdict(driver)})
        return 0
    from coretune_cli.screen import render

    show(render(state, width=console().width))
    note(
        _next_step(remote_url(state.results) or folder, state, driver),
        style="bold magenta" if driver.life in ("gone", "quiet", "unknown") else "dim",
    )
    return 0


def watch(results: ResultsArgument = None, as_json: JsonOption = False) -> int:
    """Follow a study until it is done; with --json, one line of JSON per change."""
    from coretune_cli.live import observe

    if results is not None and remote_url(results):
        raise RequestError(f"{results}: watch follows files on disk; `coretune study status` reads an object store")
    folder = _chosen(results)
    state = read_state(folder)
    if as_json:
        state = _follow(folder, state, lines=True)
    else:
        with observe(lambda: read_state_json(folder)):
            state = _follow(folder, state, lines=False)
    driver = inspect_driver(state)
    note(_next_step(folder, state, driver), style="bold magenta" if driver.lost else "dim")
    if state.phase == "interrupted":
        return INTERRUPTED
    return 1 if driver.lost or state.phase in ("failed", "incomplete") or state.runs.failed else 0


def _follow(folder: Path, state: StudyState, *, lines: bool) -> StudyState:
    """Reads a study's state until it ends or its driver is gone, and returns the last one."""
    said: Any = None
    while True:
        if lines and state.updated != said:
            show_json_line(read_state_json(folder))
        said = state.updated
        if state.ended or inspect_driver(state).lost:
            return state
        time.sleep(PERIOD_S)
        state = read_state(folder)


def _chosen(results: str | None) -> Path:
    folder, by_default = find_results(results)
    if by_default:
        note(f"{folder}, the newest results", style="dim")
    return folder


def _next_step(folder: Path | str, state: StudyState, driver: Driver) -> str:
    if driver.lost or state.phase == "interrupted":
        return f"{driver.text}; go on with: coretune study resume {folder}"
    if state.phase == "incomplete":
        return f"{driver.text}; once what is missing is there: coretune study resume {folder}"
    if state.phase == "failed":
        return f"{driver.text}; {folder}/log.txt says why, coretune study resume {folder} tries again"
    return driver.text
