from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.augmenting import SPECS, drawn, noise

from coretune.data.augment import augment, streams, to_float
from coretune.spec.augment import AugmentSpec

torch.set_num_threads(1)


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
    if spec.crop_padding is not None and 9 + 2 * spec.crop_padding < (size or 9):
        with pytest.raises(ValueError, match=f"a crop of {size} pixels needs images of as many, got 9 \\+ 2 ·"):
            augment(images, draws, spec, size)
        return
    before = images.clone(), draws.clone()
    found = augment(images, draws, spec, size)
    assert found.shape == (40, 3, size or 9, size or 9)
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    assert torch.equal(images, before[0])
    assert torch.equal(draws, before[1])


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


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("size", [None, 8])
def test_float_images_become_what_bytes_become(spec: AugmentSpec, size: int | None) -> None:
    images, draws = noise(30, 11), drawn(30)
    floats = to_float(images)
    before = floats.clone()
    assert torch.equal(augment(floats, draws, spec, size), augment(images, draws, spec, size))
    assert torch.equal(floats, before)


def test_recorded_pixels_stay() -> None:
    """Recorded runs were trained on them; rounding may differ between machines."""
    golden = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
    images, draws = noise(4, 6), drawn(4)
    assert len(golden) >= 20
    for entry in golden:
        spec = AugmentSpec.model_validate(entry["augment"])
        found = augment(images, draws, spec)[:, :, ::2, ::3].flatten()
        torch.testing.assert_close(found, torch.tensor(entry["pixels"]), atol=2e-6, rtol=0, msg=str(spec))
