"""The classifier beside a checkpoint's backbone: found by its name and shape, or refused with what there is."""

from __future__ import annotations

import pytest
import torch
from support.checkpoints import below, linear, narrow

from coretune.errors import RequestError
from coretune.nets.checkpoints import Contents, load_classifier

torch.set_num_threads(1)


def contents(**tensors: torch.Tensor) -> Contents:
    return Contents("PyTorch zip", {"state_dict": tensors})


@pytest.mark.parametrize(
    "name", ["fc", "linear", "last_linear", "head", "heads.head", "head.fc", "classifier", "classifier.2"]
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("wrapper", ["", "module.", "module._orig_mod."])
def test_a_classifier_is_found_by_its_name(name: str, bias: bool, wrapper: str) -> None:
    head = linear(name, 5, bias=bias)
    layer = load_classifier(contents(**below(wrapper, {**narrow().state_dict(), **head})), features=8, classes=5)
    assert torch.equal(layer.weight, head[f"{name}.weight"])
    assert (layer.bias is not None) == bias and (not bias or torch.equal(layer.bias, head[f"{name}.bias"]))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({}, "holds no classifier .* it was made to start from"),
        (linear("fc.0", 5), "holds no classifier"),
        (linear("fc", 7), "no classifier of 8 features and 5 classes, but fc.weight of 8 features and 7 classes"),
        ({**linear("fc", 5), **linear("head", 5)}, "holds 2 classifiers of 8 features and 5 classes: fc.weight, head"),
        ({"fc.weight": torch.full((5, 8), torch.nan)}, "is broken: fc.weight holds a number that is not finite"),
        ({"fc.weight": torch.ones(5, 8, 1, 1)}, "holds no classifier"),
    ],
)
def test_another_classifier_is_refused(head: dict[str, torch.Tensor], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        load_classifier(contents(**narrow().state_dict(), **head), features=8, classes=5)


def test_of_two_classifiers_the_one_that_fits_is_taken() -> None:
    heads = {**linear("fc", 5), **linear("head", 7)}
    layer = load_classifier(contents(**narrow().state_dict(), **heads), features=8, classes=7)
    assert torch.equal(layer.weight, heads["head.weight"])
