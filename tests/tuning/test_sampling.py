"""Batches are drawn by (seed, epoch, sample): neither what came before nor the batch size nor the method matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cuda import never_waited_for
from support.training import AUGMENT, CPU, context, toy_dataset
from torch import Tensor

from coretune.data.augment import augment, plain
from coretune.data.draws import uniforms
from coretune.spec.augment import AugmentSpec, Sides
from coretune.tuning import sampling
from coretune.tuning.sampling import Sampler, gather_images, plain_images, to_device
from coretune.tuning.task import Batch

torch.set_num_threads(1)
DATA = toy_dataset(labelled=11, unlabelled=9)


def sampler(**options: Any) -> Sampler:
    values = {"indices": DATA.split.labelled, "augment": AUGMENT, "batch": 4, "views": 1, "seed": 5, **options}
    return Sampler(packed=DATA.packed, **values)


def listed(made: Sampler, epoch: int, start: int = 0) -> list[Batch]:
    return list(made.batches(epoch, start, context()))


def same(one: Sequence[Batch], other: Sequence[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.index, b.index)
        and torch.equal(a.labels, b.labels)
        and all(torch.equal(x, y) for x, y in zip(a.views, b.views, strict=True))
        for a, b in zip(one, other, strict=True)
    )


@settings(max_examples=25)
@given(batch=st.integers(1, 15), epoch=st.integers(0, 3), start=st.integers(0, 12))
def test_an_epoch_visits_every_sample_once_from_any_batch_on(batch: int, epoch: int, start: int) -> None:
    made = sampler(batch=batch)
    batches = listed(made, epoch)
    assert len(batches) == made.steps()
    visited = torch.cat([found.index for found in batches])
    assert sorted(visited.tolist()) == DATA.split.labelled.tolist()
    for found in batches:
        assert torch.equal(found.labels, torch.from_numpy(DATA.packed.labels)[found.index])
    assert same(listed(made, epoch, start), batches[start:])


def by_sample(batches: list[Batch], view: int = 0) -> dict[int, Tensor]:
    return {int(i): image for b in batches for i, image in zip(b.index, b.views[view], strict=True)}


def test_a_samples_augmentation_does_not_depend_on_its_batch_or_the_other_views() -> None:
    expected = by_sample(listed(sampler(), 2))
    for made in (sampler(batch=11), sampler(views=2), sampler(indices=DATA.split.train)):
        found = by_sample(listed(made, 2))
        assert all(torch.equal(found[i], image) for i, image in expected.items())


def test_the_augmentation_is_that_of_the_samples_row() -> None:
    table = torch.from_numpy(uniforms(5, "augment1", 2, len(DATA.packed.labels), 8))
    for i, image in by_sample(listed(sampler(views=2), 2), view=1).items():
        pixels = torch.from_numpy(DATA.packed.images[i : i + 1])
        torch.testing.assert_close(image, augment(pixels, table[i : i + 1], AUGMENT)[0])


def test_further_colours_have_numbers_of_their_own_and_move_no_other() -> None:
    spec = AUGMENT.replace(hue=0.1, jitter_probability=0.5, grey=0.2)
    n = len(DATA.packed.labels)
    tables = uniforms(5, "augment1", 2, n, 8), uniforms(5, "colour1", 2, n, 4)
    table = torch.from_numpy(np.concatenate(tables, axis=1))
    for i, image in by_sample(listed(sampler(views=2, augment=spec), 2), view=1).items():
        pixels = torch.from_numpy(DATA.packed.images[i : i + 1])
        torch.testing.assert_close(image, augment(pixels, table[i : i + 1], spec)[0])
    untouched = by_sample(listed(sampler(augment=AUGMENT.replace(hue=0.1, jitter_probability=0.0)), 2))
    shape = by_sample(listed(sampler(augment=AUGMENT.replace(brightness=0.0)), 2))
    assert all(torch.equal(untouched[i], image) for i, image in shape.items())


def test_views_have_the_side_that_is_asked_for() -> None:
    spec = AugmentSpec(crop_padding=1, flip=True)
    table = torch.from_numpy(uniforms(5, "augment0", 2, len(DATA.packed.labels), 8))
    for i, image in by_sample(listed(sampler(augment=spec, size=6), 2)).items():
        pixels = torch.from_numpy(DATA.packed.images[i : i + 1])
        assert image.shape == (3, 6, 6)
        assert torch.equal(image, augment(pixels, table[i : i + 1], spec, 6)[0])


def test_an_evaluation_sees_what_the_pack_says() -> None:
    indices = DATA.split.validation
    for view in (None, Sides(6, 4), Sides(20, 20)):
        packed = replace(DATA.packed, sides=view)
        found = torch.cat(list(plain_images(packed, indices, context())))
        assert torch.equal(found, plain(torch.from_numpy(DATA.packed.images[indices]), view))
        assert found.is_contiguous()


def test_epochs_views_and_seeds_differ() -> None:
    first = listed(sampler(views=2), 0)
    assert not torch.equal(first[0].views[0], first[0].views[1])
    for other in (listed(sampler(views=2), 1), listed(sampler(views=2, seed=6), 0)):
        assert not torch.equal(torch.cat([b.index for b in first]), torch.cat([b.index for b in other]))


def test_images_are_floats_in_the_asked_format() -> None:
    (batch, *_) = sampler().batches(0, 0, context(channels_last=True))
    assert batch.views[0].dtype == torch.float32
    assert batch.views[0].is_contiguous(memory_format=torch.channels_last)
    assert 0 <= float(batch.views[0].min()) <= float(batch.views[0].max()) <= 1
    plain = listed(sampler(), 0)[0]
    assert torch.equal(plain.views[0], batch.views[0])
    assert plain.views[0].is_contiguous()


def test_without_augmentation_images_are_the_packed_ones() -> None:
    for i, image in by_sample(listed(sampler(augment=AugmentSpec()), 0)).items():
        assert torch.equal(image, torch.from_numpy(DATA.packed.images[i]).permute(2, 0, 1) / 255)


def test_images_are_gathered_from_a_read_only_file(tmp_path: Any) -> None:
    path = tmp_path / "images.u8"
    path.write_bytes(DATA.packed.images.tobytes())
    mapped = np.memmap(path, dtype=np.uint8, mode="r", shape=DATA.packed.images.shape)
    chosen = np.array([4, 0, 4], dtype=np.int64)
    packed = DATA.packed.__class__(**{**DATA.packed.__dict__, "images": mapped})
    found = gather_images(packed, chosen, CPU)
    assert torch.equal(found, torch.from_numpy(DATA.packed.images[chosen]))
    found.add_(1)  # a copy: the file is not written to
    assert np.array_equal(mapped, DATA.packed.images)


@pytest.mark.gpu
def test_a_gpu_gets_the_same_batches_without_being_waited_for() -> None:
    device = torch.device("cuda")
    expected = listed(sampler(), 0)
    with never_waited_for():
        moved = to_device(torch.arange(3), device)
    assert moved.tolist() == [0, 1, 2]
    for one, other in zip(sampler().batches(0, 0, context(device=device)), expected, strict=True):
        assert one.index.device.type == one.labels.device.type == "cuda"
        torch.testing.assert_close(one.views[0].cpu(), other.views[0])


def test_images_are_asked_for_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    monkeypatch.setattr(sampling, "fetch", lambda images, chosen: asked.append(chosen.tolist()))
    batches = listed(sampler(), 0)
    assert asked == [found.index.tolist() for found in batches]
    list(plain_images(DATA.packed, DATA.split.validation, context()))
    assert [index for some in asked[len(batches) :] for index in some] == DATA.split.validation.tolist()


def test_every_sample_comes_with_its_domain_also_where_several_workers_make_the_images() -> None:
    domain = np.arange(len(DATA.packed.labels), dtype=np.int64) * 7 % 3
    made = sampler(domain=domain)
    for found in listed(made, 1):
        assert found.domain is not None and found.domain.tolist() == domain[found.index.numpy()].tolist()
    halves = [
        list(made.batches(1, 0, context(), lambda size, rank=rank: np.arange(rank, size, 2)))  # type: ignore[misc]
        for rank in (0, 1)
    ]
    for whole, *parts in zip(listed(made, 1), *halves, strict=True):
        for rank, part in enumerate(parts):
            assert part.domain is not None and whole.domain is not None
            assert torch.equal(part.domain, whole.domain), "of all samples of the batch"
            assert torch.equal(part.views[0], whole.views[0][rank::2])
    assert listed(sampler(), 1)[0].domain is None


def test_balanced_batches_hold_as_many_samples_of_each_domain_from_any_batch_on() -> None:
    domain = np.full(len(DATA.packed.labels), -1, dtype=np.int64)
    domain[DATA.split.labelled] = [0] * 2 + [1] * 9  # the second has more than its share
    made = sampler(domain=domain, balanced=True)
    batches = listed(made, 0)
    assert len(batches) == made.steps() and [len(found.index) for found in batches] == [4, 4, 3]
    for found in batches:
        assert found.domain is not None
        counts = torch.bincount(found.domain, minlength=2)
        assert int(counts.max() - counts.min()) <= 1
        assert torch.equal(found.labels, torch.from_numpy(DATA.packed.labels)[found.index])
    assert same(listed(made, 0, 2), batches[2:])


def test_a_sample_that_comes_again_in_an_epoch_is_augmented_anew() -> None:
    domain = np.full(len(DATA.packed.labels), -1, dtype=np.int64)
    domain[DATA.split.labelled] = [0] + [1] * 10
    seen = [
        image
        for found in listed(sampler(domain=domain, balanced=True, views=2), 0)
        for view in found.views
        for i, image in zip(found.index.tolist(), view, strict=True)
        if i == DATA.split.labelled[0]
    ]
    assert len(seen) == 12
    assert len({image.numpy().tobytes() for image in seen}) == 12
