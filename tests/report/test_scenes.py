from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from coretune.errors import RequestError
from coretune.report.scenes import VOID_COLOUR, Scene, coloured, draw_scenes, palette, write_scenes


def scene(name: str, *labels: str) -> Scene:
    rng = np.random.default_rng(len(name))
    truth = rng.choice([0, 1, 2, 255], (8, 10)).astype(np.uint8)
    image = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
    return Scene(name, image, truth, {label: rng.integers(0, 3, (8, 10), dtype=np.uint8) for label in labels})


def test_colours_are_those_of_voc() -> None:
    colours = palette()
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 8: (64, 0, 0)}
    for value, colour in {**known, 15: (192, 128, 128), 20: (0, 64, 128), 255: VOID_COLOUR}.items():
        assert tuple(colours[value]) == colour
    assert coloured(np.array([[1, 255]], dtype=np.uint8)).tolist() == [[[128, 0, 0], list(VOID_COLOUR)]]


def test_a_picture_has_a_row_for_each_image_and_a_column_for_each_prediction(tmp_path: Path) -> None:
    scenes = [scene("a", "ce", "core_tuning"), scene("bb", "ce", "core_tuning")]
    figure = draw_scenes(scenes, ("sky", "road", "car"))
    assert len(figure.axes) == 8
    assert [axes.get_title() for axes in figure.axes[:4]] == ["image", "truth", "ce", "core_tuning"]
    headed = draw_scenes(scenes, ("sky", "road", "car"), {"ce": "ce\nseed 7"})
    assert [axes.get_title() for axes in headed.axes[:4]] == ["image", "truth", "ce\nseed 7", "core_tuning"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sky", "road", "car", "void"]
    write_scenes(tmp_path / "p.png", scenes, ("sky", "road", "car"))
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw_is_refused() -> None:
    for scenes in ([], [scene("a")], [scene("a", "ce"), scene("b", "scl")]):
        with pytest.raises(RequestError, match="needs an image, and the same predictions"):
            draw_scenes(scenes, ("sky", "road", "car"))
