from __future__ import annotations

from types import ModuleType

import pytest
from support.crew import Crew
from support.scripts import load_script
from support.sharded import numbers_given
from support.training import toy_parts, toy_spec

from coretune.runs.job import Job
from coretune.tuning.task import Moment


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script."""
    return load_script("docs/make_scaling.py", monkeypatch)


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize("contrast_batch", [4, 8])
def test_workers_send_what_the_page_says(made: ModuleType, crew: Crew, workers: int, contrast_batch: int) -> None:
    """Counted in a step of real workers; with 4 of them, and 2 of 8 samples, groups are shared."""
    spec = toy_spec("core_tuning", batch=16, contrast_batch=contrast_batch)
    parts = toy_parts(spec)
    net = made.net_of(parts.model.encoder, parts.method, parts.model.encoder.features)
    computed = made.step_bytes(net, spec.train, workers)
    moment = Moment(seed=0, epoch=0, step=0, progress=0.0)
    for given in crew.run(workers, numbers_given, spec, 16, moment):
        counted = [*given["all_reduce"], *given["all_gather"]]
        assert made.FLOAT * sum(counted) == sum(computed.values())
        assert len(counted) == made.step_calls(net, spec.train, workers)
    assert (sum(computed.values()) > 0) == (workers > 1)


def test_the_work_is_that_of_the_shipped_study(made: ModuleType) -> None:
    study = made.load()
    assert {cell.cell.dataset.label for cell in study.cells} == set(made.SETS)
    jobs = {label: list(made.all_jobs(study, label)) for label in made.SETS}
    assert sum(map(len, jobs.values())) == 1683 - 9 * 17, "RIFLE has three configurations, and twenty trials"
    trial, final = jobs["cifar10"][3], jobs["cifar10"][0]
    assert not trial.evaluations and final.evaluations, "CE-tuning has nothing to search"
    at_256 = (256 / 224) ** 2
    assert made.run_images(trial, "cifar10") == pytest.approx((100 * 45_000 + 10 * 5_000 / 3) * at_256)
    assert made.run_images(final, "cifar10") == pytest.approx((100 * 45_000 + (10 * 5_000 + 10_000) / 3) * at_256)
    (delta, *_) = (job for job in jobs["pets"] if job.spec.method.name == "delta")
    assert made.run_images(delta, "pets") == pytest.approx(100 * 3_312 * 4 / 3 + 10 * 368 / 3)


def test_a_schedule_of_equal_runs(made: ModuleType) -> None:
    study = made.load()

    def one(job: Job, dataset: str) -> float:
        return 1.0

    alone = made.schedule(study, 1, one)
    assert (alone.work, alone.span, alone.tail, alone.idle) == (1530, 1530, 0, 0)
    wide = made.schedule(study, 2000, one)
    assert (wide.work, wide.span, wide.longest) == (1530, 2, 1), "all trials at once, then all final runs"
    assert wide.idle == 2 * 2000 - 1530 and wide.tail == 2


def test_more_workers_are_never_more_efficient(made: ModuleType) -> None:
    train = made.load().run_spec(made.load().cells[0], {}, 0).train
    net = made.Net(parameters=25_000_000, features=2048, channels=(64,) * 53, buckets=(2**20, *(25 * 2**20,) * 4))
    found = [made.efficiency(net, train, workers) for workers in (1, 2, 4, 8, 16, 32)]
    assert found[0] == 1.0 and found == sorted(found, reverse=True) and found[-1] > 0


def test_gradients_are_sent_while_a_worker_goes_back(made: ModuleType) -> None:
    train = made.load().run_spec(made.load().cells[0], {}, 0).train
    net = made.Net(parameters=25_000_000, features=2048, channels=(64,) * 53, buckets=(2**20, 99 * 2**20))
    few = made.Net(parameters=25_000_000, features=2048, channels=(64,) * 53, buckets=(100 * 2**20,))
    assert made.waiting_s(net, train, 1) == 0.0
    assert 0 < made.waiting_s(net, train, 4) < made.sending_s(net, train, 4)
    assert made.waiting_s(few, train, 4) == made.sending_s(few, train, 4), "one bucket is sent last"


@pytest.mark.slow
def test_the_page_is_up_to_date(made: ModuleType) -> None:
    text = made.PAGE.read_text(encoding="utf-8")
    assert made.page(text) == text, "run: python docs/make_scaling.py"


def test_a_page_without_marks_is_refused(made: ModuleType) -> None:
    with pytest.raises(ValueError, match="needs the marks"):
        made.page("# Scaling")
