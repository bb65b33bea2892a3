from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from coretune.data.sources.pickles import read_pickle
from coretune.errors import UnfitError


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize("protocol", range(2, 5))
@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_plain_values_and_arrays_come_back(protocol: int, module: bytes, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, (3, 5), dtype=np.uint8)
    content = pickle.dumps({b"data": data, b"labels": [1, 2], b"names": [b"a", b"\xe9"], b"n": 7}, protocol=protocol)
    if protocol == 2:
        content = content.replace(b"numpy._core.multiarray", module)
    (tmp_path / "batch").write_bytes(content)
    found = read_pickle(tmp_path / "batch")
    np.testing.assert_array_equal(found["data"], data)
    assert (found["labels"], found["names"], found["n"]) == ([1, 2], ["a", "é"], 7)


def test_nothing_that_a_pickle_names_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batch").write_bytes(pickle.dumps({b"data": Hostile()}))
    with pytest.raises(UnfitError, match=r"batch: is no pickle of CIFAR: it names posix\.mkdir, which is not run"):
        read_pickle(tmp_path / "batch")
    assert not (tmp_path / "made-by-a-pickle").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"\x80\x02", "is no pickle of CIFAR"),
        (pickle.dumps([1]), "holds a list, not a dictionary"),
        (pickle.dumps({b"data": np.zeros(3)}), "an array that is not of bytes, row by row"),
        (pickle.dumps({b"data": np.zeros((2, 2), dtype=np.uint8, order="F")}), "an array that is not of bytes"),
    ],
)
def test_what_is_no_batch(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(UnfitError, match=said):
        read_pickle(tmp_path / "batch")


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="No such file"):
        read_pickle(tmp_path / "batch")
