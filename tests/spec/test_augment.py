"""Sizes, crops and views of a study's images: what fits, what one key says over another, and what is told."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.augmenting import MOCO

from coretune.errors import StudyError
from coretune.spec.augment import AugmentSpec, ViewSpec, merged
from coretune.spec.augment_presets import PRESETS
from coretune.spec.cells import Cell
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.run import DataSpec
from coretune.spec.yamlfile import parse_yaml


def study(dataset: str = "{}", *, data: str = "{}", pretrain: str = "{}") -> str:
    return f"""name: x
datasets:
  cifar10: {dataset}
backbones:
  net: {{arch: small_resnet, pretrain: {pretrain}}}
methods: [ce]
data: {data}
"""


def loaded(text: str) -> LoadedStudy:
    return resolve_study(parse_yaml(text, "s.yaml"))


def spec(text: str) -> DataSpec:
    (cell,) = loaded(text).cells
    return cell.dataset.spec("0" * 64)


def pretraining(cell: Cell) -> DataSpec:
    run = cell.backbone.pretraining(cell.pretraining_data, "0" * 64)
    assert run is not None
    return run.data


def problems(text: str) -> list[str]:
    with pytest.raises(StudyError) as caught:
        loaded(text)
    return [str(problem) for problem in caught.value.problems]


def test_sizes_and_view_reach_the_run_from_either_place() -> None:
    keys = "{image_size: 272, input_size: 256, test_view: {resize: 264}}"
    for text in (study(keys), study(data=keys)):
        data = spec(text)
        assert (data.image_size, data.input_size, data.test_view) == (272, 256, ViewSpec(resize=264))
        assert data.input_side == 256
        assert data.test_sides == (264, 256)
    assert spec(study("{test_view: {crop: 40}}")).test_sides == (40, 40)


def test_what_says_nothing_new_is_no_part_of_a_run_s_identity() -> None:
    base = spec(study())
    assert (base.input_size, base.test_view) == (None, None)
    for keys in (
        "{input_size: 32}",
        "{test_view: {resize: 32, crop: 32}}",
        "{test_view: {}}",
        "{image_size: 32, input_size: 32, test_view: {crop: 32}}",
    ):
        assert spec(study(keys)).model_dump_json() == base.model_dump_json()
    resized = spec(study("{image_size: 48, input_size: 40, test_view: {resize: 48}}"))
    assert spec(study("{image_size: 48, input_size: 40, test_view: {resize: 48, crop: 40}}")) == resized


def test_a_crop_that_is_said_replaces_the_other_kind() -> None:
    augment = spec(study("{augment: {crop_padding: 4}}")).augment
    assert augment == AugmentSpec(crop_padding=4, flip=True)
    (cell,) = loaded(study("{augment: {crop_padding: 4}}", pretrain="{augment: {crop_scale: [0.2, 1]}}")).cells
    assert pretraining(cell).augment == AugmentSpec(crop_scale=(0.2, 1.0), flip=True)
    (cell,) = loaded(study(pretrain="{augment: {crop_padding: 2}}")).cells
    assert pretraining(cell).augment == AugmentSpec(crop_padding=2, flip=True)
    assert merged({"crop_scale": (0.5, 1.0), "flip": True}, {"blur": 0.5}) == {
        "crop_scale": (0.5, 1.0),
        "flip": True,
        "blur": 0.5,
    }
    assert merged({"crop_padding": 4}, {"crop_padding": None}) == {"crop_padding": None}


MOCO_V2 = MOCO.replace(jitter_order="shuffled", blur=0.5)


@pytest.mark.parametrize(
    ("name", "augment", "sizes"),
    [
        ("cifar", AugmentSpec(crop_padding=4, flip=True), (32, 32, (32, 32))),
        (
            "cifar_paper",
            AugmentSpec(rotation=15, rotation_fill="black", crop_padding=0, flip=True),
            (272, 256, (256, 256)),
        ),
        ("imagenet", AugmentSpec(crop_scale=(0.08, 1.0), flip=True), (256, 224, (256, 224))),
        ("moco_v2", MOCO_V2, (32, 32, (32, 32))),
    ],
)
def test_a_preset_is_a_whole_recipe(name: str, augment: AugmentSpec, sizes: tuple[int, int, tuple[int, int]]) -> None:
    spelt = (f"{{augment: {name}}}", f"{{augment: {{preset: {name}}}}}")
    for text in (*map(study, spelt), *(study(data=keys) for keys in spelt)):
        data = spec(text)
        assert data.augment == augment
        assert (data.image_size, data.input_side, data.test_sides) == sizes


def test_every_preset_is_tested() -> None:
    assert set(PRESETS) == {"cifar", "cifar_paper", "imagenet", "moco_v2"}


def test_keys_override_a_preset_and_its_sizes_one_by_one() -> None:
    data = spec(study("{image_size: 64, augment: {preset: imagenet, crop_scale: [0.5, 1]}}", data="{input_size: 48}"))
    assert data.augment == AugmentSpec(crop_scale=(0.5, 1.0), flip=True)
    assert (data.image_size, data.input_size, data.test_view) == (64, 48, ViewSpec(resize=256))
    assert spec(study("{augment: {preset: cifar, crop_scale: [0.5, 1]}}")).augment == AugmentSpec(
        crop_scale=(0.5, 1.0), flip=True
    )
    assert spec(study("{input_size: null, test_view: null, augment: imagenet}")).input_side == 256


def test_a_data_set_s_own_augmentation_replaces_the_study_s_preset() -> None:
    data = spec(study("{augment: {rotation: 5}}", data="{augment: imagenet}"))
    assert data.augment == AugmentSpec(crop_scale=(0.5, 1.0), flip=True, rotation=5)
    assert data.image_size == 32
    assert spec(study("{augment: null}", data="{augment: imagenet}")).augment == spec(study()).augment


def test_an_option_changes_a_key_of_a_preset() -> None:
    text = study(data="{augment: cifar}")
    (cell,) = resolve_study(parse_yaml(text, "s.yaml"), ["data.augment.rotation=5"]).cells
    assert cell.dataset.augment == AugmentSpec(crop_padding=4, flip=True, rotation=5)
    (cell,) = resolve_study(parse_yaml(text, "s.yaml"), ["data.augment=moco_v2"]).cells
    assert cell.dataset.augment == MOCO_V2


def test_a_pretraining_has_a_preset_in_place_of_the_data_set_s_own() -> None:
    (cell,) = loaded(study("{augment: cifar}", pretrain="{augment: moco_v2}")).cells
    assert pretraining(cell).augment == MOCO_V2
    assert cell.dataset.augment == AugmentSpec(crop_padding=4, flip=True)
    (cell,) = loaded(study("{augment: cifar}", pretrain="{augment: {preset: moco_v2, blur: 0}}")).cells
    assert pretraining(cell).augment == MOCO_V2.replace(blur=0.0)
    (cell,) = loaded(study("{augment: imagenet}", pretrain="{augment: moco_v2}")).cells
    assert (pretraining(cell).image_size, pretraining(cell).input_size) == (256, 224)
    (cell,) = loaded(study("{augment: cifar}", pretrain="{augment: {hue: 0.1}}")).cells
    assert pretraining(cell).augment == AugmentSpec(crop_padding=4, flip=True, hue=0.1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            study("{augment: {crop_padding: 4, crop_scale: [0.5, 1]}}"),
            "s.yaml:3: datasets.cifar10.augment.crop_padding: excludes crop_scale: a square of the image as it is, or "
            "a resized part of it",
        ),
        (
            study("{input_size: 48, augment: {crop_padding: 4}}"),
            "s.yaml:3: datasets.cifar10.augment.crop_padding: 4 is too little to cut 48 pixels (input_size) from "
            "images of 32 (image_size); at least 8, or larger images",
        ),
        (
            study(data="{input_size: 48, augment: {crop_padding: 4}}"),
            "s.yaml:7: data.augment.crop_padding: 4 is too little to cut 48 pixels (input_size) from images of 32 "
            "(image_size); at least 8, or larger images",
        ),
        (
            study("{augment: {crop_padding: 32, crop_fill: reflection}}"),
            "s.yaml:3: datasets.cifar10.augment.crop_padding: reflects at most 31 pixels of an image of 32",
        ),
        (
            study("{augment: {crop_fill: white}}"),
            "s.yaml:3: datasets.cifar10.augment.crop_fill: must be one of black, reflection, got 'white'",
        ),
        (
            study("{test_view: {resize: 32, crop: 40}}"),
            "s.yaml:3: datasets.cifar10.test_view.crop: cuts 40 pixels of an image that is resized to 32; resize: 40 "
            "would do",
        ),
        (
            study("{input_size: 40, test_view: {resize: 32}}"),
            "s.yaml:3: datasets.cifar10.test_view.resize: cuts 40 pixels of an image that is resized to 32; resize: 40 "
            "would do",
        ),
        (
            study("{test_view: {size: 32}}"),
            "s.yaml:3: datasets.cifar10.test_view.size: unknown key; did you mean resize?",
        ),
        (study("{input_size: 2}"), "s.yaml:3: datasets.cifar10.input_size: must be at least 4, got 2"),
        (
            study("{augment: {blur: 0.5, blur_kernel: 8}}"),
            "s.yaml:3: datasets.cifar10.augment.blur_kernel: is odd, to have a centre, got 8; 9 would do",
        ),
        (
            study("{augment: {blur: 0.5, blur_kernel: 65}}"),
            "s.yaml:3: datasets.cifar10.augment.blur_kernel: must be at most 63 for images of 32 pixels",
        ),
        (
            study("{augment: {blur_sigma: [2, 1]}}"),
            "s.yaml:3: datasets.cifar10.augment.blur_sigma: needs 0 < low <= high, got [2.0, 1.0]",
        ),
        (
            study("{augment: cifra}"),
            "s.yaml:3: datasets.cifar10.augment: no preset of augmentation has the name 'cifra'; did you mean cifar?",
        ),
        (
            study(data="{augment: {preset: x}}"),
            "s.yaml:7: data.augment: no preset of augmentation has the name 'x'; known: cifar, cifar_paper, imagenet, "
            "moco_v2",
        ),
        (
            study("{augment: [flip]}"),
            "s.yaml:3: datasets.cifar10.augment: must be a mapping of keys, or the name of a preset (cifar, "
            'cifar_paper, imagenet, moco_v2), got ["flip"]',
        ),
        (
            study(pretrain="{augment: moco}"),
            "s.yaml:5: backbones.net.pretrain.augment: no preset of augmentation has the name 'moco'; did you mean "
            "moco_v2?",
        ),
        (
            study("{image_size: 32, augment: cifar_paper}"),
            "s.yaml:3: datasets.cifar10.augment.crop_padding: 0 is too little to cut 256 pixels (input_size) from "
            "images of 32 (image_size); at least 112, or larger images",
        ),
        (
            study("{augment: {preset: cifar, rotaton: 5}}"),
            "s.yaml:3: datasets.cifar10.augment.rotaton: unknown key; did you mean rotation?",
        ),
        (
            study(pretrain="{augment: {blur: 0.5, blur_kernel: 65}}"),
            "s.yaml:5: backbones.net.pretrain.augment.blur_kernel: must be at most 63 for images of "
            "32 pixels (of cifar10)",
        ),
        (
            study("{input_size: 64}", pretrain="{augment: {crop_padding: 2}}"),
            "s.yaml:5: backbones.net.pretrain.augment.crop_padding: 2 is too little to cut 64 pixels (input_size) from "
            "images of 32 (image_size); at least 16, or larger images (of cifar10)",
        ),
    ],
)
def test_what_does_not_fit_is_told_where_it_stands(text: str, expected: str) -> None:
    assert problems(text) == [expected]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_size": 64, "augment": {"crop_padding": 2}}, "augment.crop_padding 2 is too little"),
        ({"test_view": {"resize": 16}}, "test_view.resize cuts 32 pixels of an image that is resized to 16"),
    ],
)
def test_a_run_is_not_described_either(change: dict[str, Any], message: str) -> None:
    base = spec(study()).model_dump()
    with pytest.raises(ValidationError, match=message):
        DataSpec.model_validate({**base, **change})
