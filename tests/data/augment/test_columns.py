from __future__ import annotations

from typing import Any

import pytest
import torch
from support.augmenting import FIRST_TABLE, SPECS, drawn, noise

from coretune.data.augment import augment, streams
from coretune.data.augment.columns import (
    ANGLE,
    AREA,
    BLUR,
    BRIGHTNESS,
    COLUMNS,
    CONTRAST,
    FLIP,
    GREY,
    HUE,
    JITTER,
    LEFT,
    ORDER,
    RATIO,
    SATURATION,
    SIGMA,
    TABLES,
    TOP,
    VERTICAL,
)
from coretune.spec.augment import AugmentSpec

torch.set_num_threads(1)


@pytest.mark.parametrize("spec", FIRST_TABLE)
def test_specs_of_the_first_table_ask_for_no_other_and_read_no_other(spec: AugmentSpec) -> None:
    """Recorded runs were drawn from it alone."""
    assert streams(spec) == {"augment": 8}
    images, draws = noise(20, 11), drawn(20)
    assert torch.equal(augment(images, draws, spec), augment(images, draws[:, :8], spec))


@pytest.mark.parametrize(
    "change", [{"saturation": 0.1}, {"hue": 0.1}, {"grey": 0.1}, {"brightness": 0.1, "jitter_probability": 0.9}]
)
def test_colours_beyond_contrast_ask_for_the_second_table(change: dict[str, float]) -> None:
    spec = AugmentSpec.model_validate(change)
    assert list(streams(spec).items()) == [("augment", 8), ("colour", 4)]
    images, draws = noise(300, 6), drawn(300)
    assert not torch.equal(augment(images, draws, spec), augment(images, draws.roll(1, 0), spec))


def test_each_column_moves_only_what_it_is_for() -> None:
    """A column that another step read by mistake would tie, say, flips to positions."""
    images = noise(1, 16).expand(2, -1, -1, -1)
    reads = {
        AugmentSpec(flip=True): {FLIP},
        AugmentSpec(rotation=20): {ANGLE},
        AugmentSpec(crop_scale=(0.3, 0.6)): {AREA, RATIO, LEFT, TOP},
        AugmentSpec(brightness=0.5): {BRIGHTNESS},
        AugmentSpec(contrast=0.5): {CONTRAST},
        AugmentSpec(saturation=0.5): {SATURATION},
        AugmentSpec(hue=0.3): {HUE},
        AugmentSpec(grey=0.6): {GREY},
        AugmentSpec(hue=0.3, jitter_probability=0.6): {HUE, JITTER},
        AugmentSpec(crop_padding=3): {LEFT, TOP},
        AugmentSpec(vertical_flip=True): {VERTICAL},
        AugmentSpec(blur=0.6): {BLUR, SIGMA},
        AugmentSpec(brightness=0.5, hue=0.3, jitter_order="shuffled"): {BRIGHTNESS, HUE, ORDER},
    }
    for spec, columns in reads.items():
        for column in range(COLUMNS):
            draws = torch.full((2, COLUMNS), 0.4)
            draws[1, column] = 0.9
            first, second = augment(images, draws, spec)
            assert torch.equal(first, second) == (column not in columns), (spec, column)


@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_reads_no_column_beyond_those_it_asks_for(spec: AugmentSpec) -> None:
    images, draws = noise(20, 11), drawn(20)
    asked = draws[:, : sum(streams(spec).values())]
    assert torch.equal(augment(images, asked, spec), augment(images, draws, spec))


def test_the_layout_of_recorded_runs_stays() -> None:
    """Another order or width would draw other numbers for runs that are recorded."""
    assert [(table.purpose, table.columns) for table in TABLES] == [
        ("augment", 8),
        ("colour", 4),
        ("blur", 2),
        ("vertical", 1),
        ("order", 1),
    ]
    assert tuple(range(8)) == (AREA, RATIO, LEFT, TOP, FLIP, ANGLE, BRIGHTNESS, CONTRAST)
    assert tuple(range(8, 16)) == (SATURATION, HUE, JITTER, GREY, BLUR, SIGMA, VERTICAL, ORDER)


@pytest.mark.parametrize(
    ("change", "last"),
    [
        ({"crop_padding": 4}, "augment"),
        ({"rotation": 5, "rotation_fill": "black"}, "augment"),
        ({"blur": 0.5}, "blur"),
        ({"vertical_flip": True}, "vertical"),
        ({"brightness": 0.4, "jitter_order": "shuffled"}, "order"),
    ],
)
def test_a_later_table_comes_after_all_earlier_ones(change: dict[str, Any], last: str) -> None:
    asked = list(streams(AugmentSpec.model_validate(change)))
    assert asked == [table.purpose for table in TABLES][: len(asked)]
    assert asked[-1] == last
