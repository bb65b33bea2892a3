"""What Tune's loop asks at each step: whether it is worth going on."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.driving import make_book, resolved

from coretune.study.adapters import Abandoned, Watchman


class Watch:
    death: str | None = None


def test_a_dead_cluster_is_left_at_once(root: Path) -> None:
    book, watch = make_book(resolved(), root), Watch()
    man = Watchman(book, watch)  # type: ignore[arg-type]
    man.on_step_begin(0, [])
    watch.death = "no node is alive"
    with pytest.raises(Abandoned):
        man.on_step_begin(1, [])
    assert book.broken is not None and "no node is alive; what is recorded is safe" in str(book.broken)
    assert book.finished


def test_a_stop_is_waited_for_but_not_for_ever(root: Path) -> None:
    now = 0.0
    book = make_book(resolved(), root)
    man = Watchman(book, Watch(), patience_s=10, clock=lambda: now)  # type: ignore[arg-type]
    now = 100.0
    man.on_step_begin(0, [])
    book.stop("interrupted")
    man.on_step_begin(1, [])
    now = 109.0
    man.on_step_begin(2, [])
    now = 110.5
    with pytest.raises(Abandoned):
        man.on_step_begin(3, [])
    assert book.broken is None, "an interruption is no fault"
