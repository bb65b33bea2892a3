from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from coretune.results.provenance import TRAINED_ON, as_metadata, trained_on
from coretune.spec.augment import AugmentSpec
from coretune.spec.components import Ref
from coretune.spec.run import DataSpec

PHOTO = DataSpec(
    dataset=Ref(name="pacs", version=1), fingerprint="1" * 64, image_size=32, validation=0.2, test=0,
    held_out_domain="photo",
)  # fmt: skip
OTHER = DataSpec(
    dataset=Ref(name="cifar10", version=1), fingerprint="2" * 64, image_size=32, validation=100, test=0,
    augment=AugmentSpec(flip=True),
)  # fmt: skip


def written(path: Path, metadata: dict[str, str] | None) -> Path:
    save_file({"a": np.zeros(2)}, path, metadata=metadata)
    return path


def test_what_was_written_is_read_back_once_and_in_order(tmp_path: Path) -> None:
    file = written(tmp_path / "w.safetensors", {TRAINED_ON: as_metadata([OTHER, PHOTO, OTHER])})
    assert trained_on(file) == (OTHER.replace(augment=AugmentSpec()), PHOTO), "augmentation says nothing of images"


@pytest.mark.parametrize("said", [None, {}, {TRAINED_ON: "no JSON"}, {TRAINED_ON: "{}"}, {TRAINED_ON: '[{"a": 1}]'}])
def test_a_file_that_says_nothing_of_it(tmp_path: Path, said: dict[str, str] | None) -> None:
    assert trained_on(written(tmp_path / "w.safetensors", said)) == ()


def test_a_file_of_another_kind_or_none(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"PK\x03\x04 a checkpoint of somebody else")
    assert trained_on(tmp_path / "w.pth") == trained_on(tmp_path / "absent") == trained_on(tmp_path) == ()
