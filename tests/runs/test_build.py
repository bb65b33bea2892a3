"""Parts are put together from a description, and methods of one seed start from the same weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.training import catalog, context, digits_job, digits_spec

from coretune.data.dataset import Dataset
from coretune.data.fingerprint import hash_file
from coretune.data.source import Domains
from coretune.errors import RequestError, UnfitError
from coretune.nets.small_resnet import SmallResNet
from coretune.nets.weights import save_weights
from coretune.results.store import ResultsStore
from coretune.runs import build
from coretune.runs.build import OpenData, build_model, build_parts, open_job_data
from coretune.runs.job import Job
from coretune.spec.components import Catalog, Ref
from coretune.tuning.loop import Parts

torch.set_num_threads(1)
NEEDED = "0123456789abcdef"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_job_data(digits_job(), catalog())


def parts(
    digits: Dataset, root: Path, *args: Any, channels_last: bool = False, compiled: bool = False, **spec: Any
) -> Parts:
    job = digits_job(digits_spec(*args, **spec))
    place = context(channels_last=channels_last, compile=compiled)
    return build_parts(job, digits, ResultsStore(root), catalog(), place)


def test_two_methods_of_a_seed_start_from_the_same_weights(digits: Dataset, tmp_path: Path) -> None:
    one, other = parts(digits, tmp_path, "ce"), parts(digits, tmp_path, "core_tuning")
    changed = parts(digits, tmp_path, "core_tuning", params={"projection_dim": 8})
    state = one.model.state_dict()
    for found in (other, changed):
        assert found.model.state_dict().keys() == state.keys()
        assert all(torch.equal(value, state[key]) for key, value in found.model.state_dict().items())
    assert one.model.classifier is one.method.classifier


def test_another_seed_starts_from_other_weights(digits: Dataset, tmp_path: Path) -> None:
    one, other = parts(digits, tmp_path, seed=1), parts(digits, tmp_path, seed=2)
    assert not torch.equal(one.model.encoder.conv.weight, other.model.encoder.conv.weight)


def test_torchs_own_random_numbers_neither_matter_nor_change(digits: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(parts(digits, tmp_path).model.encoder.conv.weight)
        if seed == 0:
            assert torch.equal(torch.rand(2), expected)
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_a_single_class_is_nothing_to_classify(digits: Dataset) -> None:
    single = replace(digits, packed=replace(digits.packed, classes=("image",)))
    with pytest.raises(RequestError, match="a single class: there is nothing to tell apart"):
        build_model(digits_job(), single, catalog(), context())
    build_model(digits_job(digits_spec("moco_v2")), single, catalog(), context())


def test_pretraining_has_no_classifier(digits: Dataset, tmp_path: Path) -> None:
    found = parts(digits, tmp_path, "moco_v2")
    assert found.model.classifier is None
    assert found.task.steps() == -(-len(digits.split.train) // 10)
    with pytest.raises(RequestError, match="no classifier"):
        found.model(torch.zeros(1, 3, 8, 8))


def test_channels_last_reaches_the_methods_own_nets(digits: Dataset, tmp_path: Path) -> None:
    found = parts(digits, tmp_path, "moco_v2", channels_last=True)
    for net in (found.model.encoder, found.method.get_submodule("key_encoder.net")):
        assert net.blocks[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)


def test_weights_of_a_pretraining_are_loaded(digits: Dataset, tmp_path: Path) -> None:
    source = parts(digits, tmp_path, "moco_v2", seed=9)
    store = ResultsStore(tmp_path)
    save_weights(source.model.state_dict(), store.weights_path(NEEDED), {})
    found = parts(digits, tmp_path, weights=f"run:{NEEDED}")
    assert torch.equal(found.model.encoder.conv.weight, source.model.encoder.conv.weight)
    plain = parts(digits, tmp_path)
    assert torch.equal(found.model.classifier.weight, plain.model.classifier.weight)


def test_missing_weights_are_named(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match=f"pre-training run {NEEDED} left no weights at .*resume the study"):
        parts(digits, tmp_path, weights=f"run:{NEEDED}")
    spec = digits_spec(weights="sha256:" + "0" * 64)
    job = digits_job(spec, checkpoint=str(tmp_path / "gone.pt"))
    with pytest.raises(UnfitError, match=r"checkpoint .*gone\.pt left no weights"):
        build_parts(job, digits, ResultsStore(tmp_path), catalog(), context())


def test_a_checkpoint_is_checked_against_its_hash(digits: Dataset, tmp_path: Path) -> None:
    source = parts(digits, tmp_path, "moco_v2", seed=9)
    path = tmp_path / "checkpoint.safetensors"
    save_weights(source.model.state_dict(), path, {})
    job = digits_job(digits_spec(weights=f"sha256:{hash_file(path)}"), checkpoint=str(path))
    found = build_parts(job, digits, ResultsStore(tmp_path), catalog(), context())
    assert torch.equal(found.model.encoder.conv.weight, source.model.encoder.conv.weight)
    save_weights(source.model.state_dict(), path, {"changed": "yes"})
    with pytest.raises(UnfitError, match=r"checkpoint\.safetensors has changed"):
        build_parts(job, digits, ResultsStore(tmp_path), catalog(), context())


def test_weights_of_another_architecture_are_refused(digits: Dataset, tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    save_weights({"encoder.conv.weight": torch.zeros(1)}, store.weights_path(NEEDED), {})
    with pytest.raises(RequestError, match="another architecture"):
        parts(digits, tmp_path, weights=f"run:{NEEDED}")


@pytest.mark.parametrize("part", ["method", "backbone"])
def test_another_version_of_a_component_is_refused(digits: Dataset, part: str) -> None:
    spec = digits_spec()
    other = Ref(name="ce" if part == "method" else "small_resnet", version=99)
    changed = spec.replace(method=other) if part == "method" else spec.replace(backbone={"arch": other})
    with pytest.raises(RequestError, match="version 99 is asked for, version 1 is here"):
        build_model(digits_job(changed), digits, catalog(), context())


def test_the_backbone_says_how_images_are_normalised(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SmallResNet, "mean", (0.1, 0.2, 0.3))
    monkeypatch.setattr(SmallResNet, "std", (0.5, 0.6, 0.7))
    model, _ = build_model(digits_job(), digits, catalog(), context())
    images = torch.rand(2, 3, 8, 8)
    expected = (images - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / torch.tensor([0.5, 0.6, 0.7]).view(3, 1, 1)
    torch.testing.assert_close(model.normalise(images), expected)


def test_images_that_the_backbone_does_not_take_are_refused(digits: Dataset) -> None:
    side = digits_spec().data.image_size
    spec = digits_spec().replace(backbone={"arch": catalog().ref("backbone", "swin_t")})
    with pytest.raises(RequestError, match=f"backbone swin_t takes images .*, got {side}×{side}; data.image_size"):
        build_model(digits_job(spec), digits, catalog(), context())


def test_a_process_opens_a_data_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int | None] = []

    def opening(job: Job, known: Catalog) -> Dataset:
        opened.append(job.spec.data.labels_per_class)
        return open_job_data(job, known)

    monkeypatch.setattr(build, "open_job_data", opening)
    jobs = [digits_job(digits_spec().replace(data=digits_spec().data.replace(labels_per_class=n))) for n in (2, 3, 4)]
    data = OpenData(kept=2)
    first = data(jobs[0], catalog())
    assert data(jobs[0], catalog()) is first and len(first.split.labelled) == 20
    assert len(data(jobs[1], catalog()).split.labelled) == 30
    assert data(jobs[0], catalog()) is first
    data(jobs[2], catalog())
    assert data(jobs[0], catalog()) is first, "the one that was used last stays"
    data(jobs[1], catalog())
    assert opened == [2, 3, 4, 3]


def test_a_backbone_is_compiled_where_study_and_method_let_it(digits: Dataset, tmp_path: Path) -> None:
    found = [
        (method, compiled, parts(digits, tmp_path, method, compiled=compiled).model.encoder._compiled_call_impl)
        for method in ("ce", "delta")
        for compiled in (False, True)
    ]
    assert [(method, compiled) for method, compiled, call in found if call is not None] == [("ce", True)]


def test_swad_is_refused_where_there_is_no_cross_entropy_to_average_by(digits: Dataset, tmp_path: Path) -> None:
    job = digits_job(digits_spec("moco_v2"))
    with pytest.raises(RequestError, match=r"weights: swad averages by the cross-entropy .*; pretraining has none"):
        build_parts(job, digits, ResultsStore(tmp_path), catalog(), context(), keep_average=True)


def test_a_method_that_needs_domains_trains_on_no_other_data_but_judges_them(digits: Dataset, tmp_path: Path) -> None:
    job = digits_job(digits_spec("coral"))
    with pytest.raises(RequestError, match="method coral needs the domain of every training image: these images have"):
        build_parts(job, digits, ResultsStore(tmp_path), catalog(), context())
    assert build_model(job, digits, catalog(), context())[1].classifier is not None


def test_a_method_that_would_never_compare_domains_is_refused(digits: Dataset, tmp_path: Path) -> None:
    of = Domains(("a", "b"), np.arange(len(digits.packed.labels)) % 2)
    for contrast, fits in ((5, True), (2, False)):
        job = digits_job(digits_spec("coral", batch=10, contrast_batch=contrast, domain_balanced=True))
        build = partial(build_parts, job, replace(digits, domains=of), ResultsStore(tmp_path), catalog(), context())
        if fits:
            build()
            continue
        with pytest.raises(RequestError, match="contrast batch of 2 from 2 domains in turn has them of none"):
            build()
