"""A trained model comes back with its method's own weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.training import catalog, context, digits_job, digits_spec

from coretune.errors import RequestError
from coretune.nets.weights import load_weights, save_weights
from coretune.results.store import ResultsStore
from coretune.runs.build import build_parts, open_job_data
from coretune.runs.trained import load_trained, save_model

torch.set_num_threads(1)


def test_the_method_comes_back_with_the_model(tmp_path: Path) -> None:
    job, store = digits_job(digits_spec("core_tuning")), ResultsStore(tmp_path)
    dataset = open_job_data(job, catalog())
    parts = build_parts(job, dataset, store, catalog(), context())
    with torch.no_grad():
        for parameter in (*parts.model.parameters(), *parts.method.parameters()):
            parameter += 0.25
    save_model(job, parts, None, dataset, store)
    model, method = load_trained(job, dataset, store, catalog(), context())
    for found, saved in ((model, parts.model), (method, parts.method)):
        expected = saved.state_dict()
        assert found.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())
    assert method.classifier is model.classifier


def test_weights_of_another_method_are_refused(tmp_path: Path) -> None:
    job, store = digits_job(digits_spec("core_tuning")), ResultsStore(tmp_path)
    dataset = open_job_data(job, catalog())
    save_model(job, build_parts(job, dataset, store, catalog(), context()), None, dataset, store)
    path = store.weights_path(job.spec.run_id)
    state, metadata = load_weights(path)
    save_weights({key: value for key, value in state.items() if "projector" not in key}, path, metadata)
    with pytest.raises(RequestError, match=r"its weights are of another method: (.|\n)*projector"):
        load_trained(job, dataset, store, catalog(), context())
