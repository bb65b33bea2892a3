from __future__ import annotations

import pytest
from support.driving import STUDY

from coretune.errors import RequestError
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.yamlfile import parse_yaml
from coretune.study.check import check_study


def loaded(*sets: str) -> LoadedStudy:
    return resolve_study(parse_yaml(STUDY, "tiny.yaml"), sets)


def test_data_that_are_there_are_counted() -> None:
    (data,) = check_study(loaded())
    assert (data.kind, data.label, data.state) == ("data set", "digits", "there")
    assert "50 to train on, 200 to validate, 600 to test" in data.text


def test_more_labels_than_there_are_is_a_wrong_request_of_a_named_data_set() -> None:
    with pytest.raises(RequestError, match=r"^data set digits: .*labels_per_class: must be at most"):
        check_study(loaded("datasets.digits.labels_per_class=5000"))
