from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from coretune.errors import StudyError
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.run import RunSpec
from coretune.spec.segmentation import SAMPLING, SEGMENTATION_KEYS, SegmentationSpec
from coretune.spec.yamlfile import Document

STUDY: dict[str, Any] = {
    "name": "streets",
    "datasets": {"mine": {"dataset": "voc", "path": "/data/mine"}},
    "backbones": ["resnet18"],
    "methods": ["ce", "core_tuning"],
    "objective": {"metric": "miou"},
    "search": "none",
}


def loaded(**keys: Any) -> LoadedStudy:
    return resolve_study(Document({**STUDY, **keys}, "study.yaml"), folder=Path("/"))


def problems(**keys: Any) -> dict[str, str]:
    with pytest.raises(StudyError) as caught:
        loaded(**keys)
    return {problem.key: problem.message for problem in caught.value.problems}


def specs(**keys: Any) -> dict[str, RunSpec]:
    found = loaded(**keys)
    return {
        cell.method.label: cell.spec(found.catalog, {}, fingerprint="0" * 64, weights="random", seed=0, subset_seed=0)
        for cell in found.cells
    }


def test_a_data_set_with_a_class_per_pixel_makes_runs_of_segmentation() -> None:
    found = specs(segmentation={"head": "fcn", "pixels": 50})
    for spec in found.values():
        assert spec.task == "segmentation" and spec.segmentation is not None and spec.segmentation.head == "fcn"
        assert spec.data.augment.flip and spec.data.input_side == 512
    assert found["core_tuning"].segmentation == SegmentationSpec(head="fcn", pixels=50)


def test_what_ce_does_not_read_makes_no_other_run_of_it() -> None:
    before, after = specs(), specs(segmentation={"pixels": 50, "purity": 0.5, "mixtures": 0.3})
    assert before["ce"].run_id == after["ce"].run_id
    assert before["core_tuning"].run_id != after["core_tuning"].run_id
    assert set(SAMPLING) < set(SEGMENTATION_KEYS)


def test_methods_without_a_form_for_pixels_are_refused_and_told_which_have_one() -> None:
    found = problems(methods=["ce", "scl", "dr_tune"])
    assert found["methods.scl"] == ("scl has no form for data sets with a class per pixel; these have: ce, core_tuning")
    assert "methods.dr_tune" in found


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        (
            {"objective": {}},
            "objective.metric",
            "mine has a class per pixel, judged by miou: say objective: {metric: miou}",
        ),
        ({"datasets": {"cifar10": {}}}, "objective.metric", "miou is for data sets with a class per pixel"),
        (
            {"datasets": {"cifar10": {}}, "objective": {}, "segmentation": {"head": "fcn"}},
            "segmentation",
            "there is no data set with a class per pixel",
        ),
        ({"datasets": {**STUDY["datasets"], "cifar10": {}}}, "datasets.cifar10", "take a study for each"),
        ({"segmentation": {"head": "unet"}}, "segmentation.head", "deeplabv3"),
        ({"segmentation": {"heat": "fcn"}}, "segmentation.heat", "did you mean head"),
        ({"segmentation": {"scale": [2, 1]}}, "segmentation.scale", "needs 0 < low <= high"),
        ({"adversary": {"attack": "pgd"}}, "adversary", "no adversarial training of segmentation"),
        ({"data": {"labels_per_class": 5}}, "data.labels_per_class", "take label_fraction"),
        (
            {"methods": {"core_tuning": {"classifier_bias": False}}},
            "methods.core_tuning.classifier_bias",
            "have a bias",
        ),
        (
            {"methods": {"core_tuning": {"classifier_bias": {"choice": [True, False]}}}},
            "methods.core_tuning.classifier_bias",
            "in the search space choice",
        ),
        ({"methods": {"core_tuning": {"pairs": "cross_domain"}}}, "methods.core_tuning.pairs", "have no domains"),
        ({"data": {"image_size": 64}}, "data.image_size", "input_size is the side of the squares"),
        ({"data": {"augment": {"rotation": 10}}}, "data.augment.rotation", "away from their masks"),
        ({"evaluations": {"knn": {}}}, "evaluations.knn", "judges a class per image"),
        (
            {"datasets": {"cifar10": {}}, "objective": {}, "evaluations": {"segmentation": {}}},
            "evaluations.segmentation",
            "judges a class per pixel",
        ),
        (
            {"backbones": {"resnet18": {"pretrain": {"method": "moco_v2"}}}},
            "backbones.resnet18.pretrain.dataset",
            "name a data set of them",
        ),
        ({"objective": {"metric": ["miou", "top1"]}}, "objective.metric", "miou stands alone"),
        ({"finals": {"weights": "swad"}}, "finals.weights", "swad finds its window by the cross-entropy"),
        ({"evaluations": {"segmentation": {"weights": "swad"}}}, "evaluations.segmentation.weights", "last or best"),
    ],
)
def test_what_does_not_go_together_is_refused(keys: dict[str, Any], key: str, words: str) -> None:
    found = problems(**keys)
    matching = [message for where, message in found.items() if where.startswith(key)]
    assert any(words in message for message in matching), found


def test_what_pixels_do_not_know_is_right_for_images() -> None:
    keys = {"classifier_bias": False, "pairs": "within_domain"}
    found = loaded(datasets={"cifar10": {}}, objective={}, methods={"core_tuning": keys})
    assert found.cells[0].method.params == keys


@pytest.mark.parametrize("wrong", [{"head": "unet"}, {"output_stride": 32}, {"pixels": 1}])
def test_a_wrong_value_of_segmentation_is_all_that_is_said_of_it(wrong: dict[str, Any]) -> None:
    found = problems(segmentation=wrong, evaluations={"segmentation": {}})
    assert list(found) == [f"segmentation.{key}" for key in wrong]


def test_what_does_not_go_with_pixels_is_said_beside_a_data_set_that_is_wrong() -> None:
    found = problems(segmentation={"head": "unet"}, methods=["scl"])
    assert list(found) == ["segmentation.head", "methods.scl"]


def test_a_backbone_is_pre_trained_on_images_with_a_class_each() -> None:
    found = loaded(
        datasets={**STUDY["datasets"], "cifar10": {"pretraining_only": True}},
        backbones={"resnet18": {"pretrain": {"method": "moco_v2", "dataset": "cifar10"}}},
    )
    assert [cell.pretraining_data.label for cell in found.cells] == ["cifar10", "cifar10"]


def test_masks_are_nothing_to_pre_train_on() -> None:
    data = {"cifar10": {}, "mine": {**STUDY["datasets"]["mine"], "pretraining_only": True}}
    backbone = {"resnet18": {"pretrain": {"method": "moco_v2", "dataset": "mine"}}}
    found = problems(datasets=data, backbones=backbone, objective={})
    assert "class per pixel" in found["datasets.mine.pretraining_only"]


def test_several_scales_are_a_further_evaluation() -> None:
    found = loaded(evaluations={"multi_scale": {"evaluation": "segmentation", "scales": [0.5, 1.0], "flip": True}})
    assert found.evaluations["multi_scale"].evaluation.params == {"scales": [0.5, 1.0], "flip": True}


@pytest.mark.parametrize(
    ("scales", "said"),
    [
        ([], {"scales": "needs at least one entry"}),
        ([0], {"scales.0": "must be greater than 0.0, got 0"}),
        ([1, 1], {"scales": "a scale stands twice"}),
    ],
)
def test_what_is_wrong_with_scales_is_said_once(scales: list[float], said: dict[str, str]) -> None:
    found = problems(evaluations={"segmentation": {"scales": scales}})
    assert found == {f"evaluations.segmentation.{key}": text for key, text in said.items()}


ONE_IMAGE = "deeplabv3 normalises a single value of each image, and so needs two images at least"


@pytest.mark.parametrize(
    "train",
    [
        {"batch": 1},
        {"batch": 4, "contrast_batch": 1},
        {"batch": 1, "bn_group": 2},
        {"batch": {"choice": [1, 4]}, "contrast_batch": 4},
    ],
)
def test_a_pooled_branch_has_no_statistics_of_one_image(train: dict[str, Any]) -> None:
    found = problems(train=train)
    assert found.keys() == {"train"} and found["train"].startswith(ONE_IMAGE)
    own = problems(methods={"ce": {"train": train}}, segmentation={"head": "deeplabv3"})
    assert own.keys() == {"methods.ce.train"}
    assert loaded(train=train, segmentation={"head": "fcn"}).cells


def test_groups_of_two_images_are_enough() -> None:
    assert loaded(train={"batch": 2}).cells and loaded(train={"batch": 4, "contrast_batch": 1, "bn_group": 2}).cells


def test_one_image_is_no_matter_where_classes_are_those_of_images() -> None:
    assert loaded(datasets={"cifar10": {}}, objective={}, train={"batch": 1}).cells


def test_a_run_of_another_task_has_no_head() -> None:
    spec = specs()["ce"]
    with pytest.raises(ValidationError, match="segmentation: said for classification"):
        RunSpec.model_validate(spec.model_dump() | {"task": "classification"})
    with pytest.raises(ValidationError, match="segmentation: missing for segmentation"):
        RunSpec.model_validate(spec.model_dump() | {"segmentation": None})
