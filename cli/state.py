"""`state.json` as types: what the driver of a study says about itself, read leniently.

A value that is missing or of another type counts as not said, so that one odd field cannot blank the screen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 1
ENDED = ("done", "incomplete", "interrupted", "failed")


@dataclass(frozen=True)
class Counts:
    """How many of something are in which state."""

    total: int = 0
    done: int = 0
    running: int = 0
    pruned: int = 0
    failed: int = 0
    recorded_before: int = 0

    @property
    def settled(self) -> int:
        """How many have come to an end, whichever."""
        return self.done + self.pruned + self.failed


@dataclass(frozen=True)
class CellState:
    """One cell: its search (`trials`, `best` on the validation part) and its final runs (`mean` on the test part)."""

    key: str
    dataset: str
    method: str
    backbone: str
    state: str
    trials: Counts
    best: float | None
    finals: Counts
    mean: float | None
    second_best: float | None = None
    """Where the front of two objectives is searched, the best by the second of them; `best` is by the first."""


@dataclass(frozen=True)
class PrepareState:
    """A pre-training or a packing that cells wait for."""

    label: str
    state: str
    run_id: str | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The newest that it reported, by name."""
    done: int = 0
    total: int = 0
    images_per_s: float | None = None


@dataclass(frozen=True)
class MissingState:
    """Data or a checkpoint that is not there: one line about it, and how many cells lack it."""

    text: str
    cells: int


@dataclass(frozen=True)
class SlotState:
    """One slot, and the run in it, if any."""

    slot: int
    run_id: str | None
    label: str
    epoch: int
    epochs: int
    images_per_s: float | None
    since: str

    @property
    def evaluating(self) -> bool:
        """Whether its run has trained its last epoch: what is left is its evaluations and its record."""
        return self.run_id is not None and 0 < self.epochs <= self.epoch


@dataclass(frozen=True)
class Event:
    """Something that happened."""

    time: str
    level: str
    text: str


@dataclass(frozen=True)
class StudyState:
    """All that the driver says; the live screen, `status` and `watch` draw from this."""

    study: str
    phase: str
    results: str
    pid: int
    host: str
    started: str
    updated: str
    elapsed_s: float | None
    remaining_s: float | None
    runs: Counts
    prepare: tuple[PrepareState, ...]
    cells: tuple[CellState, ...]
    missing: tuple[MissingState, ...]
    metric: str
    second_metric: str
    direction: str
    selection: str
    """What stands beside the figures of the test part; empty where they are of last epochs, chosen by validation."""
    slots: tuple[SlotState, ...]
    images_per_s: float | None
    runs_per_min: float | None
    events: tuple[Event, ...]

    @property
    def ended(self) -> bool:
        """Whether the driver said that it is through."""
        return self.phase in ENDED


def parse_state(raw: Any) -> StudyState:
    """Reads the value of a `state.json`.

    Raises:
        ValueError: It is no state at all, or one of a newer coretune.
    """
    if not isinstance(raw, Mapping) or "phase" not in raw:
        raise ValueError("it is no state of a study")
    version = raw.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise ValueError(f"it has schema {version!r}, this coretune reads {SCHEMA_VERSION}")
    objective, throughput = _mapping(raw, "objective"), _mapping(raw, "throughput")
    return StudyState(
        study=_text(raw, "study", "?"),
        phase=_text(raw, "phase", "?"),
        results=_text(raw, "results"),
        pid=_whole(raw, "pid"),
        host=_text(raw, "host"),
        started=_text(raw, "started"),
        updated=_text(raw, "updated"),
        elapsed_s=_number(raw, "elapsed_s"),
        remaining_s=_number(raw, "remaining_s"),
        runs=_counts(raw, "runs"),
        prepare=tuple(
            PrepareState(
                _text(item, "label", "?"),
                _text(item, "state", "?"),
                _text(item, "run_id") or None,
                _numbers(item, "metrics"),
                _whole(item, "done"),
                _whole(item, "total"),
                _number(item, "images_per_s"),
            )
            for item in _items(raw, "prepare")
        ),
        cells=tuple(_cell(item) for item in _items(raw, "cells")),
        missing=tuple(
            MissingState(one_line(_text(item, "text", "?")), _whole(item, "cells")) for item in _items(raw, "missing")
        ),
        metric=_text(objective, "metric", "top1"),
        second_metric=_text(objective, "second"),
        direction=_text(objective, "direction", "max"),
        selection=one_line(_text(raw, "selection")),
        slots=tuple(_slot(item) for item in _items(raw, "slots")),
        images_per_s=_number(throughput, "images_per_s"),
        runs_per_min=_number(throughput, "runs_per_min"),
        events=tuple(
            Event(_text(item, "time"), _text(item, "level", "info"), one_line(_text(item, "text")))
            for item in _items(raw, "events")
        ),
    )


def one_line(text: str) -> str:
    """Returns a text on one line, without control characters that could move a terminal's cursor."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _cell(raw: Mapping[str, Any]) -> CellState:
    return CellState(
        key=_text(raw, "key", "?"),
        dataset=_text(raw, "dataset", "?"),
        method=_text(raw, "method", "?"),
        backbone=_text(raw, "backbone", "?"),
        state=_text(raw, "state", "?"),
        trials=_counts(raw, "trials"),
        best=_number(raw, "best"),
        finals=_counts(raw, "finals"),
        mean=_number(raw, "mean"),
        second_best=_number(raw, "second_best"),
    )


def _slot(raw: Mapping[str, Any]) -> SlotState:
    return SlotState(
        slot=_whole(raw, "slot"),
        run_id=_text(raw, "run_id") or None,
        label=one_line(_text(raw, "label")),
        epoch=_whole(raw, "epoch"),
        epochs=_whole(raw, "epochs"),
        images_per_s=_number(raw, "images_per_s"),
        since=_text(raw, "since"),
    )


def _counts(raw: Mapping[str, Any], key: str) -> Counts:
    inner = _mapping(raw, key)
    return Counts(**{name: max(0, _whole(inner, name)) for name in Counts.__dataclass_fields__})


def _text(raw: Mapping[str, Any], key: str, default: str = "") -> str:
    value = raw.get(key)
    return value if isinstance(value, str) else default


def _number(raw: Mapping[str, Any], key: str) -> float | None:
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _numbers(raw: Mapping[str, Any], key: str) -> dict[str, float]:
    inner = _mapping(raw, key)
    found = {str(name): _number(inner, name) for name in inner}
    return {name: value for name, value in found.items() if value is not None}


def _whole(raw: Mapping[str, Any], key: str) -> int:
    value = _number(raw, key)
    return int(value) if value is not None else 0


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}


def _items(raw: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    value = raw.get(key)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
