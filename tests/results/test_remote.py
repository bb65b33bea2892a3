"""Results in an object store, against a real S3 server on this machine."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.s3 import BUCKET, s3_server

from coretune.errors import LockedError, RequestError, StorageError
from coretune.results import remote_lock
from coretune.results.cellfile import CellFile, TrialEntry
from coretune.results.lock import NAME
from coretune.results.mirror import Mirror, OnDisk, mirror_of
from coretune.results.place import refuse_other_places
from coretune.results.record import Record
from coretune.results.remote import Remote, remote_url
from coretune.results.remote_lock import RemoteLock, lock_of
from coretune.results.store import ResultsStore, reading


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log.txt") as address:
        yield address


@pytest.fixture
def url(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A folder of the bucket that no other test uses, seen from a machine with an empty cache."""
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "one"))
    return f"s3://{BUCKET}/{request.node.name.partition('[')[0]}"


def test_an_object_that_is_replaced_meanwhile_is_read_whole(url: str) -> None:
    writer, ended = Remote(url), threading.Event()

    def content(number: int) -> bytes:
        return str(number).encode().ljust(100 if number % 2 else 5000, b"-") + b"."

    def write() -> None:
        number = 1
        while not ended.is_set():
            writer.put("x", content(number))
            number += 1
            time.sleep(0.05)

    writer.put("x", content(0))
    thread = threading.Thread(target=write)
    thread.start()
    try:
        found = [Remote(url).get("x") or b"" for _ in range(60)]
    finally:
        ended.set()
        thread.join()
    assert all(each == content(int(each.partition(b"-")[0])) for each in found)


def record(run_id: str, status: str = "completed") -> Record:
    return Record.model_validate(
        {
            "run_id": run_id,
            "status": status,
            "spec": {},
            "metrics": {},
            "started": "2026-01-01T00:00:00+00:00",
            "finished": "2026-01-01T00:00:01+00:00",
            **({"cause": {"kind": "environment", "message": "lost"}} if status == "failed" else {}),
        }
    )


def write(store: ResultsStore, run_id: str, name: str, content: bytes) -> None:
    path = store.run_folder(run_id) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def other_machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, repair: bool = False) -> ResultsStore:
    monkeypatch.setenv("CORETUNE_CACHE", str(tmp_path / "two"))
    return ResultsStore(url, repair=repair)


@pytest.mark.parametrize(
    ("place", "url"),
    [
        ("s3://b/x", "s3://b/x"),
        (Path("s3://b/x/y"), "s3://b/x/y"),
        ("gs://b/x/", "gs://b/x"),
        ("results/x", None),
        (Path("/s3/x"), None),
        ("s3:", None),
        ("./s3:/b", None),
    ],
)
def test_addresses(place: str | Path, url: str | None) -> None:
    assert remote_url(place) == url


def test_a_directory_stays_one(tmp_path: Path) -> None:
    mirror = mirror_of(tmp_path / "x", "driver")
    assert type(mirror) is OnDisk and mirror.root == tmp_path / "x" and mirror.place == str(tmp_path / "x")


def test_objects_are_written_read_listed_and_removed(url: str) -> None:
    remote = Remote(url)
    assert remote.get("a/b.json") is None and remote.entry("a/b.json") is None and remote.entries() == {}
    remote.put("a/b.json", b"1")
    remote.put("a/b.json", b"22")
    remote.put("c", b"x" * (6 << 20))
    assert remote.get("a/b.json") == b"22" and len(remote.get("c") or b"") == 6 << 20
    assert {name: entry.size for name, entry in remote.entries().items()} == {"a/b.json": 2, "c": 6 << 20}
    assert list(remote.entries("a")) == ["a/b.json"] and remote.entries("no") == {}
    remote.delete(["a/b.json", "never"])
    assert list(remote.entries()) == ["c"]


def test_a_bucket_that_is_not_there_is_one_line(server: str) -> None:
    with pytest.raises(StorageError, match="s3://no-such-bucket/x/a: ") as error:
        Remote("s3://no-such-bucket/x").put("a", b"")
    assert len(str(error.value).splitlines()) == 1 and "secret-of-the-test" not in str(error.value)


def test_what_a_worker_leaves_the_driver_of_another_machine_sees(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = ResultsStore(url)
    for name, content in (("log.txt", b"log"), ("model.safetensors", b"weights"), ("state/state.pt", b"state")):
        write(worker, "r1", name, content)
    worker.keep_state("r1")
    driver = other_machine(url, tmp_path, monkeypatch, repair=True)
    driver.mirror.refresh()
    assert driver.record("r1") is None and not driver.has_weights("r1", ["last"])
    worker.put_record(record("r1"))
    worker.drop_state("r1")
    assert driver.record("r1") == record("r1") and driver.has_weights("r1", ["last"])
    assert not driver.weights_path("r1").exists(), "weights are not fetched for a look"
    assert sorted(Remote(url).entries()) == ["runs/r1/log.txt", "runs/r1/model.safetensors", "runs/r1/record.json"]
    driver.drop_weights("r1")
    assert not driver.has_weights("r1", ["last"]) and not worker.has_weights("r1", ["last"])


def test_a_run_goes_on_on_another_machine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ResultsStore(url)
    write(first, "r1", "state/state.pt", b"epoch 3")
    write(first, "r1", "metrics-0.jsonl", b"three epochs")
    first.keep_state("r1")
    second = other_machine(url, tmp_path, monkeypatch)
    write(second, "r1", "state/state.pt", b"epoch 1, of an earlier time here")
    write(second, "r1", "state/old", b"")
    second.fetch_run("r1")
    assert (second.state_folder("r1") / "state.pt").read_bytes() == b"epoch 3"
    assert not (second.state_folder("r1") / "old").exists()


def test_what_was_proposed_is_there_for_the_next_driver(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = ResultsStore(url, repair=True)
    driver.put_cell(CellFile(key="a--b--c", dataset="a", method="b", backbone="c", metric="top1", direction="max"))
    driver.add_proposal("a--b--c", TrialEntry(number=0, params={"train.lr": 0.5}, runs=("r1",)))
    following = other_machine(url, tmp_path, monkeypatch, repair=True)
    following.mirror.refresh()
    found = following.cell("a--b--c")
    assert found is not None and [trial.params for trial in found.trials] == [{"train.lr": 0.5}]
    following.put_cell(found)
    following.drop_proposals()
    assert set(Remote(url).entries()) == {"cells/a--b--c/search.json"}


def test_a_driver_s_record_leaves_the_rest_of_a_run_alone(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = ResultsStore(url)
    write(worker, "r1", "log.txt", b"long log")
    worker.put_record(record("r1", "failed"))
    driver = other_machine(url, tmp_path, monkeypatch, repair=True)
    write(driver, "r1", "log.txt", b"stale")
    driver.put_record(record("r1"))
    assert Remote(url).get("runs/r1/log.txt") == b"long log"
    assert worker.record("r1") == record("r1")


def test_a_reader_has_all_small_files_and_loses_what_is_gone(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = ResultsStore(url, repair=True)
    driver.put_json("state.json", {"phase": "searching"})
    driver.put("study.yaml", b"name: x\n")
    worker = ResultsStore(url)
    write(worker, "r1", "model.safetensors", b"weights")
    worker.put_record(record("r1"))
    store = reading(url)
    assert store.json("state.json") == {"phase": "searching"} and [item.run_id for item in store.records()] == ["r1"]
    assert not store.weights_path("r1").exists() and not list(store.root.rglob(".*"))
    driver.put_json("state.json", {"phase": "done"})
    Remote(url).delete(["runs/r1/record.json", "runs/r1/model.safetensors"])
    store = reading(url)
    assert store.json("state.json") == {"phase": "done"} and list(store.records()) == []
    assert reading(tmp_path).root == tmp_path


def test_what_is_unreadable_is_set_aside_there_too(url: str) -> None:
    Remote(url).put("runs/r1/record.json", b"{")
    driver = ResultsStore(url, repair=True)
    driver.mirror.refresh()
    assert driver.record("r1") is None and len(driver.warnings) == 1
    (name,) = Remote(url).entries()
    assert name.startswith("runs/r1/record.json.corrupt-")


def test_the_copy_is_disposable(url: str) -> None:
    driver = ResultsStore(url, repair=True)
    driver.put_json("manifest.json", {"study": "x"})
    shutil.rmtree(driver.root)
    driver.mirror.refresh()
    assert driver.json("manifest.json") == {"study": "x"}


def test_one_driver_at_a_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote(url)
    with RemoteLock(remote, settle_s=0.0) as lock:
        assert lock.held and lock.took_over is None
        with pytest.raises(LockedError, match=f"{url} is being written by process .*wait for it"):
            RemoteLock(remote, settle_s=0.0).acquire()
    assert not lock.held and remote.entries() == {}


def test_the_lock_of_a_dead_process_is_taken_over(url: str) -> None:
    remote = Remote(url)
    lock = RemoteLock(remote, settle_s=0.0)
    lock.acquire()
    holder = json.loads(remote.get(NAME) or b"")
    lock.release()
    remote.put(NAME, json.dumps({**holder, "pid": 2**22 + 1}).encode())
    with RemoteLock(remote, settle_s=0.0) as second:
        assert second.took_over is not None and "which is gone" in second.took_over
    remote.put(NAME, json.dumps({**holder, "host": "elsewhere"}).encode())
    with pytest.raises(LockedError, match="if it is dead, the place is free in"):
        RemoteLock(remote, settle_s=0.0).acquire()


def test_of_two_that_begin_together_one_goes_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have seen no lock; the other one's arrives while this one waits to see whose stays."""
    remote, other = Remote(url), RemoteLock(Remote(url), settle_s=0.0)
    lock = RemoteLock(remote)
    monkeypatch.setattr(lock, "_judge", lambda: None)

    def meanwhile(_: float) -> None:
        monkeypatch.setattr(remote_lock.time, "sleep", lambda _: None)
        monkeypatch.setattr(other, "_judge", lambda: None)
        other.acquire()

    monkeypatch.setattr(remote_lock.time, "sleep", meanwhile)
    with pytest.raises(LockedError, match="began to write there at the same moment"):
        lock.acquire()
    assert other.held
    other.release()


def test_a_driver_that_was_overwritten_notices(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_lock, "BEAT_S", 0.05)
    remote = Remote(url)
    with RemoteLock(remote, settle_s=0.0) as lock:
        time.sleep(0.2)
        assert lock.held
        holder = json.loads(remote.get(NAME) or b"")
        deadline = time.monotonic() + 20
        while lock.held and time.monotonic() < deadline:  # a beat under way may write once more
            remote.put(NAME, json.dumps({**holder, "token": "another"}).encode())
            time.sleep(0.05)
        assert not lock.held


def test_the_lock_goes_with_the_place(url: str, tmp_path: Path) -> None:
    assert isinstance(lock_of(Mirror(url, "driver")), RemoteLock)
    assert not isinstance(lock_of(OnDisk(tmp_path)), RemoteLock)


def test_single_runs_stay_on_disk() -> None:
    with pytest.raises(RequestError, match="s3://b/x: only studies have their results in an object store"):
        refuse_other_places(Path("s3://b/x"))
