from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.augmenting import bilinear, drawn, noise
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from coretune.data.augment import augment, to_float
from coretune.data.augment.columns import FLIP, LEFT, TOP, VERTICAL
from coretune.data.augment.crops import crop_boxes, resized_crop
from coretune.spec.augment import AugmentSpec

torch.set_num_threads(1)


def test_a_crop_agrees_with_torchvision_s_resized_crop() -> None:
    """With a box of whole pixels, the same pixels are interpolated at the same places."""
    side = 32
    images = noise(8, side, 3)
    draws = drawn(8)
    spec = AugmentSpec(crop_scale=(0.3, 0.3), crop_ratio=(0.8, 1.25))
    boxes = crop_boxes(draws, spec.crop_scale, spec.crop_ratio)
    found = augment(images, draws, spec)
    for image, box, result in zip(to_float(images), boxes.tolist(), found, strict=True):
        left, top, width, height = (value * side for value in box)
        rows = (top + (torch.arange(side) + 0.5) * height / side - 0.5).clamp(0, side - 1)
        columns = (left + (torch.arange(side) + 0.5) * width / side - 0.5).clamp(0, side - 1)
        torch.testing.assert_close(result, bilinear(image, rows, columns), atol=1e-4, rtol=0)
    whole = reference.resized_crop(to_float(images), 8, 4, 16, 16, [side, side], antialias=False)
    rows, columns = 8 + (torch.arange(side) + 0.5) / 2 - 0.5, 4 + (torch.arange(side) + 0.5) / 2 - 0.5
    inside = bilinear(to_float(images)[0], rows, columns)
    torch.testing.assert_close(whole[0, :, 1:-1, 1:-1], inside[:, 1:-1, 1:-1], atol=1e-4, rtol=0)


LAWS = [
    ((0.2, 1.0), (0.75, 4 / 3)),
    ((0.6, 1.0), (0.85, 1.18)),
    ((0.08, 0.5), (0.5, 3.0)),
    ((0.5, 0.5), (0.8, 1.25)),
    ((0.6, 1.0), (0.6, 5 / 3)),
]


@pytest.mark.parametrize(("scale", "ratio"), LAWS)
def test_crops_have_torchvision_s_law(scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    """Area, ratio and corner against torchvision's own draws, on an image so large that rounding does not matter."""
    side, n = 100_000, 5000
    transform = v2.RandomResizedCrop(8, scale=scale, ratio=ratio)
    canvas = torch.empty(1, 1, 1).expand(1, side, side)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = [transform.make_params([canvas]) for _ in range(n)]
    theirs_table = np.array([[p["left"], p["top"], p["width"], p["height"]] for p in theirs]) / side
    ours_table = crop_boxes(drawn(n), scale, ratio).double().numpy()

    def described(box: np.ndarray) -> dict[str, np.ndarray]:
        left, top, width, height = box.T
        return {
            "area": width * height,
            "ratio": width / height,
            "left": left / np.maximum(1 - width, 1e-9),
            "top": top / np.maximum(1 - height, 1e-9),
        }

    ours, reference_law = described(ours_table), described(theirs_table)
    for name in ours:
        if name == "area" and scale[0] == scale[1]:
            np.testing.assert_allclose(ours[name], scale[0], rtol=1e-5)
        else:
            assert stats.ks_2samp(ours[name], reference_law[name]).pvalue > 1e-3, name


@given(st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.1, 10), st.floats(0.1, 10), st.integers(0, 1000))
def test_crops_stay_inside_the_image_and_the_ranges(a: float, b: float, c: float, d: float, seed: int) -> None:
    scale, ratio = (min(a, b), max(a, b)), (min(c, d), max(c, d))
    draws = drawn(50, seed)
    draws[0], draws[1] = 0.0, 1 - 2.0**-24
    left, top, width, height = crop_boxes(draws, scale, ratio).double().unbind(1)
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + width <= 1 + 1e-6).all()
    assert (top + height <= 1 + 1e-6).all()
    fits = -math.log(scale[0]) > max(math.log(ratio[0]), -math.log(ratio[1]), 0) + 1e-3
    if fits:
        assert (width * height >= scale[0] * (1 - 1e-4)).all()
        assert (width * height <= scale[1] * (1 + 1e-4)).all()
    assert (width / height >= ratio[0] * (1 - 1e-3)).all()
    assert (width / height <= ratio[1] * (1 + 1e-3)).all()


@pytest.mark.parametrize(("ratio", "box"), [((2.0, 3.0), [0, 0.25, 1, 0.5]), ((0.25, 0.5), [0.25, 0, 0.5, 1])])
def test_where_no_crop_fits_the_centre_is_cut_as_torchvision_does(ratio: tuple[float, float], box: list[float]) -> None:
    np.testing.assert_allclose(crop_boxes(drawn(2), (0.9, 1.0), ratio).numpy(), [box, box], atol=1e-6)
    theirs = v2.RandomResizedCrop(8, scale=(0.9, 1.0), ratio=ratio).make_params([torch.empty(3, 100, 100)])
    assert [theirs[key] / 100 for key in ("left", "top", "width", "height")] == box


FILLS = [(0, "black", "constant"), (4, "black", "constant"), (4, "reflection", "reflect")]


@pytest.mark.parametrize(("padding", "fill", "mode"), FILLS)
@pytest.mark.parametrize("size", [7, 12])
@pytest.mark.parametrize("flip", [False, True])
def test_a_padded_crop_is_torchvision_s_to_the_bit(padding: int, fill: str, mode: str, size: int, flip: bool) -> None:
    side, n = 12, 60
    images, draws = noise(n, side), drawn(n)
    draws[0], draws[1] = 0.0, 1 - 2.0**-24
    changes = {"crop_padding": padding, "crop_fill": fill, "flip": flip, "vertical_flip": flip}
    found = augment(images, draws, AugmentSpec.model_validate(changes), size)
    padded = reference.pad(to_float(images), [padding] * 4, padding_mode=mode)
    places = side + 2 * padding - size + 1
    tops, lefts = (draws[:, [TOP, LEFT]].double() * places).long().T.tolist()
    for image, top, left, row, result in zip(padded, tops, lefts, draws, found, strict=True):
        expected = reference.crop(image, top, left, size, size)
        expected = reference.horizontal_flip(expected) if flip and row[FLIP] < 0.5 else expected
        expected = reference.vertical_flip(expected) if flip and row[VERTICAL] < 0.5 else expected
        assert torch.equal(result, expected)
    assert {min(tops), max(tops), min(lefts), max(lefts)} == {0, places - 1}


BOXES = [((3, 5, 24, 16), 8), ((0, 0, 40, 40), 10), ((0, 8, 40, 32), 17), ((6, 6, 20, 20), 30)]


@pytest.mark.parametrize(("box", "size"), BOXES)
@pytest.mark.parametrize("turned", [False, True])
def test_a_shrinking_crop_is_torchvision_s(box: tuple[int, int, int, int], size: int, turned: bool) -> None:
    """Away from the box's edge, where torchvision sees nothing of the image beside the box."""
    left, top, width, height = box
    images = to_float(noise(3, 40))
    boxes = torch.tensor([box]).expand(3, 4) / 40
    flags = torch.tensor([turned] * 3)
    found = resized_crop(images, boxes, size, flags, flags)
    expected = reference.resized_crop(images, top, left, height, width, [size, size], antialias=True)
    expected = expected.flip((2, 3)) if turned else expected
    edge = 0 if box == (0, 0, 40, 40) else 2
    inside = (..., slice(edge, size - edge), slice(edge, size - edge))
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-5, rtol=0)


def test_a_crop_that_enlarges_is_the_same_by_either_way() -> None:
    """Sampled at points as whole-sized images are, or filtered line by line as smaller ones."""
    images, draws = to_float(noise(20, 16)), drawn(20)
    spec = AugmentSpec(crop_scale=(0.2, 0.7), flip=True)
    boxes = crop_boxes(draws, spec.crop_scale, spec.crop_ratio)
    filtered = resized_crop(images, boxes, 16, draws[:, FLIP] < 0.5)
    torch.testing.assert_close(filtered, augment(images, draws, spec), atol=1e-4, rtol=0)


def test_a_crop_of_a_rotated_image_is_that_of_the_rotated_image() -> None:
    smooth = torch.nn.functional.avg_pool2d(to_float(noise(6, 40)), 9, 1, 4)
    draws = drawn(6)
    rotated = augment(smooth, draws, AugmentSpec(rotation=30))
    for crop in ({"crop_padding": 0}, {"crop_scale": (0.5, 0.9)}):
        expected = augment(rotated, draws, AugmentSpec.model_validate(crop), 24)
        found = augment(smooth, draws, AugmentSpec.model_validate({**crop, "rotation": 30}), 24)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    expected = augment(rotated, draws, AugmentSpec(crop_scale=(0.5, 0.9)))
    found = augment(smooth, draws, AugmentSpec(crop_scale=(0.5, 0.9), rotation=30))
    torch.testing.assert_close(found, expected, atol=4e-2, rtol=0)  # interpolated once, not twice


def test_places_of_a_padded_crop_are_equally_likely_and_independent() -> None:
    image = torch.arange(49, dtype=torch.uint8).view(1, 7, 7, 1).expand(9000, 7, 7, 3)
    found = augment(image, drawn(9000), AugmentSpec(crop_padding=0), 5)
    corner = (found[:, 0, 0, 0] * 255).round().long()
    counts = torch.bincount(corner, minlength=49).view(7, 7)[:3, :3].flatten()
    assert int(counts.sum()) == 9000
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
