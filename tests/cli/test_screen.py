from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from coretune_cli.screen import allot, fold, render, summary
from coretune_cli.state import parse_state

Golden = Callable[[str, str], None]


def drawn(raw: dict[str, Any], width: int, height: int | None) -> str:
    out = Console(
        width=width, record=True, force_terminal=False, file=io.StringIO(), markup=False, highlight=False, emoji=False
    )
    out.print(render(parse_state(raw), width=width, height=height))
    return out.export_text(styles=False)


@pytest.mark.parametrize("width", [50, 80, 140])
def test_quickstart(width: int, quick: dict[str, Any], golden: Golden) -> None:
    golden(f"quick_{width}", drawn(quick, width, 24 if width < 100 else 45))


@pytest.mark.parametrize("width", [80, 140])
def test_nine_by_nine(width: int, nine: dict[str, Any], golden: Golden) -> None:
    golden(f"nine_{width}", drawn(nine, width, 23 if width < 100 else 44))


def test_what_a_pretraining_says_of_itself_stands_beside_it(quick: dict[str, Any]) -> None:
    (item,) = quick["prepare"]
    text = drawn({**quick, "prepare": [{**item, "metrics": {"knn_top1": 63.24, "odd": "x"}}]}, 80, None)
    assert "moco_v2 moco_small on digits  running  knn_top1 63.2\n" in text


def test_a_study_that_is_done_has_no_slots_and_no_remaining_time(quick: dict[str, Any]) -> None:
    text = drawn({**quick, "phase": "done"}, 80, None)
    assert "slot" not in text and "left" not in text and "images/s" not in text


@pytest.mark.parametrize("height", [6, 10, 16, 23, 30, 36, 44, 60, 100])
@pytest.mark.parametrize("width", [40, 80, 140])
def test_fits_the_terminal(height: int, width: int, nine: dict[str, Any], quick: dict[str, Any]) -> None:
    for raw in (nine, quick):
        lines = drawn(raw, width, height).rstrip("\n").splitlines()
        assert len(lines) <= max(height, 8)
        assert max(map(len, lines)) <= width


def test_active_cells_are_always_shown_and_finished_ones_are_counted(nine: dict[str, Any]) -> None:
    text = drawn(nine, 80, 23)
    active = [cell for cell in nine["cells"] if cell["state"] in ("searching", "finals")]
    assert active
    for cell in active:
        assert any(line.split()[:2] == [cell["dataset"], cell["method"]] for line in text.splitlines())
    assert "done" in text.partition("more: ")[2]


def test_cells_keep_the_order_of_the_study_where_all_fit(nine: dict[str, Any]) -> None:
    lines = drawn(nine, 140, 200).splitlines()
    places = [
        next(i for i, line in enumerate(lines) if line.split()[:2] == [c["dataset"], c["method"]])
        for c in nine["cells"]
    ]
    assert places == sorted(places)


def test_a_front_shows_the_best_by_each_of_its_objectives(quick: dict[str, Any]) -> None:
    cells = [{**cell, "state": "searching", "second_best": 41.25} for cell in quick["cells"]]
    raw = {**quick, "cells": cells, "objective": {"metric": "top1", "direction": "max", "second": "robust_top1"}}
    text = drawn(raw, 80, None)
    assert "robust_top1" in text and text.count("41.2") >= len(cells)
    assert f"best top1 {cells[0]['best']:.1f}, robust_top1 41.2 (val)" in summary(parse_state(raw))
    assert "robust_top1" not in drawn(quick, 80, None)


def test_what_stands_beside_figures_of_the_test_part_stands_below_them(quick: dict[str, Any]) -> None:
    rule = "oracle: chosen by 8 looks at the held-out domain; best epoch on the held-out domain"
    text = drawn({**quick, "selection": rule}, 110, None)
    assert f"selection  {rule}" in text.splitlines()
    for height in (24, 40):
        lines = drawn({**quick, "selection": rule}, 64, height).splitlines()
        assert len(lines) <= height and any(line.startswith("selection  oracle: chosen by 8 looks") for line in lines)
    assert "selection" not in drawn(quick, 110, None)


def lacking(raw: dict[str, Any]) -> dict[str, Any]:
    blank = {"state": "missing", "trials": {"total": 0}, "best": None, "finals": {"total": 0}, "mean": None}
    cells = [{**cell, **blank} if cell["dataset"] in ("dtd", "cars") else cell for cell in raw["cells"]]
    texts = [f"data set {name} is missing: no folder; to get it: unpack {name}.tgz" for name in ("dtd", "cars")]
    return {**raw, "cells": cells, "missing": [{"text": text, "cells": 9} for text in texts]}


def test_what_is_missing_is_told_with_its_cells(nine: dict[str, Any]) -> None:
    text = drawn(lacking(nine), 140, None)
    assert text.count("missing  data set") == 2 and "unpack dtd.tgz" in text
    row = next(line for line in text.splitlines() if line.split()[:2] == ["cars", "bss"])
    assert row.split()[2:4] == ["resnet50", "missing"] and "0/0" not in row
    assert "18 cells missing" in summary(parse_state(lacking(nine)))
    whole = lacking(nine) | {"missing": [{"text": "word " * 60 + "end", "cells": 1}]}
    assert "end" in drawn(whole, 80, None) and "end" not in drawn(whole, 80, 40)


def test_missing_cells_give_way_to_all_others(nine: dict[str, Any]) -> None:
    for height in (16, 23, 30, 44):
        text = drawn(lacking(nine), 80, height)
        lines = text.rstrip("\n").splitlines()
        assert len(lines) <= height and "18 missing" in text
        assert not any(line.startswith(("dtd", "cars")) for line in lines)


def test_labels_are_no_markup(quick: dict[str, Any]) -> None:
    quick["cells"][0]["method"] = "[red]ce[/red]"
    text = drawn(quick, 140, 45)
    assert "[red]ce[/red]" in text and "[bold]diverged[/]" in text


def test_no_colour_is_needed(quick: dict[str, Any]) -> None:
    out = Console(width=80, file=io.StringIO(), force_terminal=True, no_color=True, color_system="truecolor")
    out.print(render(parse_state(quick), width=80, height=24))
    assert isinstance(out.file, io.StringIO)
    assert "\x1b[3" not in out.file.getvalue() and "searching" in out.file.getvalue()


@given(prepare=st.integers(0, 80), height=st.integers(0, 90), roomy=st.booleans(), count=st.integers(0, 40))
def test_allot_gives_no_more_than_is_wanted_or_there(prepare: int, height: int, roomy: bool, count: int) -> None:
    raw = {
        "phase": "searching",
        "cells": [{"key": str(number)} for number in range(count)],
        "slots": [{"slot": number} for number in range(count // 2)],
        "events": [{"text": str(number)} for number in range(count)],
    }
    rows = allot(parse_state(raw), prepare, height, roomy=roomy)
    assert 0 <= rows.prepare <= prepare and 0 <= rows.cells <= count and 0 <= rows.slots <= count // 2
    assert 0 <= rows.events <= count
    assert rows.prepare + rows.cells + rows.slots + rows.events <= max(0, height - 2)


def test_fold_shows_what_ranks_first() -> None:
    assert fold([3, 1, 2], 3, rank=lambda item: item) == ([3, 1, 2], [])
    assert fold([3, 1, 2, 0], 3, rank=lambda item: item) == ([0, 1], [2, 3])
    assert fold([3, 1], 0, rank=lambda item: item) == ([], [1, 3])


def test_a_run_after_its_last_epoch_is_being_evaluated(quick: dict[str, Any]) -> None:
    slot = next(slot for slot in quick["slots"] if slot["run_id"])
    slot |= {"epoch": slot["epochs"], "images_per_s": None}
    text = drawn(quick, 140, 45)
    assert "evaluating" in text and f"{slot['epochs']}/{slot['epochs']}" in text
    assert ", 2 running, 1 being evaluated, 1 failed, " in summary(parse_state(quick))
    assert "being evaluated" not in summary(parse_state({**quick, "phase": "done"}))


def test_summary(quick: dict[str, Any]) -> None:
    assert summary(parse_state(quick)) == (
        "searching: 11 of 29 runs done, 2 running, 1 failed, 820 images/s, 1m12s elapsed, about 48s left; "
        "digits--ce--moco_small best 76.5 (val), digits--core_tuning--moco_small best 78.3 (val)"
    )
    ended = {**quick, "phase": "done", "cells": []}
    assert summary(parse_state(ended)) == "done: 11 of 29 runs done, 2 running, 1 failed, 1m12s elapsed"


def test_a_packing_shows_how_far_it_is(quick: dict[str, Any]) -> None:
    pack = {"label": "pack pacs at 96 px", "state": "running", "done": 4000, "total": 10000, "images_per_s": 2000.0}
    said = "4,000 of 10,000 images, 2,000 images/s, about 3s left"
    quick |= {"phase": "preparing", "prepare": [pack, *quick["prepare"]]}
    assert f"prepare  pack pacs at 96 px  running  {said}" in drawn(quick, 140, 45)
    assert summary(parse_state(quick)).startswith(f"preparing: pack pacs at 96 px  {said}, 11 of 29 runs done")
    quick["prepare"] = [{**pack, "state": "done", "done": 10000}]
    assert "pacs" not in drawn(quick, 140, 45) + summary(parse_state(quick))
