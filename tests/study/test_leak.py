"""A backbone that has seen images of the held-out domain: refused, or marked."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from support import image_sets as sets

from coretune.data.dataset import open_dataset
from coretune.data.fingerprint import fingerprint
from coretune.data.source import open_source
from coretune.errors import RequestError
from coretune.results.provenance import UNKNOWN, Provenance, as_metadata
from coretune.results.store import ResultsStore
from coretune.spec.catalog import load_catalog
from coretune.spec.load import resolve_study
from coretune.spec.run import DataSpec
from coretune.spec.yamlfile import parse_yaml
from coretune.study.leak import Sight
from coretune.study.plan import make_plan
from coretune.study.remarks import about_backbones
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


def pretrained(
    file: Path,
    images: Path,
    name: str = "domain_folders",
    *,
    contents: bool = True,
    began: Provenance = Provenance(),  # noqa: B008 (frozen)
    **changes: object,
) -> str:
    """Writes what a training leaves of what it was trained on, and returns a study's backbones that start from it."""
    catalog = load_catalog()
    ref = catalog.ref("dataset", name)
    found = fingerprint(open_source(catalog, ref, str(images)))
    data = DataSpec(dataset=ref, fingerprint=found, image_size=8, validation=0.2, test=0.2).replace(**changes)
    dataset = open_dataset(catalog, data, str(images), images.parent / "cache")
    known = began.then(data, dataset.contents if contents else None)
    save_file({"a": np.zeros(1)}, file, metadata=as_metadata(known))
    return f"{{a: {{arch: small_resnet, checkpoint: {file}}}}}"


def refused(*arguments: Path | str, **options: str) -> str:
    with pytest.raises(RequestError) as error:
        study(*arguments, **options)  # type: ignore[arg-type]
    assert error.value.exit_code == 2
    return str(error.value)


def test_a_pre_training_on_the_cell_s_own_source_domains_sees_nothing_of_it(images: Path) -> None:
    (cell,) = study(images, OWN).cells
    assert cell.sight.seen == "" and cell.pretraining is not None and cell.pretraining.data.held_out_domain == "photo"


def test_a_pre_training_on_all_domains_is_refused_and_says_what_would_do(images: Path) -> None:
    said = refused(images, ON_OTHER, other=f"dataset: domain_folders, path: {images}")
    assert said.startswith(
        "<text>:4: datasets.mine: backbone a was pre-trained on images of the held-out domain photo ("
    )
    assert "of its 10 images in the data set other)" in said and "or say `datasets.mine.transductive: true`" in said


def test_transductive_lets_it_and_says_what_was_seen(images: Path) -> None:
    (cell,) = study(
        images, ON_OTHER, other=f"dataset: domain_folders, path: {images}", keys=", transductive: true"
    ).cells
    assert cell.sight.seen.endswith("of its 10 images in the data set other")
    (clean,) = study(images, OWN, keys=", transductive: true").cells
    assert clean.sight.seen == "", "nothing is marked where nothing was seen"


def test_the_same_held_out_domain_is_no_leak_and_another_one_is(images: Path) -> None:
    other = f"dataset: domain_folders, path: {images}, held_out_domain: "
    assert study(images, ON_OTHER, other=f"{other}photo").cells[0].sight.seen == ""
    assert "held-out domain photo" in refused(images, ON_OTHER, other=f"{other}art")


def test_copies_of_images_under_other_names_are_known_by_their_content(images: Path, tmp_path: Path) -> None:
    apart = tmp_path / "apart"
    for name in ("art", "sketch"):
        shutil.copytree(images / name, apart / name)
    assert study(images, ON_OTHER, other=f"dataset: domain_folders, path: {apart}").cells[0].sight.seen == ""
    shutil.copy(images / "photo" / "cat" / "3.png", apart / "art" / "cat" / "renamed.png")
    other = f"dataset: domain_folders, path: {apart}, validation: 1, test: 1, split_seed: 2"
    assert "(1 of its 10 images in the data set other)" in refused(images, ON_OTHER, other=other)


def test_a_checkpoint_of_coretune_says_what_it_was_trained_on(images: Path, tmp_path: Path) -> None:
    everything = pretrained(tmp_path / "all.safetensors", images, test=0)
    said = refused(images, everything)
    assert "7 of its 10 images in what all.safetensors was trained on)" in said
    assert "write `pretrain: {}` in place of `checkpoint`" in said
    apart = pretrained(tmp_path / "apart.safetensors", images, held_out_domain="photo", test=0)
    assert study(images, apart).cells[0].sight == Sight()


def test_images_of_a_checkpoint_are_known_by_content_in_whatever_folder(images: Path, tmp_path: Path) -> None:
    alone = pretrained(tmp_path / "photos.safetensors", images / "photo", "folder", limit=4)
    assert "(4 of its 10 images in what photos.safetensors was trained on)" in refused(images, alone)
    (cell,) = study(images, alone, keys=", transductive: true").cells
    assert cell.sight == Sight("4 of its 10 images in what photos.safetensors was trained on")


def test_a_copy_that_lacks_images_is_known_by_the_others(images: Path, tmp_path: Path) -> None:
    everything = pretrained(tmp_path / "all.safetensors", images, test=0)
    (images / "photo" / "cat" / "0.png").unlink()
    (images / "art" / "dog" / "1.png").unlink()
    assert "of its 9 images in what all.safetensors" in refused(images, everything)


@pytest.mark.parametrize("contents", [True, False])
def test_the_same_files_read_as_another_data_set_with_no_path_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contents: bool
) -> None:
    root = tmp_path / "data" / "pacs"
    for number, domain in enumerate(("art_painting", "cartoon", "photo", "sketch")):
        for label, name in enumerate(sets.PACS):
            for i in range(2):
                sets.draw(root / domain / name / f"{i}.png", 14 * number + 2 * label + i)
    monkeypatch.setenv("CORETUNE_DATA", str(tmp_path / "data"))
    backbone = pretrained(tmp_path / "w.safetensors", root, "folder", contents=contents, test=0)
    text = f"""
name: x
datasets: {{pacs: {{held_out_domain: photo, image_size: 8}}}}
backbones: {backbone}
methods: [ce]
"""
    with pytest.raises(RequestError, match=r"of its 14 images in what w\.safetensors was trained on"):
        resolve(resolve_study(parse_yaml(text)))
    (cell,) = resolve(resolve_study(parse_yaml(text.replace("photo,", "photo, transductive: true,")))).cells
    assert cell.sight.seen


def test_a_checkpoint_that_is_older_than_contents_is_known_where_the_data_set_is_the_same(
    images: Path, tmp_path: Path
) -> None:
    older = pretrained(tmp_path / "old.safetensors", images, contents=False, test=0)
    assert "7 of its 10 images in what old.safetensors was trained on)" in refused(images, older)
    (images / "photo" / "cat" / "0.png").unlink()
    sight = study(images, older).cells[0].sight
    assert sight.seen == "" and sight.unknown.startswith("old.safetensors is of an older coretune")


def test_a_checkpoint_of_somebody_else_is_said_to_be_unknown(images: Path, tmp_path: Path) -> None:
    save_file({"a": np.zeros(1)}, tmp_path / "moco.safetensors")
    foreign = f"{{a: {{arch: small_resnet, checkpoint: {tmp_path / 'moco.safetensors'}}}}}"
    (cell,) = study(images, foreign).cells
    assert cell.sight == Sight(unknown="moco.safetensors does not say what it was trained on")
    assert about_backbones([(cell.cell, cell.sight)] * 2) == [
        "nobody can tell whether backbone a has seen images of held-out domains: moco.safetensors does not say what it "
        "was trained on"
    ]
    later = pretrained(tmp_path / "later.safetensors", images / "art", "folder", began=UNKNOWN)
    assert study(images, later).cells[0].sight.unknown == (
        "later.safetensors began with weights that do not say what they were trained on"
    )


def test_a_plan_says_what_backbones_have_seen(images: Path, tmp_path: Path) -> None:
    save_file({"a": np.zeros(1)}, tmp_path / "moco.safetensors")
    foreign = f"{{a: {{arch: small_resnet, checkpoint: {tmp_path / 'moco.safetensors'}}}}}"
    loaded = study(images, foreign).loaded
    assert any("nobody can tell" in note for note in make_plan(loaded, ResultsStore(tmp_path / "out")).notes)
    alone = pretrained(tmp_path / "photos.safetensors", images / "photo", "folder", limit=4)
    loaded = study(images, alone, keys=", transductive: true").loaded
    assert (
        "transductive: backbone a has seen images of the held-out domain photo (4 of its 10 images in what "
        "photos.safetensors was trained on)"
    ) in make_plan(loaded, ResultsStore(tmp_path / "out")).notes


def test_images_that_stand_in_a_source_domain_as_well_make_no_backbone_transductive(
    images: Path, tmp_path: Path
) -> None:
    shutil.copy(images / "photo" / "cat" / "3.png", images / "art" / "cat" / "again.png")
    sources = pretrained(tmp_path / "sources.safetensors", images / "art", "folder", validation=1, split_seed=3)
    assert study(images, sources).cells[0].sight == Sight()


def test_a_domain_that_is_not_there_is_refused_before_anything_runs(images: Path) -> None:
    assert refused(images, "[small_resnet]", held_out="foto") == (
        "datasets.mine: held_out_domain: no domain 'foto'; did you mean photo?"
    )
