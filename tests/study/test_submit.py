from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import TINY
from support.dashboard import Dashboard, dashboard

from coretune.cluster.jobs import JobsClient, job_info
from coretune.errors import LockedError, RequestError, UnfitError
from coretune.spec.load import LoadedStudy, load_study
from coretune.study.submit import check_out, job_id, submit, version_problem

OUT = "/shared/results/tiny"


@pytest.fixture
def board() -> Iterator[Dashboard]:
    with dashboard() as made:
        yield made


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedStudy:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return load_study(tmp_path / "tiny.yaml", ["train.epochs=2", "finals.seeds=1"])


def test_the_job_runs_the_study_as_resolved_here(board: Dashboard, loaded: LoadedStudy, tmp_path: Path) -> None:
    given = submit(JobsClient(board.address), loaded, OUT + "/", ["--only", "method=ce"])
    (job,) = board.jobs.values()
    assert job["submission_id"] == given.job and given.earlier == ()
    assert job["entrypoint"] == (
        'cd / && PYTHONPATH="$OLDPWD${PYTHONPATH:+:$PYTHONPATH}" exec python -m coretune_cli.main study run '
        f'"$OLDPWD/study.yaml" --out {OUT} --address auto --only method=ce'
    )
    (content,) = board.packages.values()
    assert len(content) == given.size
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        assert "coretune_cli/main.py" in file.namelist()
        (tmp_path / "there.yaml").write_bytes(file.read("study.yaml"))
    there = load_study(tmp_path / "there.yaml")
    assert there.study == loaded.study and there.study.train is not None
    assert [cell.key for cell in there.cells] == [cell.key for cell in loaded.cells]


def test_no_secret_and_no_place_of_this_machine_goes_along(
    board: Dashboard, loaded: LoadedStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s" * 40)
    monkeypatch.setenv("CORETUNE_DATA", "/home/me/data")
    submit(JobsClient(board.address), loaded, OUT)
    (job,) = board.jobs.values()
    assert job["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
    assert "s" * 40 not in str(job) and b"s" * 40 not in next(iter(board.packages.values()))


def test_while_a_job_writes_a_directory_no_second_one_does(board: Dashboard, loaded: LoadedStudy) -> None:
    client = JobsClient(board.address)
    first = submit(client, loaded, OUT)
    with pytest.raises(
        LockedError, match=f"job {first.job} is writing {OUT} already .*study logs {first.job}"
    ) as error:
        submit(client, loaded, OUT)
    assert error.value.exit_code == 3 and len(board.jobs) == 1
    assert submit(client, loaded, OUT + "2").earlier == ()


def test_given_again_it_is_continued_under_a_new_id(board: Dashboard, loaded: LoadedStudy) -> None:
    client = JobsClient(board.address)
    first = submit(client, loaded, OUT)
    board.jobs[first.job]["status"] = "STOPPED"
    second = submit(client, loaded, OUT)
    assert second.job != first.job and second.earlier == (first.job,)
    assert second.job.endswith("-2") and first.job.endswith("-1")


def test_ids_are_ones_that_ray_takes() -> None:
    said = job_id("naïve study/1", OUT, [job_info({"submission_id": "other", "status": "FAILED"})])
    assert said.isascii() and "/" not in said and " " not in said


@pytest.mark.parametrize("out", ["results", "./x", "~/x", ""])
def test_results_that_would_go_with_the_job_are_refused(out: str) -> None:
    with pytest.raises(RequestError, match="needs an absolute path on storage that all nodes"):
        check_out(out)


def test_a_ray_that_is_too_old(board: Dashboard, loaded: LoadedStudy) -> None:
    board.version = "2.9.0"
    with pytest.raises(UnfitError, match=r"has Ray 2.9.0: coretune needs >=2"):
        submit(JobsClient(board.address), loaded, OUT)
    assert version_problem("2.60.0") is None and not board.jobs
