"""A recorded run as a job again: its description, the place of its data, and which runs have no model to evaluate."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.training import catalog, context, digits_job, digits_spec

from coretune.errors import RequestError, StorageError
from coretune.results.store import ResultsStore
from coretune.runs.execute import Execution
from coretune.runs.recorded import recorded_job

STUDY = """
name: s
datasets:
  digits: {path: %s, image_size: 8, validation: 50, test: 60, labels_per_class: 2, augment: {crop_scale: [0.8, 1.0]}}
  others: {dataset: digits, path: %s}
backbones: [small_resnet]
methods: [ce]
plugins: [mine.py]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ResultsStore:
    store = ResultsStore(tmp_path_factory.mktemp("results"))
    for spec in (digits_spec("ce"), digits_spec("moco_v2", epochs=1)):
        list(Execution(digits_job(spec, evaluations=(), keep_weights=True), store, catalog(), context()))
    return store


def test_the_description_is_that_of_the_record(store: ResultsStore) -> None:
    spec = digits_spec("ce")
    job, found = recorded_job(store, spec.run_id)
    assert job.spec == spec and job.data_path is None and job.plugins == ()
    assert found.names("method") == catalog().names("method")
    assert recorded_job(store, spec.run_id, data_path="/there")[0].data_path == "/there"


def test_the_study_says_where_the_data_lie_and_what_is_plugged_in(store: ResultsStore, tmp_path: Path) -> None:
    (store.root / "mine.py").write_text("COMPONENTS = []\n")
    (store.root / "study.yaml").write_text(STUDY % (tmp_path / "here", tmp_path / "elsewhere"))
    try:
        job, _ = recorded_job(store, digits_spec("ce").run_id)
    finally:
        (store.root / "study.yaml").unlink()
    assert job.data_path == str(tmp_path / "here") and job.plugins == (str(store.root / "mine.py"),)


def test_runs_without_a_model_are_refused(store: ResultsStore) -> None:
    with pytest.raises(RequestError, match="run 0123 has no record"):
        recorded_job(store, "0123")
    with pytest.raises(RequestError, match="is a pre-training: it has no classifier"):
        recorded_job(store, digits_spec("moco_v2", epochs=1).run_id)
    record = store.record(digits_spec("ce").run_id)
    assert record is not None
    store.put_record(record.replace(run_id="ffff", status="failed"))
    with pytest.raises(RequestError, match="run ffff is failed; only completed runs"):
        recorded_job(store, "ffff")
    store.put_record(record.replace(run_id="eeee", spec={"seed": 1}))
    with pytest.raises(StorageError, match="its record is of another version"):
        recorded_job(store, "eeee")
