"""A model that coretune did not train: its classifier, its normalisation and the data; a published accuracy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from support.training import catalog, context, digits_job, digits_spec

from coretune.errors import RequestError, StudyError, UnfitError
from coretune.nets.cifar_resnet import resnet20
from coretune.nets.model import Model
from coretune.results.store import ResultsStore
from coretune.runs.evaluate import judge_model
from coretune.runs.execute import Execution
from coretune.runs.foreign import open_foreign
from coretune.spec.catalog.backbones import ShortcutParameters
from coretune.spec.run import EvalSpec
from coretune.tuning.classification import evaluate_classification

torch.set_num_threads(1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A ResNet-20 with a classifier of ten classes, as its project writes it."""
    torch.manual_seed(0)
    tensors = resnet20(ShortcutParameters()).state_dict()
    tensors |= {"linear.weight": torch.randn(10, 64), "linear.bias": torch.randn(10)}
    path = tmp_path / "resnet20.th"
    torch.save({"state_dict": {f"module.{key}": value for key, value in tensors.items()}}, path)
    return path


def test_the_model_is_the_one_of_the_file(checkpoint: Path) -> None:
    found = open_foreign(checkpoint, "resnet20", "digits", context(), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    state = torch.load(checkpoint)["state_dict"]
    encoder = resnet20(ShortcutParameters())
    encoder.load_state_dict({key[7:]: value for key, value in state.items() if "linear" not in key})
    head = torch.nn.Linear(64, 10)
    head.load_state_dict({"weight": state["module.linear.weight"], "bias": state["module.linear.bias"]})
    expected = Model(encoder, head, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)).eval()
    images = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(found.model(images), expected(images))
    assert not found.model.training and "mean 0.1, 0.2, 0.3" in " ".join(found.notes)
    assert found.job.spec.backbone.weights.startswith("sha256:")


def test_the_normalisation_is_the_architectures_where_nobody_says(checkpoint: Path) -> None:
    found = open_foreign(checkpoint, "resnet20", "digits", context(), data={"image_size": 16})
    assert found.model.normalise.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert "resnet20's own" in found.notes[1] and "order of the data set" in found.notes[2]
    assert found.dataset.packed.images.shape[1] == 16
    assert not len(found.dataset.split.validation) and "may have been trained on" in found.notes[3]
    spec = EvalSpec(evaluation=catalog().ref("evaluation", "classification"), limit=20)
    evaluation = judge_model(found.model, found.dataset, found.job, spec, found.catalog, context())
    assert evaluation.details["images"] == 20 and 0 <= evaluation.metrics["top1"] <= 100


def test_weights_of_a_run_whose_architecture_has_parameters_are_refused(tmp_path: Path) -> None:
    job = digits_job(digits_spec("ce"), keep_weights=True)
    store = ResultsStore(tmp_path)
    list(Execution(job, store, catalog(), context()))
    path = store.weights_path(job.spec.run_id)
    with pytest.raises(RequestError, match="of another architecture than small_resnet"):
        open_foreign(path, "small_resnet", "digits", context(), data={"image_size": 8})


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"arch": "resnet21"}, StudyError, "resnet21"),
        ({"arch": "resnet32"}, RequestError, "another architecture than resnet32"),
        ({"dataset": "digit"}, StudyError, "digit"),
        ({"mean": (0.5, 0.5, 0.5)}, RequestError, "give --mean and --std"),
        ({"mean": (0.5,), "std": (0.5, 0.5)}, RequestError, "one mean and one std"),
        ({"data": {"image_size": 2}}, StudyError, "image_size"),
    ],
)
def test_what_does_not_fit_is_refused(
    checkpoint: Path, changes: dict[str, object], error: type[Exception], said: str
) -> None:
    options = {"arch": "resnet20", "dataset": "digits", **changes}
    with pytest.raises(error, match=said):
        open_foreign(checkpoint, options.pop("arch"), options.pop("dataset"), context(), **options)  # type: ignore[arg-type]


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match=r"absent\.th: cannot be read"):
        open_foreign(tmp_path / "absent.th", "resnet20", "digits", context())


@pytest.mark.slow
def test_a_published_model_has_its_accuracy() -> None:
    folder = os.environ.get("CORETUNE_TEST_DATA")
    if folder is None:
        pytest.skip("CORETUNE_TEST_DATA is not set: no published checkpoint")
    path = Path(folder) / "checkpoints" / "resnet20-12fca82f.th"
    found = open_foreign(path, "resnet20", "cifar10", context(), path=str(Path(folder) / "cifar10"))
    first = found.dataset.split.test[:1000]
    assert evaluate_classification(found.model, found.dataset.packed, first, context())["top1"] == 92.0
