from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as reference

from coretune.data.augment import (
    ANGLE,
    AREA,
    BRIGHTNESS,
    COLUMNS,
    CONTRAST,
    FLIP,
    LEFT,
    RATIO,
    TOP,
    augment,
    crop_boxes,
    to_float,
)
from coretune.data.draws import uniforms
from coretune.spec.run import AugmentSpec

torch.set_num_threads(1)

EVERYTHING = AugmentSpec(crop_scale=(0.3, 0.9), flip=True, rotation=25, brightness=0.4, contrast=0.4)
SPECS = [
    AugmentSpec(),
    AugmentSpec(flip=True),
    AugmentSpec(crop_scale=(0.2, 1.0), flip=True),
    AugmentSpec(rotation=15),
    AugmentSpec(brightness=0.5),
    AugmentSpec(contrast=0.5),
    EVERYTHING,
]


def noise(n: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, side, side, 3), generator=generator, dtype=torch.uint8)


def drawn(n: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(uniforms(seed, "augment", 0, n, COLUMNS))


def fixed(n: int, **columns: float) -> Tensor:
    """Draws of 1/2 but for some columns."""
    draws = torch.full((n, COLUMNS), 0.5)
    for name, value in columns.items():
        draws[:, {"flip": FLIP, "angle": ANGLE, "brightness": BRIGHTNESS, "contrast": CONTRAST}[name]] = value
    return draws


def test_to_float_is_exact() -> None:
    images = noise(3, 5)
    expected = np.transpose(images.numpy(), (0, 3, 1, 2)).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(to_float(images).numpy(), expected)
    assert to_float(images).is_contiguous()


def test_the_spec_that_changes_nothing_is_exact() -> None:
    images = noise(6, 9)
    assert torch.equal(augment(images, drawn(6), AugmentSpec()), to_float(images))
    unused = AugmentSpec(crop_scale=(1.0, 1.0), crop_ratio=(0.2, 5.0))
    assert torch.equal(augment(images, drawn(6), unused), to_float(images))


def test_flips_are_exact_mirrors_of_half_the_images() -> None:
    images = noise(500, 4)
    draws = drawn(500)
    found = augment(images, draws, AugmentSpec(flip=True))
    mirrored = draws[:, FLIP] < 0.5
    assert torch.equal(found[mirrored], to_float(images)[mirrored].flip(-1))
    assert torch.equal(found[~mirrored], to_float(images)[~mirrored])
    assert 200 < int(mirrored.sum()) < 300


@pytest.mark.parametrize(("draw", "turns"), [(0.25, -1), (0.5, 0), (0.75, 1), (0.0, 2)])
def test_quarter_turns_are_exact(draw: float, turns: int) -> None:
    images = noise(4, 7)
    found = augment(images, fixed(4, angle=draw), AugmentSpec(rotation=180))
    torch.testing.assert_close(found, torch.rot90(to_float(images), turns, (2, 3)), atol=1e-5, rtol=0)


def test_rotation_agrees_with_torchvision_away_from_the_border() -> None:
    smooth = torch.nn.functional.avg_pool2d(to_float(noise(3, 40)), 5, 1, 2)
    images = (smooth * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    found = augment(images, fixed(3, angle=0.75), AugmentSpec(rotation=40))
    expected = reference.rotate(to_float(images), 20.0, interpolation=v2.InterpolationMode.BILINEAR)
    inside = (slice(None), slice(None), slice(10, 30), slice(10, 30))
    torch.testing.assert_close(found[inside], expected[inside], atol=2e-3, rtol=0)


def test_rotation_fills_by_reflection_not_by_black() -> None:
    found = augment(torch.full((2, 12, 12, 3), 200, dtype=torch.uint8), drawn(2), AugmentSpec(rotation=45))
    torch.testing.assert_close(found, torch.full_like(found, 200 / 255))


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


def bilinear(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Interpolates (3, H, W) at all pairs of real rows and columns, by hand."""
    r0, c0 = rows.floor().long(), columns.floor().long()
    r1, c1 = (r0 + 1).clamp(max=image.shape[1] - 1), (c0 + 1).clamp(max=image.shape[2] - 1)
    fr, fc = (rows - r0)[:, None], (columns - c0)[None, :]
    upper = image[:, r0][:, :, c0] * (1 - fc) + image[:, r0][:, :, c1] * fc
    lower = image[:, r1][:, :, c0] * (1 - fc) + image[:, r1][:, :, c1] * fc
    return upper * (1 - fr) + lower * fr


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


def test_brightness_and_contrast_are_torchvision_s() -> None:
    images = noise(5, 10)
    bright = augment(images, fixed(5, brightness=0.75), AugmentSpec(brightness=0.8))
    torch.testing.assert_close(bright, reference.adjust_brightness(to_float(images), 1.4), atol=1e-6, rtol=0)
    for draw, factor in ((0.25, 0.6), (0.75, 1.4)):
        found = augment(images, fixed(5, contrast=draw), AugmentSpec(contrast=0.8))
        torch.testing.assert_close(found, reference.adjust_contrast(to_float(images), factor), atol=1e-6, rtol=0)


@pytest.mark.parametrize("spec", SPECS)
def test_a_sample_does_not_depend_on_its_batch(spec: AugmentSpec) -> None:
    images, draws = noise(20, 11), drawn(20)
    together = augment(images, draws, spec)
    alone = torch.cat([augment(images[i : i + 1], draws[i : i + 1], spec) for i in range(20)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    turned = torch.arange(19, -1, -1)
    torch.testing.assert_close(augment(images[turned], draws[turned], spec), together[turned], atol=1e-6, rtol=0)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("size", [None, 5, 9, 20])
def test_shape_type_and_range(spec: AugmentSpec, size: int | None) -> None:
    images, draws = noise(40, 9), drawn(40)
    before = images.clone(), draws.clone()
    found = augment(images, draws, spec, size)
    assert found.shape == (40, 3, size or 9, size or 9)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    assert torch.equal(images, before[0])
    assert torch.equal(draws, before[1])


@pytest.mark.parametrize("spec", [AugmentSpec(), AugmentSpec(crop_scale=(0.99, 1.0))])
def test_shrinking_is_antialiased(spec: AugmentSpec) -> None:
    board = ((torch.arange(32)[:, None] + torch.arange(32)) % 2 * 255).to(torch.uint8)
    images = board[None, :, :, None].expand(4, -1, -1, 3).contiguous()
    inner = augment(images, drawn(4), spec, 8)[:, :, 1:-1, 1:-1]
    assert (inner - 0.5).abs().max() < 0.1


def test_each_column_moves_only_what_it_is_for() -> None:
    """A column that another step read by mistake would tie, say, flips to positions."""
    images = noise(1, 16).expand(2, -1, -1, -1)
    reads = {
        AugmentSpec(flip=True): {FLIP},
        AugmentSpec(rotation=20): {ANGLE},
        AugmentSpec(crop_scale=(0.3, 0.6)): {AREA, RATIO, LEFT, TOP},
        AugmentSpec(brightness=0.5): {BRIGHTNESS},
        AugmentSpec(contrast=0.5): {CONTRAST},
    }
    for spec, columns in reads.items():
        for column in range(COLUMNS):
            draws = torch.full((2, COLUMNS), 0.4)
            draws[1, column] = 0.9
            first, second = augment(images, draws, spec)
            assert torch.equal(first, second) == (column not in columns), (spec, column)


@pytest.mark.gpu
@pytest.mark.parametrize("spec", SPECS)
def test_the_device_changes_rounding_only(spec: AugmentSpec) -> None:
    images, draws = noise(16, 24), drawn(16)
    on_device = augment(images.cuda(), draws, spec)
    assert on_device.is_cuda
    torch.testing.assert_close(on_device.cpu(), augment(images, draws, spec), atol=1e-4, rtol=0)
