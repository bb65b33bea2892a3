from __future__ import annotations

import re

import pytest

from coretune.errors import StudyError
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.study import LABEL
from coretune.spec.yamlfile import parse_yaml

PRINT = "0" * 64
PACS = ("art_painting", "cartoon", "photo", "sketch")
REST = "\nbackbones: {small_resnet: {}}\nmethods: [ce]\n"


def loaded(datasets: str, rest: str = REST) -> LoadedStudy:
    return resolve_study(parse_yaml(f"name: x\ndatasets: {datasets}{rest}"))


def problems(datasets: str, rest: str = REST) -> list[str]:
    with pytest.raises(StudyError) as error:
        loaded(datasets, rest)
    return [f"{problem.key}: {problem.message}" for problem in error.value.problems]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("all", PACS), ("photo", ("photo",)), ("[sketch, photo]", ("sketch", "photo")), ("null", (None,))],
)
def test_a_cell_for_each_held_out_domain(value: str, expected: tuple[str | None, ...]) -> None:
    study = loaded(f"{{pacs: {{held_out_domain: {value}}}}}")
    assert tuple(cell.dataset.held_out_domain for cell in study.cells) == expected
    labels = tuple("pacs" if name is None else f"pacs-{name}" for name in expected)
    assert tuple(cell.dataset.label for cell in study.cells) == labels == study.study.tuned
    assert study.study.sections == ("pacs",) and {cell.dataset.section for cell in study.cells} == {"pacs"}
    assert study.cells[0].labels("dataset") == tuple(dict.fromkeys((labels[0], "pacs")))
    assert study.cells[0].labels("method") == ("ce",)


def test_a_study_with_all_domains_is_written_with_their_names() -> None:
    assert loaded("{pacs: {held_out_domain: all}}").study.datasets["pacs"]["held_out_domain"] == list(PACS)


def test_what_a_run_is_told() -> None:
    study = loaded("{a: {dataset: office_home, held_out_domain: Real World, held_out_part: domainbed_80}, pacs: {}}")
    first, second = (cell.dataset for cell in study.cells)
    assert first.label == "a-Real_World" and re.fullmatch(LABEL, first.label)
    data, plain = first.spec(PRINT), second.spec(PRINT)
    assert (data.held_out_domain, data.held_out_part, data.validation, data.test) == (
        "Real World",
        "domainbed_80",
        0.2,
        0,
    )
    assert (plain.held_out_domain, plain.validation, plain.test) == (None, 0.1, 0.2)
    assert {"held_out_domain", "held_out_part"}.isdisjoint(plain.model_dump(exclude_defaults=True))


@pytest.mark.parametrize("said", ["validation: 0.3}}\ndata: {test: 0.7}", "}}\ndata: {validation: 0.3}"])
def test_a_validation_part_that_is_said_wins_over_a_fifth(said: str) -> None:
    text = f"name: x\ndatasets: {{pacs: {{held_out_domain: photo, {said}{REST}"
    (cell,) = resolve_study(parse_yaml(text)).cells
    assert cell.dataset.options.validation == 0.3


def test_images_of_your_own_are_folders_of_domains() -> None:
    (cell,) = loaded("{mine: {path: photos, held_out_domain: day}}").cells
    assert cell.dataset.ref.name == "domain_folders" and cell.key == "mine-day--ce--small_resnet"


@pytest.mark.parametrize(
    ("datasets", "expected"),
    [
        (
            "{pacs: {held_out_domain: fotos}}",
            "datasets.pacs.held_out_domain: pacs has no domain 'fotos'; did you mean photo",
        ),
        ("{pacs: {held_out_domain: [photo, photo]}}", "datasets.pacs.held_out_domain: photo stands there twice"),
        (
            "{m: {path: x, held_out_domain: ['a b', 'a.b']}}",
            "datasets.m.held_out_domain: a b and a.b would have one label, a_b; leave out the one that",
        ),
        ("{pacs: {held_out_domain: 3}}", "datasets.pacs.held_out_domain: must be all, the name of a domain or a list"),
        ("{pacs: {held_out_domain: []}}", "datasets.pacs.held_out_domain: must be all, the name of a domain or a list"),
        ("{cifar10: {held_out_domain: all}}", "datasets.cifar10.held_out_domain: cifar10 has no domains"),
        (
            "{m: {path: x, held_out_domain: all}}",
            "datasets.m.held_out_domain: which domains domain_folders has is known once its images are there; in place",
        ),
        ("{pacs: {transductive: true}}", "datasets.pacs.transductive: is said of a held-out domain, and there is no"),
        ("{pacs: {held_out_part: whole}}", "datasets.pacs.held_out_part: is said of a held-out domain"),
        ("{pacs: {held_out_domain: photo, held_out_part: half}}", "datasets.pacs.held_out_part: must be one of whole"),
        ("{pacs: {held_out_domain: photo, test: 5}}", "datasets.pacs.test: the held-out domain is the test part"),
        (
            "{pacs: {held_out_domian: photo}}",
            "datasets.pacs.held_out_domian: unknown key; did you mean held_out_domain",
        ),
        (
            "{pacs: {held_out_domain: photo}, pacs-photo: {dataset: pacs}}",
            "datasets.pacs-photo: its label pacs-photo is one of pacs, too",
        ),
        (f"{{{'p' * 60}: {{dataset: pacs, held_out_domain: photo}}}}", "a label has at most 64 characters, got 66"),
    ],
)
def test_what_is_wrong_is_said_at_its_key_with_what_would_be_right(datasets: str, expected: str) -> None:
    (found,) = problems(datasets)
    assert expected in found


def test_a_backbone_is_pre_trained_on_one_data_set() -> None:
    rest = "\nbackbones: {a: {arch: small_resnet, pretrain: {dataset: pacs}}}\nmethods: [ce]\n"
    (found,) = problems("{pacs: {held_out_domain: all}}", rest)
    assert found.startswith("backbones.a.pretrain.dataset: pacs is 4 data sets, one for each held-out domain; leave")
    one = loaded("{pacs: {held_out_domain: photo, pretraining_only: true}, digits: {}}", rest)
    assert one.cells[0].pretraining_data.held_out_domain == "photo"
    own = loaded("{pacs: {held_out_domain: all}}", rest.replace("dataset: pacs", "method: moco_v2"))
    assert [cell.pretraining_data.held_out_domain for cell in own.cells] == list(PACS)


@pytest.mark.parametrize("key", ["transductive: true", "data: {transductive: true}"])
def test_a_key_of_a_data_set_that_is_said_of_the_study_or_all_data_is_sent_there(key: str) -> None:
    with pytest.raises(StudyError, match=r"transductive: unknown key here; it stands at datasets\.LABEL\.transductive"):
        resolve_study(parse_yaml(f"name: x\ndatasets: [digits]\nbackbones: [small_resnet]\nmethods: [ce]\n{key}\n"))
