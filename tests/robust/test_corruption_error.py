"""The error under corruptions: image by image, the same whatever batch and workers; as an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from support.crew import Crew
from support.sharded import corruption_errors
from support.training import catalog, context, digits_job, digits_spec, toy_dataset, toy_parts, toy_spec
from torch import Tensor, nn

from coretune.results.store import ResultsStore
from coretune.robust.corruption_error import evaluate_corruptions
from coretune.robust.corruptions import CORRUPTIONS, corrupt
from coretune.runs.evaluate import evaluate
from coretune.runs.execute import Execution
from coretune.spec.catalog.evaluations import ALL_CORRUPTIONS, CorruptionParameters
from coretune.spec.run import EvalSpec

torch.set_num_threads(1)


def test_the_declaration_has_the_names_of_the_code() -> None:
    assert tuple(CORRUPTIONS) == ALL_CORRUPTIONS


class OnePixel(nn.Module):
    """Predicts the colour of one pixel, which noise, flakes and shifts change."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, 2, 2]


def test_errors_are_those_of_single_images() -> None:
    data, model = toy_dataset(labelled=40), OnePixel()
    params = CorruptionParameters(corruptions=("shot_noise", "snow", "elastic_transform"), severities=(2, 5))
    chosen = data.split.labelled[3:39]
    found = evaluate_corruptions(model, data.packed, chosen, context(), params=params, seed=5)  # type: ignore[arg-type]
    pixels = torch.from_numpy(data.packed.images).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(data.packed.labels)

    def error(name: str, severity: int) -> float:
        wrong = 0
        for index in chosen:
            image = corrupt(pixels[index : index + 1], np.array([index]), name, severity, seed=5)
            wrong += int(model(image).argmax() != labels[index])
        return 100 * wrong / len(chosen)

    expected = [[error(name, severity) for severity in params.severities] for name in params.corruptions]
    assert list(found.details["error"]) == list(params.corruptions) and np.ptp(expected) > 0
    np.testing.assert_allclose(list(found.details["error"].values()), expected)
    np.testing.assert_allclose(list(found.details["mean_error"].values()), np.mean(expected, axis=1))
    assert found.metrics["corruption_error"] == pytest.approx(np.mean(expected))
    clean = (model(pixels[chosen]).argmax(dim=1) != labels[chosen]).double().mean()
    assert found.metrics["clean_error"] == pytest.approx(100 * float(clean))
    assert found.details["table"] == "CIFAR-10-C, of images of 32 pixels" and found.details["side"] == 8
    assert "frost" not in found.details


def test_no_image_has_no_error() -> None:
    data, parts = toy_dataset(), toy_parts(toy_spec("ce"))
    assert not evaluate_corruptions(parts.model, data.packed, np.empty(0, np.int64), context()).metrics


def test_neither_the_batch_nor_the_workers_change_anything(crew: Crew) -> None:
    alone = corruption_errors(context().shard)
    assert corruption_errors(context().shard, 3) == alone
    assert crew.run(2, corruption_errors) == [alone] * 2


def test_a_run_is_evaluated(tmp_path: Path) -> None:
    spec = EvalSpec(evaluation=catalog().ref("evaluation", "corruptions"), limit=12)
    job = digits_job(digits_spec("ce"), evaluations=(spec,), keep_weights=True)
    store = ResultsStore(tmp_path)
    list(Execution(job, store, catalog(), context()))
    found = store.evaluation(job.spec.run_id, spec.eval_id(job.spec.run_id))
    assert found is not None and set(found.metrics) == {"corruption_error", "clean_error"}
    assert list(found.details["error"]) == list(ALL_CORRUPTIONS)
    assert all(len(by_severity) == 5 for by_severity in found.details["error"].values())
    assert "not at hand" in found.details["frost"]
    assert evaluate(job, spec, store, catalog(), context()).metrics == found.metrics


@pytest.mark.parametrize(
    "values",
    [
        *({"corruptions": []}, {"corruptions": ["fogg"]}, {"corruptions": ["fog", "fog"]}),
        *({"severities": [0]}, {"severities": []}, {"severities": [1, 1]}),
    ],
)
def test_bad_parameters_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CorruptionParameters.model_validate(values)
