from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.dashboard import Dashboard, dashboard

from coretune.cluster.jobs import JobsClient, NoAnswer, check_dashboard, follow
from coretune.errors import RequestError, UnfitError

TOKEN = "t" * 36


@pytest.fixture(autouse=True)
def nobodys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def board() -> Iterator[Dashboard]:
    with dashboard() as made:
        yield made


def followed(board: Dashboard, id: str) -> tuple[str, list[str], str]:
    written: list[str] = []
    notes: list[str] = []
    info = follow(JobsClient(board.address), id, written.append, notes.append, lambda _: None)
    return "".join(written), notes, info.status


def test_output_is_written_once_as_it_comes(board: Dashboard) -> None:
    board.add("j", log="one\n")

    def later(board: Dashboard) -> None:
        board.logs["j"] += "two\n"

    def ended(board: Dashboard) -> None:
        board.logs["j"] += "three\n"
        board.jobs["j"]["status"] = "SUCCEEDED"

    board.steps = [lambda _: None, later, lambda _: None, ended]
    assert followed(board, "j") == ("one\ntwo\nthree\n", [], "SUCCEEDED")


def test_a_dashboard_that_fails_for_a_while_is_waited_for_and_told_once(board: Dashboard) -> None:
    board.add("j", log="one\n")

    def fails(board: Dashboard) -> None:
        board.broken = 5

    def ended(board: Dashboard) -> None:
        board.logs["j"] += "two\n"
        board.jobs["j"]["status"] = "FAILED"

    board.steps = [lambda _: None, fails, *[lambda _: None] * 4, ended]
    text, notes, status = followed(board, "j")
    assert (text, status) == ("one\ntwo\n", "FAILED")
    assert (
        len(notes) == 2 and "OSError: head is restarting; the job goes on" in notes[0] and "answers again" in notes[1]
    )


def test_a_dashboard_that_goes_away_is_no_answer() -> None:
    with dashboard() as board:
        client = JobsClient(board.address)
    with pytest.raises(NoAnswer, match=f"no Ray dashboard answers at {board.address}: connection refused"):
        client.info("j")
    with pytest.raises(UnfitError, match="no Ray dashboard answers"):
        JobsClient(board.address)


def test_a_job_that_is_not_there_names_the_latest(board: Dashboard) -> None:
    board.add("a", start_time=2000)
    board.add("b", start_time=1000)
    with pytest.raises(RequestError, match=r"no job x on the cluster at .*; the latest are b, a") as error:
        JobsClient(board.address).info("x")
    assert error.value.exit_code == 2


def test_an_archive_goes_up_once(board: Dashboard, tmp_path: Path) -> None:
    archive = tmp_path / "coretune-1.zip"
    archive.write_bytes(b"content")
    client = JobsClient(board.address)
    assert client.upload(archive) == client.upload(archive) == "gcs://_ray_pkg_coretune-1.zip"
    assert board.packages == {"_ray_pkg_coretune-1.zip": b"content"}
    assert sum(line.startswith("PUT") for line in board.asked) == 1


def test_times_are_seconds_and_the_exit_code_is_kept(board: Dashboard) -> None:
    board.add("j", "FAILED", start_time=2000, end_time=3500, driver_exit_code=3, message="bad", metadata={"a": "b"})
    (info,) = JobsClient(board.address).jobs()
    assert (info.started, info.ended, info.exit_code, info.over) == (2.0, 3.5, 3, True)
    assert info.message == "bad" and info.metadata == {"a": "b"}


@pytest.mark.parametrize("by_file", [False, True])
def test_a_token_is_sent_where_it_is_wanted(by_file: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if by_file:
        (tmp_path / "t").write_text(TOKEN)
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "t"))
    else:
        monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with dashboard(TOKEN) as board:
        board.add("j")
        assert JobsClient(board.address).info("j").status == "RUNNING"


def test_a_token_is_not_sent_where_none_is_wanted(board: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    client = JobsClient(board.address)
    assert client._token is None and client.ray_version == "2.60.0"


def test_a_missing_and_a_wrong_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with dashboard(TOKEN) as board:
        with pytest.raises(UnfitError, match="wants a token and none is here"):
            JobsClient(board.address)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "w" * 36)
        with pytest.raises(UnfitError, match=r"refuses our token \(RAY_AUTH_TOKEN\)") as error:
            JobsClient(board.address)
    assert "www" not in str(error.value)


@pytest.mark.parametrize("address", ["head:8265", "ray://head:10001", "http://", "http://head:8265/jobs", "head"])
def test_what_is_no_dashboard_s_address(address: str) -> None:
    with pytest.raises(RequestError, match=r"needs the address of the cluster's dashboard, e.g. http://HEAD:8265"):
        check_dashboard(address)


def test_addresses_of_dashboards() -> None:
    assert check_dashboard("http://head:8265/") == "http://head:8265"
    with pytest.raises(RequestError, match="http://head:8265, perhaps"):
        check_dashboard("ray://head:10001")
