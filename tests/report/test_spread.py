"""What the two readings of "±" hold, and what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from coretune.report.spread import NEW_SPLITS, ONE_SPLIT, over_repeats, over_seeds
from coretune.spec.study import Study

MOCO = {"pretrain": {}}


def study(*backbones: dict[str, Any], **keys: Any) -> Study:
    return Study(
        name="s",
        **{"datasets": {"pacs": {}}, **keys},
        backbones={f"net{number}": backbone for number, backbone in enumerate(backbones or (MOCO,))},
        methods={"ce": {}},
    )


def of_seeds(varied: str, shared: str) -> str:
    return f"the spread over seeds is that of {varied}; {shared} are shared"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (study(), of_seeds("training", "search, backbone and test images")),
        (
            study(data={"labels_per_class": 5, "subset_seed": "per_seed"}),
            of_seeds("training and the draw of the labelled subset", "search, backbone and test images"),
        ),
        (
            study(data={"labels_per_class": 5}),
            of_seeds("training; the labelled subset is one and the same", "search, backbone and test images"),
        ),
        (
            study(datasets={"a": {"subset_seed": "per_seed"}, "b": {}}, data={"labels_per_class": 5}),
            of_seeds(
                "training and on some data sets the draw of the labelled subset", "search, backbone and test images"
            ),
        ),
        (study({}), of_seeds("training and the initial weights", "search and test images")),
        (study({}, MOCO), of_seeds("training and of some backbones the initial weights", "search and test images")),
    ],
)
def test_over_seeds(made: Study, said: str) -> None:
    assert over_seeds(made) == said


def of_repeats(anew: str, shared: str) -> str:
    return f"the spread over repeats is that of the whole search: each repeat {anew} anew; {shared} are shared"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (study(), of_repeats("pre-trains, searches, chooses and trains", "the splits and the test images")),
        (
            study({"checkpoint": "a.pt"}, search="none"),
            of_repeats("trains", "the backbone, the splits and the test images"),
        ),
        (
            study({"pretrain": {"seed": 3}}, datasets={"pacs": {"labels_per_class": 5}}),
            of_repeats(
                "searches, chooses, trains and draws its labelled images",
                "the backbone, the splits and the test images",
            ),
        ),
    ],
)
def test_over_repeats_on_one_split(made: Study, said: str) -> None:
    assert over_repeats(made, ONE_SPLIT) == said


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (
            study({"checkpoint": "a.pt"}, datasets={"pacs": {"held_out_domain": "photo"}}),
            of_repeats("searches, chooses, trains and draws its splits", "the backbone and the test images"),
        ),
        (
            study({"pretrain": {"seed": 3}}, datasets={"pacs": {"held_out_domain": "photo"}}, search="none"),
            of_repeats("pre-trains, trains and draws its splits", "the test images"),
        ),
        (
            study({"checkpoint": "a.pt"}, datasets={"pacs": {"held_out_domain": "photo", "held_out_limit": 9}}),
            of_repeats(
                "searches, chooses, trains, draws its splits and draws what is tested of a held-out domain",
                "the backbone",
            ),
        ),
    ],
)
def test_over_repeats_with_new_splits(made: Study, said: str) -> None:
    assert over_repeats(made, NEW_SPLITS) == said


def test_what_is_tested_is_drawn_anew_where_it_is_a_part() -> None:
    made = study({}, datasets={"pacs": {"held_out_domain": "photo", "held_out_part": "domainbed_80"}}, search="none")
    said = "each repeat trains, draws its splits and draws what is tested of a held-out domain anew"
    assert over_repeats(made, NEW_SPLITS).endswith(said)
    assert over_repeats(made, ONE_SPLIT).endswith("trains anew; the splits and the test images are shared")
