from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coretune.errors import StorageError
from coretune.runs.state import MAGIC, RunState, load_state, save_state

torch.set_num_threads(1)
RUN = "0123456789abcdef"


def state() -> RunState:
    return RunState({"epoch": 3, "weights": {"a": torch.arange(5.0)}, "best": None}, "2026-01-01", 12.5, ("a note",))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state", RUN) is None
    save_state(tmp_path / "state", RUN, state())
    found = load_state(tmp_path / "state", RUN)
    assert found is not None
    assert (found.started, found.elapsed_s, found.notes) == ("2026-01-01", 12.5, ("a note",))
    assert torch.equal(found.training["weights"]["a"], torch.arange(5.0))
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["state.pt"]


@settings(max_examples=60)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_any_flipped_bit_and_any_cut_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, where: float, bit: int, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("state")
    save_state(folder, RUN, state())
    path = folder / "state.pt"
    content = bytearray(path.read_bytes())
    place = int(where * len(content))
    content[place] ^= 1 << bit
    path.write_bytes(content[:place] if cut else content)
    with pytest.raises(ValueError, match=r"state\.pt is damaged"):
        load_state(folder, RUN)


def test_a_foreign_state_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, RUN, state())
    with pytest.raises(ValueError, match=f"the state of run {RUN}, not of ffff"):
        load_state(tmp_path, "ffff")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


@pytest.mark.parametrize(
    "payload",
    [{"run": RUN}, {"run": RUN, "training": {}, "other": 1}, [1], Evil()],
    ids=["no training", "something else", "a list", "code"],
)
def test_what_is_no_state_is_refused_and_nothing_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payload: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    import hashlib
    import io

    buffer = io.BytesIO()
    torch.save(payload, buffer)
    content = buffer.getvalue()
    (tmp_path / "state.pt").write_bytes(MAGIC + hashlib.sha256(content).digest() + content)
    with pytest.raises(ValueError, match="no state of a run"):
        load_state(tmp_path, RUN)
    assert not (tmp_path / "executed").exists()


def test_a_file_in_the_place_of_the_folder_is_damage(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("x")
    with pytest.raises(ValueError, match="no file"):
        load_state(tmp_path / "state", RUN)


def test_an_unreadable_disk_is_an_error_of_the_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    save_state(tmp_path, RUN, state())
    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(StorageError, match=r"state\.pt: Input/output error"):
        load_state(tmp_path, RUN)


def test_a_full_disk_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_state(tmp_path, RUN, state())

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        save_state(tmp_path, RUN, RunState({}, "", 0.0))
    found = load_state(tmp_path, RUN)
    assert found is not None
    assert found.elapsed_s == 12.5
