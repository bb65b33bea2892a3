"""A backbone that has seen images of the held-out domain: refused, or marked."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from support import image_sets as sets

from coretune.data.fingerprint import fingerprint
from coretune.data.source import open_source
from coretune.errors import RequestError
from coretune.results.provenance import TRAINED_ON, as_metadata
from coretune.spec.catalog import load_catalog
from coretune.spec.load import resolve_study
from coretune.spec.run import DataSpec
from coretune.spec.yamlfile import parse_yaml
from coretune.study.resolved import ResolvedStudy, resolve

OWN = "{a: {arch: small_resnet, pretrain: {}}}"
ON_OTHER = "{a: {arch: small_resnet, pretrain: {dataset: other}}}"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three domains, five images of each class in each; no two are alike."""
    value = 0
    for domain in ("art", "photo", "sketch"):
        for label in ("cat", "dog"):
            for i in range(5):
                sets.draw(tmp_path / "mine" / domain / label / f"{i}.png", value)
                value += 1
    return tmp_path / "mine"


def study(images: Path, backbones: str, *, other: str = "", keys: str = "", held_out: str = "photo") -> ResolvedStudy:
    text = f"""
name: x
datasets:
  mine: {{path: {images}, held_out_domain: {held_out}, image_size: 8{keys}}}
{f"  other: {{{other}, image_size: 8, pretraining_only: true}}" if other else ""}
backbones: {backbones}
methods: [ce]
"""
    return resolve(resolve_study(parse_yaml(text)))


def refused(*arguments: Path | str, **options: str) -> str:
    with pytest.raises(RequestError) as error:
        study(*arguments, **options)  # type: ignore[arg-type]
    assert error.value.exit_code == 2
    return str(error.value)


def test_a_pre_training_on_the_cell_s_own_source_domains_sees_nothing_of_it(images: Path) -> None:
    (cell,) = study(images, OWN).cells
    assert cell.seen == "" and cell.pretraining is not None and cell.pretraining.data.held_out_domain == "photo"


def test_a_pre_training_on_all_domains_is_refused_and_says_what_would_do(images: Path) -> None:
    said = refused(images, ON_OTHER, other=f"dataset: domain_folders, path: {images}")
    assert said.startswith("datasets.mine: backbone a was pre-trained on images of the held-out domain photo (")
    assert "of its 10 images in the data set other)" in said and "or say `transductive: true`" in said


def test_transductive_lets_it_and_says_what_was_seen(images: Path) -> None:
    (cell,) = study(
        images, ON_OTHER, other=f"dataset: domain_folders, path: {images}", keys=", transductive: true"
    ).cells
    assert cell.seen.endswith("of its 10 images in the data set other")
    (clean,) = study(images, OWN, keys=", transductive: true").cells
    assert clean.seen == "", "nothing is marked where nothing was seen"


def test_the_same_held_out_domain_is_no_leak_and_another_one_is(images: Path) -> None:
    other = f"dataset: domain_folders, path: {images}, held_out_domain: "
    assert study(images, ON_OTHER, other=f"{other}photo").cells[0].seen == ""
    assert "held-out domain photo" in refused(images, ON_OTHER, other=f"{other}art")


def test_copies_of_images_under_other_names_are_known_by_their_content(images: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart"
    for name in ("art", "sketch"):
        shutil.copytree(images / name, apart / name)
    assert study(images, ON_OTHER, other=f"dataset: domain_folders, path: {apart}").cells[0].seen == ""
    shutil.copy(images / "photo" / "cat" / "3.png", apart / "art" / "cat" / "renamed.png")
    other = f"dataset: domain_folders, path: {apart}, validation: 1, test: 1, split_seed: 2"
    assert "(1 of its 10 images in the data set other)" in refused(images, ON_OTHER, other=other)


def test_a_checkpoint_of_coretune_says_what_it_was_trained_on(images: Path, tmp_path: Path) -> None:
    catalog = load_catalog()
    ref = catalog.ref("dataset", "domain_folders")
    found = fingerprint(open_source(catalog, ref, str(images)))

    def checkpoint(name: str, **changes: object) -> str:
        data = DataSpec(dataset=ref, fingerprint=found, image_size=8, validation=0.2, test=0)
        save_file({"a": np.zeros(1)}, tmp_path / name, metadata={TRAINED_ON: as_metadata([data.replace(**changes)])})
        return f"{{a: {{arch: small_resnet, checkpoint: {tmp_path / name}}}}}"

    said = refused(images, checkpoint("all.safetensors"))
    assert "of its 10 images in what all.safetensors was trained on)" in said
    assert study(images, checkpoint("apart.safetensors", held_out_domain="photo")).cells[0].seen == ""
    assert study(images, checkpoint("others.safetensors", fingerprint="1" * 64)).cells[0].seen == ""


def test_a_domain_that_is_not_there_is_refused_before_anything_runs(images: Path) -> None:
    assert refused(images, "[small_resnet]", held_out="foto") == (
        "datasets.mine: held_out_domain: no domain 'foto'; did you mean photo?"
    )
