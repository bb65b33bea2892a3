"""The screen of a running study: from its state to what Rich draws. Pure functions, no input or output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coretune_cli.bar import pace
from coretune_cli.columns import Column, fitted
from coretune_cli.formats import clock, count, duration, plural, rate, score, seconds_between
from coretune_cli.state import CellState, Counts, Event, MissingState, PrepareState, SlotState, StudyState

Item = TypeVar("Item")

STYLES = {
    "preparing": "cyan",
    "searching": "cyan",
    "running": "cyan",
    "finals": "blue",
    "done": "green",
    "completed": "green",
    "failed": "bold red",
    "incomplete": "magenta",
    "interrupted": "magenta",
    "missing": "magenta",
    "pruned": "magenta",
    "waiting": "dim",
}
MARKS = {"warning": ("! ", "bold magenta"), "error": ("✗ ", "bold red")}
ACTIVITY = {"searching": 0, "finals": 0, "failed": 1, "done": 3, "waiting": 4, "missing": 5}
NEXT = 3
"""So many waiting cells stand before the finished ones where not all fit."""

WIDE = 110
NARROW = 64


@dataclass(frozen=True)
class Heights:
    """How many rows each part of the screen gets, without its head."""

    prepare: int
    missing: int
    cells: int
    slots: int
    events: int


def render(state: StudyState, *, width: int, height: int | None = None) -> RenderableType:
    """Draws a study.

    Args:
        state: What its driver says.
        width: Characters available.
        height: Lines available; None draws everything.
    """
    roomy = height is None or height >= 36
    prepare = [item for item in state.prepare if item.state != "done"]
    rows = allot(state, len(prepare), height, roomy=roomy)
    parts: list[list[RenderableType]] = [[title(state, width), progress(state, width)]]
    if rows.prepare:
        parts.append([preparing(prepare, rows.prepare)])
    if rows.missing:
        parts.append([missing(state.missing, rows.missing, whole=height is None)])
    if state.cells:
        parts.append([*cells(state, rows.cells, width), *selection(state, whole=height is None)])
    if state.slots and not state.ended:
        parts.append(list(slots(state, rows.slots, width)))
    if rows.events and state.events:
        parts.append([events(state.events, rows.events)])
    lines: list[RenderableType] = []
    for index, part in enumerate(parts):
        lines += [*([Text("")] if index and roomy else []), *part]
    return Group(*lines)


def allot(state: StudyState, prepare: int, height: int | None, *, roomy: bool) -> Heights:
    """Shares the lines of a terminal out: a little to every part, then to slots, cells and events in this order."""
    wanted = {
        "prepare": prepare,
        "missing": len(state.missing),
        "slots": 0 if state.ended else len(state.slots),
        "cells": len(state.cells),
        "events": min(len(state.events), 12 if roomy else 6),
    }
    if height is None:
        return Heights(**{**wanted, "events": min(len(state.events), 6)})
    heads = 2 + ((2 if state.selection else 1) if state.cells else 0) + (1 if wanted["slots"] else 0)
    gaps = sum(1 for rows in wanted.values() if rows) if roomy else 0
    left = height - heads - gaps
    given = dict.fromkeys(wanted, 0)
    for floor, names in (
        (
            {"prepare": 1, "cells": 4, "slots": 2, "events": 6 if roomy else 2, "missing": 1},
            ("cells", "slots", "events", "prepare", "missing"),
        ),
        (
            {"prepare": 4, "slots": max(4, height // 4), "cells": 10_000, "events": 12, "missing": 3},
            ("prepare", "slots", "missing", "cells", "events"),
        ),
        ({"prepare": 10_000, "slots": 10_000, "missing": 10_000}, ("slots", "prepare", "missing")),
    ):
        for name in names:
            more = max(0, min(wanted[name], floor.get(name, 0), given[name] + left) - given[name])
            given[name] += more
            left -= more
    return Heights(**given)


def title(state: StudyState, width: int) -> RenderableType:
    """Draws the first line: the study and its phase, and the time."""
    narrow = width < NARROW
    left = Text.assemble((state.study, "bold"), "  ", (state.phase, STYLES.get(state.phase, "")), overflow="ellipsis")
    times = duration(state.elapsed_s) + ("" if narrow else " elapsed")
    if state.remaining_s is not None and not state.ended:
        times += f" · about {duration(state.remaining_s)} left"
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    grid.add_row(left, Text(times, style="dim"))
    return grid


def progress(state: StudyState, width: int) -> RenderableType:
    """Draws the second line: a bar of all runs, their counts, and the throughput."""
    runs = state.runs
    words = [(f"{runs.done:,}/{runs.total:,} runs", "")]
    words += [(f"{runs.running:,} running", "cyan")] if runs.running else []
    words += [(f"{runs.failed:,} failed", "bold red")] if runs.failed else []
    if width >= WIDE and runs.recorded_before:
        words.append((f"{runs.recorded_before:,} recorded before", "dim"))
    if not state.ended:
        if width >= NARROW and state.images_per_s:
            words.append((f"{rate(state.images_per_s)} images/s", "dim"))
        if width >= WIDE and state.runs_per_min:
            words.append((f"{rate(state.runs_per_min)} runs/min", "dim"))
    text = Text(" · ", style="dim").join(Text(*word) for word in words)
    grid = Table.grid(padding=(0, 2, 0, 0))
    room = max(8, min(48, width - text.cell_len - 2))
    grid.add_column(width=room)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(bar(runs.done + runs.failed, runs.total, room), text)
    return grid


def bar(done: float, total: float, width: int) -> ProgressBar:
    """Draws how much of something is done."""
    shown = max(total, 1)
    return ProgressBar(
        total=shown,
        completed=min(done, shown),
        width=width,
        style="bright_black",
        complete_style="cyan",
        finished_style="green",
    )


def preparing(items: Sequence[PrepareState], rows: int) -> RenderableType:
    """Draws what the cells wait for; the last line folds what does not fit."""
    shown, folded = fold(items, rows, rank=lambda item: 0 if item.state == "running" else 1)
    lines = [
        Text.assemble(
            ("prepare  ", "dim"), item.label, "  ", state_text(item.state), figures(item.metrics), *packing(item)
        )
        for item in shown
    ]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines, *([folded_line(folded, lambda item: item.state)] if folded else []))


def packing(item: PrepareState) -> tuple[str, ...]:
    """Writes how far a packing is; nothing of anything else, and nothing once it is done."""
    if item.state != "running" or not item.total:
        return ()
    words = (f"{item.done:,} of {item.total:,} images", pace(item.total - item.done, item.images_per_s or 0.0))
    return "  ", ", ".join(filter(None, words))


def missing(items: Sequence[MissingState], rows: int, *, whole: bool) -> RenderableType:
    """Draws what is not there, a line each, whole or cut at the end of the line."""
    shown, folded = fold(items, rows, rank=lambda item: -item.cells)
    lines = [Text.assemble(("missing  ", STYLES["missing"]), item.text) for item in shown]
    for line in lines if not whole else ():
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines, *([folded_line(folded, lambda item: "missing")] if folded else []))


def figures(metrics: Mapping[str, float]) -> str:
    """Writes metrics as they come: `  knn_top1 63.2`."""
    return "".join(f"  {name} {score(value, name)}" for name, value in metrics.items())


def cells(state: StudyState, rows: int, width: int) -> list[RenderableType]:
    """Draws the table of cells; where it is too long, active ones come first and the rest is folded."""
    upcoming = [cell.key for cell in state.cells if cell.state == "waiting"][:NEXT]
    shown, folded = fold(
        state.cells, rows, rank=lambda cell: 2 if cell.key in upcoming else ACTIVITY.get(cell.state, 1)
    )
    parts: list[RenderableType] = [fitted(cell_columns(state, width), shown, width, sized_by=state.cells)]
    if folded:
        parts.append(folded_line(folded, lambda cell: cell.state))
    return parts


def selection(state: StudyState, *, whole: bool) -> list[Text]:
    """Draws what stands beside figures of the test part, whole or cut at the end of the line; nothing for the usual."""
    if not state.selection:
        return []
    line = Text.assemble(("selection  ", "dim"), state.selection)
    if not whole:
        line.no_wrap, line.overflow = True, "ellipsis"
    return [line]


def cell_columns(state: StudyState, width: int) -> list[Column[CellState]]:
    """Returns the columns of the table of cells; what all cells share is left out where room is scarce."""

    def varies(name: str) -> bool:
        return width >= WIDE or len({getattr(cell, name) for cell in state.cells}) > 1

    wide = width >= WIDE
    anything_failed = any(cell.trials.failed or cell.finals.failed for cell in state.cells)
    identity: list[Column[CellState]] = [
        Column("data set", lambda cell: cell.dataset, least=6),
        Column("method", lambda cell: cell.method, least=6),
        Column("backbone", lambda cell: cell.backbone, least=6),
    ]
    names = ("dataset", "method", "backbone")
    kept = [column for column, name in zip(identity, names, strict=True) if name == "method" or varies(name)]
    failed = Column[CellState](
        "failed", lambda cell: Text(count(cell.trials.failed + cell.finals.failed), style="red"), 2, "right"
    )
    second = Column[CellState](
        state.second_metric, lambda cell: score(cell.second_best, state.second_metric), 0, "right"
    )
    return [
        *kept,
        Column("state", lambda cell: state_text(cell.state), fixed=9),
        Column("", lambda cell: bar(cell.trials.settled, cell.trials.total, 12), 9, fixed=12),
        Column("trials", lambda cell: share(cell, cell.trials), justify="right"),
        Column("running", lambda cell: count(cell.trials.running + cell.finals.running), 7, "right"),
        Column("pruned", lambda cell: count(cell.trials.pruned), 8, "right"),
        *([failed] if anything_failed else []),
        Column("best (val)" if wide else "val", lambda cell: score(cell.best, state.metric), 0, "right", fixed=5),
        *([second] if state.second_metric else []),
        Column("finals", lambda cell: share(cell, cell.finals), 1, "right"),
        Column(
            "mean (test)" if wide else "test",
            lambda cell: Text(score(cell.mean, state.metric), style="bold"),
            1,
            "right",
            fixed=5,
        ),
    ]


def share(cell: CellState, counts: Counts) -> str:
    """Writes how many of a cell's runs are done; nothing for a cell that cannot be run."""
    return "" if cell.state == "missing" else f"{counts.done}/{counts.total}"


def slots(state: StudyState, rows: int, width: int) -> list[RenderableType]:
    """Draws what runs where."""
    shown, folded = fold(state.slots, rows, rank=lambda slot: 0 if slot.run_id else 1)
    length = 20 if width >= WIDE else 10
    columns: list[Column[SlotState]] = [
        Column("slot", lambda slot: str(slot.slot), 0, "right"),
        Column("run", lambda slot: slot.label if slot.run_id else Text("idle", style="dim"), least=16),
        Column("", lambda slot: bar(slot.epoch, slot.epochs, length) if slot.run_id else "", 3, fixed=length),
        Column("epoch", lambda slot: f"{slot.epoch}/{slot.epochs}" if slot.run_id else "", 0, "right", fixed=7),
        Column("images/s", speed_text, 1, "right"),
        Column("time", lambda slot: running_for(slot, state), 2, "right", fixed=6),
    ]
    parts: list[RenderableType] = [fitted(columns, shown, width, sized_by=state.slots)]
    if folded:
        parts.append(folded_line(folded, lambda slot: "busy" if slot.run_id else "idle"))
    return parts


def speed_text(slot: SlotState) -> str:
    """Writes how fast a slot's run is trained, or that it is evaluated."""
    if slot.evaluating:
        return "evaluating"
    return rate(slot.images_per_s) if slot.run_id else ""


def running_for(slot: SlotState, state: StudyState) -> str:
    """Writes for how long a slot's run has been running."""
    return duration(seconds_between(slot.since, state.updated)) if slot.run_id else ""


def events(items: Sequence[Event], rows: int) -> RenderableType:
    """Draws the newest events, oldest of them first."""
    return Group(*(event_text(event) for event in items[-rows:]))


def event_text(event: Event) -> Text:
    """Draws one event on one line."""
    mark, style = MARKS.get(event.level, ("", ""))
    line = Text.assemble((clock(event.time), "dim"), "  ", (mark, style), event.text)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def state_text(state: str) -> Text:
    """Draws a state: the word says it, the colour only repeats it."""
    return Text(state, style=STYLES.get(state, ""))


def fold(items: Sequence[Item], rows: int, *, rank: Callable[[Item], int]) -> tuple[list[Item], list[Item]]:
    """Divides items into those shown and those folded into one line.

    All stand in their own order if they fit; else those of the lowest rank come first, and one row is the fold's.
    """
    if len(items) <= rows:
        return list(items), []
    ordered = sorted(items, key=rank)
    kept = max(0, rows - 1)
    return ordered[:kept], ordered[kept:]


def folded_line(folded: Sequence[Item], word: Callable[[Item], str]) -> Text:
    """Draws what was folded: how many, in which states."""
    tally = Counter(word(item) for item in folded)
    said = ", ".join(f"{number:,} {state}" for state, number in tally.most_common())
    return Text(f"… {len(folded):,} more: {said}", style="dim", no_wrap=True, overflow="ellipsis")


def summary(state: StudyState) -> str:
    """Writes where a study stands in one line, for logs and pipes."""
    runs = state.runs
    parts = ["".join((item.label, *packing(item))) for item in state.prepare if packing(item) and not state.ended]
    parts += [f"{runs.done:,} of {plural(runs.total, 'run')} done"]
    parts += [f"{runs.running} running"] if runs.running else []
    evaluating = 0 if state.ended else sum(slot.evaluating for slot in state.slots)
    parts += [f"{evaluating} being evaluated"] if evaluating else []
    parts += [f"{runs.failed} failed"] if runs.failed else []
    lacking = sum(cell.state == "missing" for cell in state.cells)
    parts += [f"{plural(lacking, 'cell')} missing"] if lacking else []
    if not state.ended and state.images_per_s:
        parts.append(f"{rate(state.images_per_s)} images/s")
    parts.append(f"{duration(state.elapsed_s)} elapsed")
    if state.remaining_s is not None and not state.ended:
        parts.append(f"about {duration(state.remaining_s)} left")
    best = "" if state.ended else best_text(state)
    return f"{state.phase}: " + ", ".join(parts) + (f"; {best}" if best else "")


def best_text(state: StudyState) -> str:
    """Writes the best validation score of each active cell, the first three of them."""
    known = [cell for cell in state.cells if cell.best is not None and cell.state in ("searching", "finals")]
    return ", ".join(f"{cell.key} best {best_scores(cell, state)} (val)" for cell in known[:3])


def best_scores(cell: CellState, state: StudyState) -> str:
    """Writes a cell's best validation score, where there are two objectives the best by each."""
    first = score(cell.best, state.metric)
    if not state.second_metric:
        return first
    return f"{state.metric} {first}, {state.second_metric} {score(cell.second_best, state.second_metric)}"
