"""Whatever a method does to the backbone and beside it, a trained model comes back whole and is judged the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.image_sets import draw
from support.training import accuracy_evaluation, assert_same_tensors, catalog, context, digits_job, digits_spec

from coretune.data.dataset import Dataset
from coretune.data.fingerprint import fingerprint, hash_file
from coretune.data.pack import Packed
from coretune.data.source import Domains, open_source
from coretune.errors import RequestError
from coretune.nets.weights import load_weights, save_weights
from coretune.results.provenance import provenance
from coretune.results.store import ResultsStore
from coretune.runs.build import build_parts, open_job_data
from coretune.runs.evaluate import evaluate
from coretune.runs.execute import Execution
from coretune.runs.job import Job
from coretune.runs.trained import load_model, load_trained, save_model
from coretune.spec.augment import AugmentSpec
from coretune.spec.components import Catalog
from coretune.spec.run import DataSpec

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


def test_a_file_of_weights_says_what_it_and_its_start_were_trained_on(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    first = digits_job(digits_spec("moco_v2"))
    dataset = open_job_data(first, catalog())
    save_model(first, build_parts(first, dataset, store, catalog(), context()), None, dataset, store)
    apart = first.spec.data.replace(labels_per_class=3)
    second = digits_job(digits_spec(weights=f"run:{first.spec.run_id}"))
    second = replace(second, spec=second.spec.replace(data=apart))
    parts = build_parts(second, dataset, store, catalog(), context())
    save_model(second, parts, None, dataset, store)
    plain = AugmentSpec()
    expected = [data.replace(augment=plain) for data in (first.spec.data, apart)]
    known = provenance(store.weights_path(second.spec.run_id))
    assert [seen.data for seen in known.seen] == expected and known.whole
    alone = provenance(store.weights_path(first.spec.run_id))
    assert [seen.data for seen in alone.seen] == expected[:1]
    for seen in (*known.seen, *alone.seen):
        assert seen.contents is not None and dataset.contents is not None
        assert seen.contents.to_text() == dataset.contents.to_text()


def test_a_file_of_weights_says_that_it_began_with_weights_of_unknown_origin(tmp_path: Path) -> None:
    store, started = ResultsStore(tmp_path), digits_job(digits_spec("moco_v2"))
    dataset = open_job_data(started, catalog())
    parts = build_parts(started, dataset, store, catalog(), context())
    foreign = tmp_path / "foreign.safetensors"
    save_weights({f"encoder.{key}": value for key, value in parts.model.encoder.state_dict().items()}, foreign, {})
    begun = replace(
        started,
        spec=digits_spec("moco_v2", weights=f"sha256:{hash_file(foreign)}"),
        checkpoint=str(foreign),
    )
    save_model(begun, parts, None, dataset, store)
    known = provenance(store.weights_path(begun.spec.run_id))
    assert len(known.seen) == 1 and not known.whole


def test_weights_of_another_method_are_refused(tmp_path: Path) -> None:
    job, store = digits_job(digits_spec("core_tuning")), ResultsStore(tmp_path)
    dataset = open_job_data(job, catalog())
    save_model(job, build_parts(job, dataset, store, catalog(), context()), None, dataset, store)
    path = store.weights_path(job.spec.run_id)
    state, metadata = load_weights(path)
    save_weights({key: value for key, value in state.items() if "projector" not in key}, path, metadata)
    with pytest.raises(RequestError, match=r"its weights are of another method: (.|\n)*projector"):
        load_trained(job, dataset, store, catalog(), context())


def test_the_classes_of_a_table_are_kept_with_the_model(tmp_path: Path) -> None:
    """A label that was renamed moves the others: what the model calls 0 is no longer what the data call 0."""
    store = ResultsStore(tmp_path / "results")
    for name in ("crow", "heron"):
        for i in range(8):
            draw(tmp_path / f"{name}{i}.png", 20 * i)

    def table(first: str) -> Job:
        rows = [f"{name}{i}.png,{first if name == 'crow' else name}" for name in ("crow", "heron") for i in range(8)]
        (tmp_path / f"{first}.csv").write_text("\n".join(["path,label", *rows]))
        ref, path = catalog().ref("dataset", "manifest"), str(tmp_path / f"{first}.csv")
        data = DataSpec(
            dataset=ref, fingerprint=fingerprint(open_source(catalog(), ref, path)), image_size=8, validation=4, test=4
        )
        return Job(spec=digits_spec().replace(data=data), data_path=path)

    job, renamed = table("crow"), table("raven")
    dataset = open_job_data(job, catalog())
    save_model(job, build_parts(job, dataset, store, catalog(), context()), None, dataset, store)
    load_model(job, "last", dataset, store, catalog(), context())
    with pytest.raises(RequestError, match="knows class 0 as 'crow', in the data it is 'heron'"):
        load_model(job, "last", open_job_data(renamed, catalog()), store, catalog(), context())


def with_domains(job: Job, known: Catalog) -> Dataset[Packed]:
    """The data of a run, with two domains, for methods that train on no others."""
    found = open_job_data(job, known)
    return replace(found, domains=Domains(("a", "b"), np.arange(len(found.packed.labels)) % 2))


@pytest.mark.parametrize("method", catalog().names("method"))
@pytest.mark.parametrize("weights", ["last", "best"])
def test_a_trained_model_is_read_back_and_judged_the_same(method: str, weights: str, tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    spec = digits_spec(method, **catalog().get("method", method).train)
    wanted = accuracy_evaluation(weights=weights)
    job = digits_job(spec, evaluations=(wanted,), keep_weights=True)
    list(Execution(job, store, catalog(), context(), with_domains))
    first = store.evaluation(spec.run_id, wanted.eval_id(spec.run_id))
    assert first is not None
    again = evaluate(job, wanted, store, catalog(), context())
    assert again.metrics == first.metrics
    model = load_model(job, weights, open_job_data(job, catalog()), store, catalog(), context())
    kept, _ = load_weights(store.weights_path(spec.run_id, weights))
    assert_same_tensors(model.state_dict(), {k: v for k, v in kept.items() if not k.startswith("method.")})


def test_a_record_says_in_how_many_contrast_batches_no_domains_were_compared(tmp_path: Path) -> None:
    job = digits_job(digits_spec("coral", batch=10, contrast_batch=5))
    execution = Execution(job, ResultsStore(tmp_path), catalog(), context(), with_domains)
    list(execution)
    assert execution.record is not None
    (note,) = execution.record.notes
    assert re.fullmatch(r"in \d+ of 8 contrast batches no two domains had two images: nothing was aligned", note)
    balanced = digits_job(digits_spec("coral", batch=10, contrast_batch=5, domain_balanced=True))
    execution = Execution(balanced, ResultsStore(tmp_path), catalog(), context(), with_domains)
    list(execution)
    assert execution.record is not None and execution.record.notes == ()
