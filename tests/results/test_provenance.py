from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from coretune.results.contents import contents_of
from coretune.results.provenance import CONTENTS, TRAINED_ON, UNKNOWN, Provenance, Seen, as_metadata, provenance
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
    contents = contents_of(["f" * 64, "0" * 64, "f" * 64], whole=True)
    known = UNKNOWN.then(OTHER, None).then(PHOTO, contents).then(OTHER.replace(augment=AugmentSpec()), contents)
    found = provenance(written(tmp_path / "w.safetensors", as_metadata(known)))
    assert [seen.data for seen in found.seen] == [PHOTO, OTHER.replace(augment=AugmentSpec())], "of images alone"
    for seen in found.seen:
        assert seen.contents is not None and seen.contents.whole
        assert seen.contents.numbers.tolist() == [0, 2**64 - 1]
    assert not found.whole
    again = known.then(PHOTO, None)
    assert again == known, "what is known of a training is not forgotten"


def test_a_file_that_is_older_than_contents_says_what_it_says(tmp_path: Path) -> None:
    metadata = as_metadata(Provenance().then(PHOTO, contents_of(["f" * 64], whole=True)))
    for said in ({}, {CONTENTS: "[]"}, {CONTENTS: '["images:#"]'}, {CONTENTS: '["images:AAAA"]'}, {CONTENTS: "[7]"}):
        file = written(tmp_path / "w.safetensors", {TRAINED_ON: metadata[TRAINED_ON], **said})
        assert provenance(file) == Provenance((Seen(PHOTO),))


def test_nothing_is_written_where_nothing_is_known() -> None:
    assert as_metadata(UNKNOWN) == {}


@pytest.mark.parametrize("said", [None, {}, {TRAINED_ON: "no JSON"}, {TRAINED_ON: "{}"}, {TRAINED_ON: '[{"a": 1}]'}])
def test_a_file_that_says_nothing_of_it(tmp_path: Path, said: dict[str, str] | None) -> None:
    assert provenance(written(tmp_path / "w.safetensors", said)) == UNKNOWN


def test_a_file_of_another_kind_or_none(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"PK\x03\x04 a checkpoint of somebody else")
    assert provenance(tmp_path / "w.pth") == provenance(tmp_path / "absent") == provenance(tmp_path) == UNKNOWN
