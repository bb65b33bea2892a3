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
    COLOUR_COLUMNS,
    COLUMNS,
    CONTRAST,
    FLIP,
    GREY,
    HUE,
    JITTER,
    LEFT,
    RATIO,
    SATURATION,
    TOP,
    augment,
    crop_boxes,
    streams,
    to_float,
    turn_hue,
)
from coretune.data.draws import uniforms
from coretune.spec.run import AugmentSpec

torch.set_num_threads(1)

EVERYTHING = AugmentSpec(crop_scale=(0.3, 0.9), flip=True, rotation=25, brightness=0.4, contrast=0.4)
MOCO = AugmentSpec(
    crop_scale=(0.2, 1.0),
    flip=True,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.1,
    jitter_probability=0.8,
    grey=0.2,
)
FIRST_TABLE = [
    AugmentSpec(),
    AugmentSpec(flip=True),
    AugmentSpec(crop_scale=(0.2, 1.0), flip=True),
    AugmentSpec(rotation=15),
    AugmentSpec(brightness=0.5),
    AugmentSpec(contrast=0.5),
    EVERYTHING,
]
SPECS = [
    *FIRST_TABLE,
    AugmentSpec(saturation=1.0),
    AugmentSpec(hue=0.5),
    AugmentSpec(grey=0.5),
    AugmentSpec(brightness=0.5, jitter_probability=0.5),
    MOCO,
]


def noise(n: int, side: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, side, side, 3), generator=generator, dtype=torch.uint8)


def drawn(n: int, seed: int = 0) -> Tensor:
    """Draws of all columns: those of the first table, then those of the second."""
    tables = (uniforms(seed, purpose, 0, n, columns) for purpose, columns in streams(MOCO).items())
    return torch.from_numpy(np.concatenate(list(tables), axis=1))


def fixed(n: int, **columns: float) -> Tensor:
    """Draws of 1/2 but for some columns."""
    numbers = {
        "flip": FLIP,
        "angle": ANGLE,
        "brightness": BRIGHTNESS,
        "contrast": CONTRAST,
        "saturation": SATURATION,
        "hue": HUE,
        "jitter": JITTER,
        "grey": GREY,
    }
    draws = torch.full((n, COLUMNS + COLOUR_COLUMNS), 0.5)
    for name, value in columns.items():
        draws[:, numbers[name]] = value
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


def test_saturation_and_grey_are_torchvision_s() -> None:
    images = vivid()
    for draw, factor in ((0.0, 0.0), (0.25, 0.5), (0.5, 1.0), (0.9, 1.8)):
        found = augment(images, fixed(len(images), saturation=draw), AugmentSpec(saturation=1.0))
        torch.testing.assert_close(found, reference.adjust_saturation(to_float(images), factor), atol=1e-6, rtol=0)
    found = augment(images, fixed(len(images), grey=0.1), AugmentSpec(grey=0.2))
    torch.testing.assert_close(found, reference.rgb_to_grayscale(to_float(images), 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("strength", [0.1, 0.5])
def test_hue_is_torchvision_s_for_each_image_s_own_turn(strength: float) -> None:
    images = vivid(50)
    draws = drawn(len(images))
    draws[0, HUE], draws[1, HUE], draws[2, HUE] = 0.0, 0.5, 1 - 2.0**-24
    found = augment(images, draws, AugmentSpec(hue=strength))
    for image, draw, result in zip(to_float(images), draws[:, HUE].tolist(), found, strict=True):
        expected = reference.adjust_hue(image, (2 * draw - 1) * strength)
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)


def test_the_jitter_is_applied_in_the_stated_order_and_then_grey() -> None:
    images, draws = vivid(192), drawn(200)
    found = augment(images, draws, MOCO.replace(crop_scale=(1.0, 1.0), flip=False))
    cases = set()
    for image, row, result in zip(to_float(images), draws.tolist(), found, strict=True):
        jittered, grey = row[JITTER] < 0.8, row[GREY] < 0.2
        if jittered:
            image = reference.adjust_brightness(image, 1 + (2 * row[BRIGHTNESS] - 1) * 0.4)
            image = reference.adjust_contrast(image, 1 + (2 * row[CONTRAST] - 1) * 0.4)
            image = reference.adjust_saturation(image, 1 + (2 * row[SATURATION] - 1) * 0.4)
            image = reference.adjust_hue(image, (2 * row[HUE] - 1) * 0.1)
        expected = reference.rgb_to_grayscale(image, 3) if grey else image
        torch.testing.assert_close(result, expected, atol=1e-5, rtol=0)
        cases.add((jittered, grey))
    assert len(cases) == 4


def vivid(n: int = 0) -> Tensor:
    """n images of noise, then eight of a few levels a channel: grey, black, white, pure colours, ties of channels."""
    few = noise(8, 10, 1) // 128 * 255
    few[0], few[1], few[2] = 0, 255, 93
    few[3, ..., 1] = few[3, ..., 0]
    few[4] = noise(8, 10, 2)[4]
    few[4, ..., 2] = few[4, ..., 1]
    few[5] //= 255  # as dark as can be
    return torch.cat([noise(n, 10), few])


@given(st.integers(0, 1000), st.floats(-3, 3))
def test_hue_is_an_angle(seed: int, turns: float) -> None:
    """No turn and whole turns change nothing, turns add up, and neither greatest nor least channel moves."""
    images = to_float(torch.cat([vivid(), noise(2, 10, seed)]))
    by = torch.full((len(images),), turns)
    turned = turn_hue(images, by)
    for unchanged in (turn_hue(images, torch.zeros_like(by)), turn_hue(images, by.round()), turn_hue(turned, -by)):
        torch.testing.assert_close(unchanged, images, atol=1e-5, rtol=0)
    torch.testing.assert_close(turned.amax(1), images.amax(1), atol=1e-6, rtol=0)
    torch.testing.assert_close(turned.amin(1), images.amin(1), atol=1e-6, rtol=0)
    assert turned.min() >= 0
    assert turned.max() <= 1
    assert torch.equal(turned[:3], images[:3])  # black, white, grey


@given(st.integers(0, 1000), st.floats(0, 1), st.floats(0, 0.5))
def test_the_draws_of_no_change_are_the_identity(seed: int, saturation: float, hue: float) -> None:
    images = torch.cat([vivid(), noise(2, 10, seed)])
    found = augment(images, fixed(len(images)), AugmentSpec(saturation=saturation))
    assert torch.equal(found, to_float(images))
    found = augment(images, fixed(len(images)), AugmentSpec(saturation=saturation, hue=hue))
    torch.testing.assert_close(found, to_float(images), atol=1e-6, rtol=0)


def test_shares_of_jittered_and_grey_samples_are_as_asked_and_independent() -> None:
    n = 4000
    images = torch.tensor([200, 90, 40], dtype=torch.uint8).expand(n, 1, 1, 3)
    found = augment(images, drawn(n), AugmentSpec(saturation=0.4, hue=0.1, jitter_probability=0.8, grey=0.2))
    grey = (found[:, 0] == found[:, 1]).flatten().numpy()
    plain = (found == to_float(images)).all(1).flatten().numpy()
    assert stats.binomtest(int(grey.sum()), n, 0.2).pvalue > 1e-3
    assert stats.binomtest(int(plain.sum()), n, 0.2 * 0.8).pvalue > 1e-3
    unjittered = augment(images, drawn(n), AugmentSpec(grey=0.2))[grey][:1]
    grey_and_plain = (found == unjittered).all(1).flatten().numpy()
    assert stats.binomtest(int(grey_and_plain.sum()), n, 0.2 * 0.2).pvalue > 1e-3


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probabilities_of_nought_and_one_are_certain(probability: float) -> None:
    images, draws = vivid(), drawn(8)
    draws[0], draws[1] = 0.0, 1 - 2.0**-24
    always = augment(images, draws, AugmentSpec(saturation=0.9, hue=0.4))
    found = augment(images, draws, AugmentSpec(saturation=0.9, hue=0.4, jitter_probability=probability))
    assert torch.equal(found, always if probability else to_float(images))
    grey = augment(images, draws, AugmentSpec(grey=probability))
    assert torch.equal(grey[:, 0], grey[:, 2]) == bool(probability)
    assert torch.equal(grey, to_float(images)) == (not probability)


@pytest.mark.parametrize("spec", FIRST_TABLE)
def test_specs_of_the_first_table_ask_for_no_other_and_read_no_other(spec: AugmentSpec) -> None:
    """Recorded runs were drawn from it alone."""
    assert COLUMNS == 8
    assert streams(spec) == {"augment": COLUMNS}
    images, draws = noise(20, 11), drawn(20)
    assert torch.equal(augment(images, draws, spec), augment(images, draws[:, :COLUMNS], spec))


def test_brightness_then_contrast_keep_their_arithmetic_to_the_bit() -> None:
    """Recorded runs were trained on it; written out since sums differ between machines."""
    images, draws = noise(20, 11), drawn(20)
    expected = (to_float(images) * (1 + (2 * draws[:, 6] - 1) * 0.3).view(-1, 1, 1, 1)).clamp(0, 1)
    grey = expected * torch.tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
    mean = grey.sum(1, keepdim=True).mean((2, 3), keepdim=True)
    expected = torch.lerp(mean, expected, (1 + (2 * draws[:, 7] - 1) * 0.6).view(-1, 1, 1, 1)).clamp(0, 1)
    assert torch.equal(augment(images, draws, AugmentSpec(brightness=0.3, contrast=0.6)), expected)


@pytest.mark.parametrize(
    "change", [{"saturation": 0.1}, {"hue": 0.1}, {"grey": 0.1}, {"brightness": 0.1, "jitter_probability": 0.9}]
)
def test_colours_beyond_contrast_ask_for_the_second_table(change: dict[str, float]) -> None:
    spec = AugmentSpec.model_validate(change)
    assert list(streams(spec).items()) == [("augment", COLUMNS), ("colour", COLOUR_COLUMNS)]
    images, draws = noise(300, 6), drawn(300)
    assert not torch.equal(augment(images, draws, spec), augment(images, draws.roll(1, 0), spec))


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
        AugmentSpec(saturation=0.5): {SATURATION},
        AugmentSpec(hue=0.3): {HUE},
        AugmentSpec(grey=0.6): {GREY},
        AugmentSpec(hue=0.3, jitter_probability=0.6): {HUE, JITTER},
    }
    for spec, columns in reads.items():
        for column in range(COLUMNS + COLOUR_COLUMNS):
            draws = torch.full((2, COLUMNS + COLOUR_COLUMNS), 0.4)
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


@pytest.mark.parametrize("size", [None, 12])
def test_no_image_is_no_image(size: int | None) -> None:
    spec = AugmentSpec(crop_scale=(0.5, 1.0), rotation=10, grey=0.5)
    found = augment(torch.zeros(0, 8, 8, 3, dtype=torch.uint8), torch.zeros(0, sum(streams(spec).values())), spec, size)
    assert found.shape == (0, 3, size or 8, size or 8) and found.dtype == torch.float32
