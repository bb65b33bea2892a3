from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from coretune.data.source import UNDECIDED
from coretune.data.sources.digits import Digits
from coretune.errors import UnfitError
from coretune.spec.components import NoParameters

PARAMS = NoParameters()


def test_it_is_what_scikit_learn_loads() -> None:
    source, reference = Digits(None, PARAMS), load_digits()
    np.testing.assert_array_equal(source.labels, reference.target)
    images = np.stack([source.image(i) for i in range(len(source.names))])
    np.testing.assert_array_equal(images[..., 0], np.round(reference.images * 255 / 16 + 1e-9).astype(np.uint8))
    assert (images == images[..., :1]).all()
    assert (images.min(), images.max()) == (0, 255)


def test_names_and_parts() -> None:
    source = Digits(None, PARAMS)
    assert len(source.names) == 1797
    assert source.names[42] == "digits/00042"
    assert (source.parts == UNDECIDED).all()
    assert source.classes == tuple("0123456789")
    assert [name for name, _ in source.files()] == ["digits.csv.gz"]


def test_scikit_learn_and_torch_are_not_imported() -> None:
    code = (
        "import sys; from coretune.data.sources.digits import Digits;"
        "from coretune.spec.components import NoParameters;"
        "Digits(None, NoParameters()).image(3); print([m for m in ('sklearn', 'torch', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain text",
        gzip.compress(b"1,2,3\n", mtime=0),
        gzip.compress(b"a," * 64 + b"1\n", mtime=0),
        gzip.compress(b"17," * 64 + b"1\n", mtime=0),
        gzip.compress(b"0," * 64 + b"11\n", mtime=0),
        gzip.compress(b"-1," * 64 + b"1\n", mtime=0),
        gzip.compress(b"0," * 64 + b"1\n" * 50, mtime=0)[:-12],
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "digits.csv.gz").write_bytes(content)
    source = Digits(tmp_path / "digits.csv.gz", PARAMS)
    with pytest.raises(UnfitError, match=r"digits\.csv\.gz: is not scikit-learn's"):
        source.image(0)


def test_a_missing_file_or_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnfitError, match="there is no file"):
        Digits(tmp_path / "none", PARAMS)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UnfitError, match="pip install scikit-learn"):
        Digits(None, PARAMS)
