from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from coretune_cli.screen import render
from coretune_cli.state import parse_state

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_reads_what_the_driver_says(quick: dict[str, Any]) -> None:
    state = parse_state(quick)
    assert (state.study, state.phase, state.pid, state.host) == ("quickstart", "searching", 4242, "node-1")
    assert state.runs.total == 29 and state.runs.recorded_before == 3
    assert state.cells[1].trials.pruned == 1 and state.cells[1].mean is None
    assert state.slots[1].run_id is None
    assert not state.ended and parse_state({**quick, "phase": "interrupted"}).ended


@pytest.mark.parametrize("raw", [None, [], "text", 3, {}, {"study": "x"}])
def test_refuses_what_is_no_state(raw: Any) -> None:
    with pytest.raises(ValueError, match="no state"):
        parse_state(raw)


def test_refuses_a_newer_schema(quick: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="schema 2"):
        parse_state({**quick, "schema_version": 2})


def test_an_odd_field_does_not_hide_the_rest(quick: dict[str, Any]) -> None:
    odd = copy.deepcopy(quick)
    odd |= {"elapsed_s": "long", "runs": [], "slots": {"a": 1}, "remaining_s": float("nan"), "events": [3, None]}
    odd["cells"][0]["best"] = True
    state = parse_state(odd)
    assert (state.elapsed_s, state.remaining_s, state.runs.total, state.slots, state.events) == (None, None, 0, (), ())
    assert state.cells[0].best is None and state.cells[1].best == 78.26


def test_control_characters_cannot_move_the_cursor(quick: dict[str, Any]) -> None:
    quick["events"] = [{"time": "", "level": "info", "text": "a\x1b[2Jb\nc\td"}]
    assert parse_state(quick).events[0].text == "a [2Jb c d"


@settings(max_examples=40)
@given(data=st.data())
def test_any_value_anywhere_is_drawn(data: st.DataObject) -> None:
    keys = ("study", "runs", "prepare", "cells", "objective", "slots", "throughput", "events", "elapsed_s", "updated")
    inner = st.fixed_dictionaries(
        {},
        optional={
            name: JSON
            for name in (
                "state",
                "trials",
                "finals",
                "best",
                "label",
                "text",
                "since",
                "run_id",
                "epoch",
                "epochs",
                "dataset",
            )
        },
    )
    raw = {"phase": "searching", **{key: data.draw(JSON | st.lists(inner, max_size=3), label=key) for key in keys}}
    Console(width=80, record=True, quiet=True).print(render(parse_state(raw), width=80, height=24))
