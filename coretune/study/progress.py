"""The state of a running study as plain values: what `state.json`, the live screen and `status` show."""

from __future__ import annotations

import os
import socket
import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from coretune.data.packing import Packing
from coretune.results.selection import Direction
from coretune.results.times import now_iso
from coretune.spec.cells import Cell
from coretune.spec.selection_rule import selection_in_words
from coretune.study.book import CellBook
from coretune.study.cell import StudyCell
from coretune.study.events import EventLog
from coretune.study.missing import MissingCell, to_dicts

RECENT_RUNS = 50
SAID_FROM_S = 2.0
"""Seconds from which on a packing is an event."""


@dataclass
class Slot:
    """One place where a run is executed."""

    run_id: str | None = None
    label: str = ""
    epoch: int = 0
    epochs: int = 0
    images_per_s: float | None = None
    since: str = ""
    node: str | None = None


@dataclass
class _Pack:
    """A packing: how far it is, when it began, and whether an event said so."""

    now: Packing
    begun: float
    said: bool = False


class Progress:
    """Follows a study and describes it at any time, from any thread.

    Args:
        book: The study's bookkeeping.
        events: What happened.
        results: The results directory, for display.
        slots: How many runs are executed at a time.
    """

    def __init__(self, book: CellBook, events: EventLog, *, results: str, slots: int) -> None:
        self._book = book
        self._events = events
        self._results = results
        self._slots = [Slot() for _ in range(slots)]
        self._started, self._clock = now_iso(), time.monotonic()
        self._finished_at: deque[float] = deque(maxlen=RECENT_RUNS)
        self._seconds: deque[float] = deque(maxlen=RECENT_RUNS)
        self._begun: dict[str, float] = {}
        self._packs: dict[str, _Pack] = {}
        self._lock = threading.Lock()
        self._done_before = sum(self._counts()[1:2])
        self.phase: str | None = None

    @property
    def runs_left(self) -> int:
        """How many runs are neither done nor recorded."""
        with self._book.lock:
            total, done, _, _ = self._counts()
        return total - done

    def packing(self, label: str, now: Packing) -> None:
        """Notes how far a packing is; one that lasts is an event, and so is its end."""
        with self._lock:
            pack = self._packs.setdefault(label, _Pack(now, time.monotonic()))
            pack.now = now
            lasts = not pack.said and time.monotonic() - pack.begun >= SAID_FROM_S
            ends = now.done == now.total and (pack.said or lasts)
            pack.said |= lasts
        if lasts:
            self._events.add("info", f"{label}: {now.total:,} images")
        if ends:
            self._events.add("info", f"{label}: done, {now.images_per_s:,.0f} images/s")

    def nodes(self, left: list[str], joined: list[str]) -> None:
        """Notes which nodes have left the cluster, and which have joined it."""
        for name in left:
            self._events.add("warning", f"node {name} has left the cluster: its runs go on elsewhere, within minutes")
        for name in joined:
            self._events.add("info", f"node {name} has joined the cluster")

    def started(self, run_id: str) -> None:
        """Notes that a run takes a slot."""
        run = self._book.runs[run_id]
        with self._lock:
            slot = next((slot for slot in self._slots if slot.run_id is None), None)
            if slot is None:
                slot = Slot()
                self._slots.append(slot)
            slot.run_id, slot.label, slot.since = run_id, run.label, now_iso()
            slot.epoch, slot.epochs, slot.images_per_s = 0, run.job.spec.train.epochs, None
            slot.node = None
            self._begun[run_id] = time.monotonic()

    def ticked(self, run_id: str, epoch: int, images_per_s: float | None, node: str | None = None) -> None:
        """Notes how far a run is, and on which node it is trained; of several, that of its first worker.

        After its last epoch a run is evaluated, at no speed of training.
        """
        with self._lock:
            for slot in self._slots:
                if slot.run_id == run_id:
                    speed = images_per_s if epoch < slot.epochs else None
                    slot.epoch, slot.images_per_s, slot.node = epoch, speed, node

    def ended(self, run_id: str) -> None:
        """Notes that a run leaves its slot."""
        with self._lock:
            for slot in self._slots:
                if slot.run_id == run_id:
                    slot.run_id, slot.label, slot.images_per_s, slot.node = None, "", None, None
            now = time.monotonic()
            if run_id in self._begun:
                self._seconds.append(now - self._begun.pop(run_id))
                self._finished_at.append(now)

    def snapshot(self) -> dict[str, Any]:
        """Returns the state, by the schema that `state.json` has."""
        with self._book.lock:
            cells = self._cells()
            prepare = self._prepare()
            total, done, running, failed = self._counts()
            selection = self._selection()
            phase = self.phase or self._phase(prepare, cells)
        with self._lock:
            slots = [{"slot": number, **vars(slot)} for number, slot in enumerate(self._slots)]
            throughput = self._throughput()
            remaining = self._remaining(total - done)
        study = self._book.study.loaded.study
        return {
            "schema_version": 1,
            "study": study.name,
            "phase": phase,
            "results": self._results,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": self._started,
            "updated": now_iso(),
            "elapsed_s": round(time.monotonic() - self._clock, 1),
            "remaining_s": remaining if phase in ("preparing", "searching", "finals") else None,
            "runs": {
                "total": total,
                "done": done,
                "running": running,
                "failed": failed,
                "recorded_before": self._done_before,
            },
            "prepare": prepare,
            "cells": cells,
            "missing": to_dicts(self._book.study.missing),
            "objective": {
                "metric": study.objective.metrics[0],
                "direction": study.direction,
                **({"second": study.objective.metrics[1]} if study.objective.metrics[1:] else {}),
            },
            "selection": selection,
            "slots": slots,
            "throughput": throughput,
            "events": self._events.newest(),
        }

    def _selection(self) -> str:
        cells = [(cell.resolved, cell.looks) for cell in self._book.cells]
        seen = [(one.cell.dataset.label, one.cell.backbone.label) for one, _ in cells if one.sight.seen]
        return selection_in_words(self._book.study.loaded.study, [looks for _, looks in cells], seen)

    def _phase(self, prepare: list[dict[str, Any]], cells: list[dict[str, Any]]) -> str:
        if any(item["state"] in ("waiting", "running") for item in prepare):
            return "preparing"
        if any(cell["state"] in ("waiting", "searching") for cell in cells):
            return "searching"
        return "finals"

    def _prepare(self) -> list[dict[str, Any]]:
        with self._lock:
            packs = [(label, pack.now) for label, pack in self._packs.items()]
        found: list[dict[str, Any]] = [
            {
                "run_id": None,
                "label": label,
                "state": "done" if now.done == now.total else "running",
                "done": now.done,
                "total": now.total,
                "images_per_s": round(now.images_per_s, 1),
            }
            for label, now in packs
        ]
        for run_id, run in self._book.runs.items():
            if any(consumer.role == "prepare" for consumer in run.consumers):
                failed = any(_lacks_pretraining(consumer.cell) for consumer in run.consumers)
                states = {"queued": "waiting", "running": "running", "done": "failed" if failed else "done"}
                found.append(
                    {"run_id": run_id, "label": run.label, "state": states[run.state], "metrics": run.last_metrics}
                )
        return found

    def _cells(self) -> list[dict[str, Any]]:
        """Returns all cells in the order of the study file, those that lack data or a checkpoint too."""
        training = self._training_finals()
        found = {cell.key: self._cell(cell, training[cell.key]) for cell in self._book.cells}
        found |= {missing.cell.key: _missing_cell(missing) for missing in self._book.study.missing}
        return [found[cell.key] for cell in self._book.study.loaded.cells if cell.key in found]

    def _cell(self, cell: StudyCell, training: int) -> dict[str, Any]:
        states = [trial.state for trial in cell.trials]
        objective = self._book.study.loaded.study.objective
        bests = [
            _best((trial.means[place] for trial in cell.trials if trial.means), direction)
            for place, direction in enumerate(objective.directions)
        ]
        scores = cell.test_scores
        return {
            **_identity(cell.resolved.cell),
            "state": self._cell_state(cell),
            "trials": {
                "total": cell.budget,
                "done": states.count("completed"),
                "running": states.count("running"),
                "pruned": states.count("pruned"),
                "failed": states.count("failed"),
            },
            "best": bests[0],
            **({"second_best": bests[1]} if bests[1:] else {}),
            "finals": {
                "total": cell.final_runs,
                "done": sum(final.score is not None for final in cell.finals),
                "running": training,
                "failed": sum(final.failed for final in cell.finals),
            },
            "mean": statistics.fmean(scores) if scores else None,
        }

    def _cell_state(self, cell: StudyCell) -> str:
        if cell.failure is not None:
            return "failed"
        if cell.settled:
            return "done"
        if cell.finals:
            return "finals"
        return "searching" if cell.trials else "waiting"

    def _training_finals(self) -> Counter[str]:
        """Returns how many final runs of each cell are under way, by its key; looks at each run once, for all cells."""
        running = (run for run in self._book.runs.values() if run.state == "running")
        cells = ({c.cell.key for c in run.consumers if c.role == "final"} for run in running)
        return Counter(key for keys in cells for key in keys)

    def _counts(self) -> tuple[int, int, int, int]:
        """Returns how many runs the study has in all, and how many of them are done, running, failed."""
        needed = {
            cell.resolved.pretraining.run_id for cell in self._book.cells if cell.resolved.pretraining is not None
        }
        total = len(needed) + sum(cell.budget * cell.runs_per_trial + cell.final_runs for cell in self._book.cells)
        runs = self._book.runs
        done = sum(run_id not in runs or runs[run_id].state == "done" for run_id in needed)
        failed = 0
        for cell in self._book.cells:
            done += sum(cell.runs_per_trial for trial in cell.trials if trial.state != "running")
            done += sum(final.score is not None or final.failed for final in cell.finals)
            failed += sum(trial.state == "failed" for trial in cell.trials) + sum(f.failed for f in cell.finals)
        running = sum(run.state == "running" for run in self._book.runs.values())
        return total, done, running, failed

    def _throughput(self) -> dict[str, Any]:
        images = sum(slot.images_per_s or 0.0 for slot in self._slots)
        nodes: dict[str, dict[str, Any]] = {}
        for slot in self._slots:
            if slot.node is not None:
                node = nodes.setdefault(slot.node, {"images_per_s": 0.0, "running": 0})
                node["images_per_s"] = round(node["images_per_s"] + (slot.images_per_s or 0.0), 1)
                node["running"] += 1
        times = self._finished_at
        span = time.monotonic() - times[0] if times else 0.0
        return {
            "images_per_s": round(images, 1),
            "runs_per_min": round(60 * len(times) / span, 1) if span > 1 and len(times) > 1 else 0.0,
            "nodes": nodes,
        }

    def _remaining(self, runs: int) -> float | None:
        if len(self._seconds) < 2:
            return None
        return round(runs * statistics.median(self._seconds) / max(1, len(self._slots)), 1)


def _best(values: Iterable[float], direction: Direction) -> float | None:
    """Returns the best of some values, or None where there is none."""
    return (max if direction == "max" else min)(values, default=None)


def _identity(cell: Cell) -> dict[str, Any]:
    labels = {"dataset": cell.dataset.label, "method": cell.method.label, "backbone": cell.backbone.label}
    return {"key": cell.key, **labels}


def _missing_cell(missing: MissingCell) -> dict[str, Any]:
    trials = dict.fromkeys(("total", "done", "running", "pruned", "failed"), 0)
    finals = dict.fromkeys(("total", "done", "running", "failed"), 0)
    blank = {"trials": trials, "best": None, "finals": finals, "mean": None}
    return {**_identity(missing.cell), "state": "missing", **blank}


def _lacks_pretraining(cell: StudyCell) -> bool:
    """Whether a cell failed for want of its pre-training; one whose trials all failed had it."""
    return cell.failure is not None and not (cell.trials and cell.searched)
