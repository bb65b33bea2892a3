"""Which run is the first choice as a surrogate, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.training import accuracy_evaluation, catalog, context, digits_job, digits_spec

from coretune.errors import RequestError
from coretune.results.cellfile import CellFile, Choice, FinalEntry
from coretune.results.store import ResultsStore
from coretune.runs.build import open_job_data
from coretune.runs.execute import Execution
from coretune.runs.surrogate import choose_final, foreign_surrogate, recorded_surrogate
from coretune.spec.run import RunSpec

PGD = {"attack": "pgd", "eps": "8/255", "steps": 1, "validation_steps": 1}

METHODS = {"ce": {}, "mixture_ce": {}, "ce_pgd": {"adversary": PGD}}


def spec_of(method: str, seed: int) -> RunSpec:
    made = digits_spec(method.removesuffix("_pgd"), seed=seed, epochs=1).model_dump(exclude_defaults=True)
    return RunSpec.model_validate({**made, **METHODS[method]})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ResultsStore:
    """Final runs of three methods, two seeds each, one method trained against attacks."""
    store = ResultsStore(tmp_path_factory.mktemp("results"))
    for method in METHODS:
        finals = []
        for index, seed in enumerate((0, 1)):
            job = digits_job(spec_of(method, seed), keep_weights=True)
            list(Execution(job, store, catalog(), context()))
            finals.append(FinalEntry(index=index, seed=seed, run_id=job.spec.run_id))
        store.put_cell(
            CellFile(
                key=f"digits--{method}--small",
                dataset="digits",
                method=method,
                backbone="small",
                metric="top1",
                direction="max",
                choice=Choice(trial=0, params={}, value=50.0, rule="the defaults"),
                finals=tuple(finals),
                evaluation=accuracy_evaluation().model_dump(mode="json", exclude_defaults=True),
            )
        )
    return store


@pytest.mark.parametrize(
    ("method", "seed", "chosen"),
    [
        ("ce", 1, ("mixture_ce", 1)),
        ("ce_pgd", 0, ("ce", 0)),
        ("mixture_ce", 0, ("ce", 0)),
    ],
)
def test_the_first_choice_is_undefended_and_of_the_same_seed(
    store: ResultsStore, method: str, seed: int, chosen: tuple[str, int]
) -> None:
    spec = spec_of(method, seed)
    final = choose_final(store, spec.run_id, spec)
    assert final is not None and final.run_id == spec_of(*chosen).run_id


def test_there_is_none_of_other_images_or_without_weights(store: ResultsStore, tmp_path: Path) -> None:
    spec = spec_of("ce", 0)
    other = spec.replace(data=spec.data.replace(image_size=12))
    assert choose_final(store, other.run_id, other) is None
    assert choose_final(ResultsStore(tmp_path), spec.run_id, spec) is None


def test_it_is_opened_with_its_weights(store: ResultsStore) -> None:
    spec, other = spec_of("ce", 0), spec_of("ce_pgd", 1)
    found = recorded_surrogate(store, other.run_id, "last", spec, context())
    assert found.identity == f"run:{other.run_id}/last"
    assert found.title == f"run {other.run_id}, ce under pgd, last weights"
    job = digits_job(spec)
    dataset = open_job_data(job, catalog())
    model = found.open(dataset)
    file = foreign_surrogate(store.weights_path(other.run_id), None, job, catalog(), context())
    assert file.identity.startswith("sha256:") and file.title == "model.safetensors, small_resnet"
    theirs = file.open(dataset).state_dict()
    assert all((value == theirs[name]).all() for name, value in model.state_dict().items())


def test_what_is_no_surrogate_is_refused(store: ResultsStore) -> None:
    spec = spec_of("ce", 0)
    with pytest.raises(RequestError, match="is the model itself"):
        recorded_surrogate(store, spec.run_id, "last", spec, context())
    with pytest.raises(RequestError, match="has no record"):
        recorded_surrogate(store, "0" * 16, "last", spec, context())
    with pytest.raises(RequestError, match="its best weights were not kept"):
        recorded_surrogate(store, spec_of("ce", 1).run_id, "best", spec, context())
