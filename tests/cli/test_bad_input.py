"""What a user may get wrong, and what a machine may do to a results directory: the answer, the exit code, the loss."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.command import coretune, records, start, wait_until, write_study
from support.driving import STUDY, drive, make_book, resolved

from coretune.errors import StorageError
from coretune.results import proposals as proposals_module
from coretune.results import store as store_module
from coretune.results.cellfile import CellFile
from coretune.results.manifest import manifest
from coretune.results.store import ResultsStore
from coretune.study.book import CellBook
from coretune.study.directory import claim_directory
from coretune.study.events import EventLog
from coretune.study.journal import is_journal
from coretune.study.progress import Progress
from coretune.study.writer import StudyWriter

RUNS = 2 * (3 + 2)
HEAD = "name: s\ndatasets: [digits]\nbackbones: [small_resnet]\nmethods: [ce]\n"
FOLDER = "name: s\nbackbones: [small_resnet]\nmethods: [ce]\ndatasets:\n  photos: {dataset: folder, path: ./nowhere}\n"


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Returns all files below a folder, without hidden ones: bytes and time of the last change."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def changed(
    before: dict[str, tuple[bytes, int]], after: dict[str, tuple[bytes, int]], below: str = "runs/"
) -> set[str]:
    """Returns the files below a folder that are new, gone or written again."""
    names = {name for name in before.keys() | after.keys() if name.startswith(below)}
    return {name for name in names if before.get(name) != after.get(name)}


def refused(said: Any, code: int, *texts: str) -> None:
    """Checks an answer: the exit code, at most three lines, no traceback, nothing on stdout."""
    assert said.code == code, said.err
    assert said.out == "" and "Traceback" not in said.err and "internal error" not in said.err
    assert 1 <= len(said.err.strip().splitlines()) <= 3, said.err
    assert said.err.splitlines()[-1].startswith(("coretune: ", "Try ")), said.err
    for text in texts:
        assert text in said.err, said.err


# The study file


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "s.yaml:1: is empty"),
        (b"\n# only a comment\n", "s.yaml:1: is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "s.yaml:1: is no text"),
        (b"PK\x03\x04 zip", "s.yaml:1: is no YAML text"),
        (b"name: s\ndatasets: &a\n  digits: *a\n", "contains itself through a YAML alias"),
        (HEAD.encode() + b"# " + b"x" * 10_000_000, "is 10.0 MB large; a study file has at most"),
        (b"- a\n- b\n", "is no mapping"),
        (b"name: s\n\tdatasets: x\n", "a tab; indent with spaces"),
        (HEAD.replace("digits", "digit").encode(), "s.yaml:2: datasets.digit: unknown dataset 'digit'"),
        (HEAD.replace("[ce]", "[core_tunin]").encode(), "did you mean core_tuning"),
        (HEAD.replace("small_resnet", "resnet19").encode(), "s.yaml:3: backbones.resnet19: unknown backbone"),
        (HEAD.encode() + b"resources: {workers: 0}\n", "resources.workers"),
        (HEAD.encode() + b"search: {sampler: grid}\ntrain: {lr: {uniform: [0, 1]}}\n", "uniform"),
    ],
)
def test_a_wrong_study_file(cli: Any, command: str, content: bytes, says: str) -> None:
    Path("s.yaml").write_bytes(content)
    refused(cli("study", command, "s.yaml"), 2, says)
    assert not Path("results").exists(), "nothing was begun"


def test_a_bomb_of_aliases(cli: Any) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    Path("s.yaml").write_text("\n".join(lines))
    refused(cli("study", "run", "s.yaml"), 2, "expands to more than")


def test_a_study_file_that_is_not_there(cli: Any) -> None:
    refused(cli("study", "run", "quickstrat"), 2, "does not exist", "quickstart")
    Path("empty").mkdir()
    refused(cli("study", "run", "empty"), 2, "without study.yaml")


# The command line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--only", "method=cee"], "--only method=cee: no such method here; it is one of ce"),
        (["--only", "dataset"], "needs dataset=LABEL"),
        (["--only", "seed=3"], "needs dataset=LABEL"),
        (["--set", "nonsense"], "needs key=value"),
        (["--set", "=3"], "needs key=value"),
        (["--set", "train.epochs=lots"], "train.epochs"),
        (["--set", "train.epoch=5"], "epochs"),
        (["--set", "seed.deep=1"], "seed"),
        (["--set", "name=[1"], "--set name=[1"),
        (["--set", "resources.workers=0"], "resources.workers"),
        (["--time-limit", "soon"], "soon"),
        (["--time-limit", "-5m"], "-5m"),
        (["--time-limit", ""], "is no duration"),
        (["--time-limit", "1e400h"], "1e400h"),
        (["--time-limit", "nan"], "nan"),
        (["--slots", "0"], "--slots"),
        (["--slots", "-1"], "--slots"),
    ],
)
def test_a_wrong_option(cli: Any, words: list[str], says: str) -> None:
    Path("s.yaml").write_text(HEAD)
    refused(cli("study", "run", "s.yaml", *words), 2, says)
    assert not Path("results").exists(), "nothing was begun"


def test_ray_client_is_refused_with_a_pointer(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(HEAD)
    said = coretune("study", "run", "s.yaml", "--address", "ray://head:10001", folder=tmp_path)
    assert said.returncode == 2 and said.stdout == ""
    assert "ray://head:10001" in said.stderr and "host:port" in said.stderr
    assert len(said.stderr.splitlines()) <= 2 and not (tmp_path / "results").exists()


def test_data_that_are_not_there(cli: Any, tmp_path: Path) -> None:
    Path("s.yaml").write_text(FOLDER)
    refused(cli("study", "run", "s.yaml"), 3, str(tmp_path / "nowhere"))
    assert not Path("results").exists()
    (tmp_path / "nowhere").mkdir()
    refused(cli("study", "run", "s.yaml"), 3, str(tmp_path / "nowhere"))
    Path("s.yaml").write_text(FOLDER.replace(", path: ./nowhere", ", path: s.yaml"))
    refused(cli("study", "run", "s.yaml"), 3, "s.yaml")


def test_a_checkpoint_that_is_not_there(cli: Any) -> None:
    Path("s.yaml").write_text(HEAD.replace("[small_resnet]", "{small_resnet: {checkpoint: no.safetensors}}"))
    refused(cli("study", "run", "s.yaml"), 3, "no checkpoint at", "no.safetensors")


# The results directory


def finish(folder: Path, name: str = "tiny") -> Path:
    """Returns the results directory of a finished study, made without Ray; its study file is tiny.yaml."""
    write_study(folder, STUDY)
    results = folder / "results" / name
    study, store = resolved(), ResultsStore(results, repair=True)
    claim_directory(store, study.loaded)
    store.put_json("manifest.json", manifest("tiny", study.fingerprints))
    book = make_book(study, results)
    drive(book, results)
    progress = Progress(book, EventLog(results / "log.txt"), results=str(results), slots=2)
    progress.phase = "done"
    writer = StudyWriter(store, book, progress, None)  # type: ignore[arg-type]  # its thread does not run
    writer.write_tables()
    writer.write_state()
    assert len(records(results)) == RUNS
    return results


@pytest.fixture
def results(cli: Any, tmp_path: Path) -> Path:
    return finish(tmp_path)


def test_a_finished_study_trains_nothing_and_starts_no_ray(cli: Any, results: Path) -> None:
    before = contents(results)
    said = cli("study", "run", "tiny.yaml")
    assert said.code == 0 and "±" in said.out and "corrupt" not in said.err
    after = contents(results)
    assert changed(before, after) == set()
    for name in ("leaderboard.csv", "runs.csv", "study.yaml"):
        assert after[name][0] == before[name][0]
    assert cli("study", "resume", str(results)).code == 0


def test_the_results_of_another_study_are_left_alone(cli: Any, results: Path) -> None:
    before = contents(results)
    Path("other.yaml").write_text(STUDY.replace("name: tiny", "name: other"))
    refused(cli("study", "run", "other.yaml", "--out", str(results)), 2, "'tiny', not of 'other'", "--out")
    assert contents(results) == before


HOLD = """
import sys
from coretune.results.lock import DirectoryLock
with DirectoryLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_directory_that_another_process_writes(cli: Any, results: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(results)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        before = contents(results)
        refused(cli("study", "run", "tiny.yaml"), 3, f"process {holder.pid} on {socket.gethostname()}", "--out")
        assert contents(results) == before
        assert cli("leaderboard", "show", str(results)).code == 0, "reading goes on"
    finally:
        holder.kill()
        holder.communicate()
    said = cli("study", "run", "tiny.yaml")
    assert said.code == 0 and f"took over from process {holder.pid}" in said.err
    assert changed(before, contents(results)) == set()


def test_a_file_in_the_directorys_place(cli: Any) -> None:
    write_study(Path(), STUDY)
    Path("taken").write_text("mine")
    refused(cli("study", "run", "tiny.yaml", "--out", "taken"), 2, "taken is a file")
    refused(cli("study", "run", "tiny.yaml", "--out", "taken/below"), 3, "taken")
    assert Path("taken").read_text() == "mine"


# Disks

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a small file system of its own at a folder; skipped where that is not allowed."""
    mounted: list[Path] = []

    def make(folder: Path, *options: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
        if folder not in mounted:
            mounted.append(folder)
        return folder

    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    yield make
    for folder in reversed(mounted):
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fills a file system to its last byte, and returns the file that does."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1 << 8, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
    return path


def test_a_full_disk(cli: Any, mount: Mount, tmp_path: Path) -> None:
    mount(tmp_path / "results", "-t", "tmpfs", "-o", "size=2m", "tmpfs")
    results = finish(tmp_path)
    filler = fill(results.parent)
    before = contents(results)
    refused(cli("study", "run", "tiny.yaml"), 3, "the disk is full: free space, or choose another place (--out,")
    assert contents(results) == before
    assert cli("leaderboard", "show", str(results)).code == 0
    filler.unlink()
    assert cli("study", "run", "tiny.yaml").code == 0
    assert changed(before, contents(results)) == set()


@pytest.mark.parametrize("nth", [1, 2, 5, 11, 16, 23])
def test_a_disk_that_fills_up_at_any_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    whole, root = tmp_path / "a" / "tiny", tmp_path / "b" / "tiny"
    undisturbed = drive(make_book(resolved(), whole), whole)
    left = [nth]

    def filling(real: Any, path: Path, content: Any, **options: bool) -> None:
        left[0] -= 1
        if left[0] <= 0:
            raise StorageError(f"{path}: the disk is full")
        real(path, content, **options)

    with monkeypatch.context() as disk:
        disk.setattr(store_module, "put_atomic", partial(filling, store_module.put_atomic))
        disk.setattr(proposals_module, "append_line", partial(filling, proposals_module.append_line))
        with pytest.raises(StorageError, match="full"):
            drive(make_book(resolved(), root), root)
    before = contents(root)
    again = drive(make_book(resolved(), root), root)
    recorded = {name.split("/")[1] for name in before if name.endswith("/record.json")}
    assert recorded.isdisjoint(again) and recorded | set(again) == set(undisturbed)
    assert not {name for name in changed(before, contents(root)) if name.split("/")[1] in recorded}
    for cell in ResultsStore(whole).cells():
        assert ResultsStore(root).cell(cell.key) == cell


def test_a_full_disk_ends_the_search_without_an_error_in_tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune would wrap the error into its own, with a traceback, and coretune would not know the disk's any more."""
    from coretune.spec.study import Resources
    from coretune.study.adapters import CellSearch
    from coretune.study.trainable import WorkerOptions

    root = tmp_path / "results" / "tiny"
    book = make_book(resolved(), root)
    progress = Progress(book, EventLog(root / "log.txt"), results=str(root), slots=2)
    search = CellSearch(
        book, progress, WorkerOptions(results=str(root), resources=Resources()), slots=0
    )  # none to wait for
    assert isinstance(search.suggest("first"), dict) and isinstance(search.suggest("second"), dict)

    def full(path: Path, content: bytes, **options: bool) -> None:
        raise StorageError(f"{path}: the disk is full")

    monkeypatch.setattr(store_module, "put_atomic", full)
    monkeypatch.setattr(proposals_module, "append_line", full)
    assert search.suggest("third") == CellSearch.FINISHED
    search.on_trial_complete("first", error=True)
    search.on_trial_complete("second", {"outcome": "completed"})
    assert book.finished and book.broken is not None and "full" in str(book.broken)
    assert book.stopping is not None and "full" in book.stopping


def test_a_read_only_directory(cli: Any, mount: Mount, results: Path) -> None:
    before = contents(results)
    mount(results, "--bind", str(results))
    mount(results, "-o", "remount,bind,ro")
    refused(cli("study", "run", "tiny.yaml"), 3, "read-only", "--out")
    refused(cli("study", "run", "tiny.yaml", "--out", str(results / "deeper")), 3, "read-only", "--out")
    assert contents(results) == before
    for words in (["study", "status"], ["study", "show"], ["leaderboard", "show"], ["study", "logs", "x"]):
        code = 2 if "logs" in words else 0
        said = cli(*words[:2], *([str(results)] if "logs" not in words else ["abcd"]))
        assert said.code == code, (words, said.err)


# Damage

GARBAGE = (b"", b"\xff\xfe\x00", b'{"schema_version": 1, "run_')


def damage(path: Path, content: bytes) -> None:
    assert path.is_file()
    path.write_bytes(content)


def set_aside_aloud(said: Any, path: Path, content: bytes) -> None:
    """Checks that a damaged file lies under a new name beside its old one, and that stderr says so."""
    (aside,) = path.parent.glob(f"{path.name}.corrupt-*")
    assert aside.read_bytes() == content
    assert said.code == 0 and aside.name in said.err and "Traceback" not in said.err


@pytest.mark.parametrize("content", GARBAGE)
@pytest.mark.parametrize("name", ["study.yaml", "manifest.json", "state.json", "optuna.journal"])
def test_a_corrupt_file_of_the_driver_is_made_again(cli: Any, results: Path, name: str, content: bytes) -> None:
    content = content or b"\n\n["
    before = contents(results)
    damage(results / name, content)
    set_aside_aloud(cli("study", "run", "tiny.yaml"), results / name, content)
    after = contents(results)
    assert changed(before, after) == set() and changed(before, after, "leaderboard.csv") <= {"leaderboard.csv"}
    if name == "study.yaml":
        assert after[name][0] == before[name][0]
    elif name == "optuna.journal":
        assert is_journal(after[name][0]) and after[name][0].count(b"digits--ce--plain") == 1
    else:
        assert json.loads(after[name][0]).keys() == json.loads(before[name][0]).keys()
    assert after["leaderboard.csv"][0] == before["leaderboard.csv"][0]


@pytest.mark.parametrize("content", GARBAGE)
def test_a_corrupt_search_is_rebuilt_from_the_records(results: Path, content: bytes) -> None:
    before, path = contents(results), results / "cells" / "digits--ce--plain" / "search.json"
    old = ResultsStore(results).cell("digits--ce--plain")
    damage(path, content)
    assert drive(make_book(resolved(), results), results) == []
    assert changed(before, contents(results)) == set()
    (aside,) = path.parent.glob(f"{path.name}.corrupt-*")
    assert aside.read_bytes() == content
    _check_same_search(old, ResultsStore(results).cell("digits--ce--plain"))


@pytest.mark.slow
def test_a_corrupt_search_is_rebuilt_by_the_command_line(cli: Any, results: Path) -> None:
    before, path = contents(results), results / "cells" / "digits--ce--plain" / "search.json"
    old = ResultsStore(results).cell("digits--ce--plain")
    damage(path, GARBAGE[-1])
    set_aside_aloud(cli("study", "run", "tiny.yaml"), path, GARBAGE[-1])
    after = contents(results)
    assert changed(before, after) == set() and after["leaderboard.csv"][0] == before["leaderboard.csv"][0]
    _check_same_search(old, ResultsStore(results).cell("digits--ce--plain"))


def _check_same_search(old: CellFile | None, new: CellFile | None) -> None:
    assert old is not None and new is not None
    assert {trial.runs for trial in new.trials} == {trial.runs for trial in old.trials}
    assert new.choice is not None and old.choice is not None and new.choice.params == old.choice.params


@pytest.mark.parametrize("role", ["final", "trial"])
@pytest.mark.parametrize("content", GARBAGE)
def test_a_corrupt_record_is_made_again(cli: Any, results: Path, role: str, content: bytes) -> None:
    """A neighbouring directory lends the run, so that it is made again without Ray."""
    shutil.copytree(results, results.parent / "neighbour")
    before = contents(results)
    cell = ResultsStore(results).cell("digits--ce--plain")
    assert cell is not None
    run_id = cell.finals[1].run_id if role == "final" else cell.trials[1].runs[0]
    path = results / "runs" / run_id / "record.json"
    damage(path, content)
    set_aside_aloud(cli("study", "run", "tiny.yaml"), path, content)
    after = contents(results)
    here = {name for name in changed(before, after) if not name.startswith(f"runs/{run_id}/")}
    assert here == set(), "the other records were touched"
    assert ResultsStore(results).record(run_id) == ResultsStore(results.parent / "neighbour").record(run_id)
    assert after["leaderboard.csv"][0] == before["leaderboard.csv"][0]
    assert after["runs.csv"][0] == before["runs.csv"][0]


def test_a_corrupt_record_without_a_neighbour_is_trained_again_alone(tmp_path: Path) -> None:
    results = finish(tmp_path)
    cell = ResultsStore(results).cell("digits--ce--plain")
    assert cell is not None
    lost = [cell.trials[0].runs[0], cell.trials[2].runs[0], cell.finals[0].run_id]
    before = contents(results)
    for run_id in lost:
        damage(results / "runs" / run_id / "record.json", b"{")
    assert sorted(drive(make_book(resolved(), results), results)) == sorted(lost)
    named = {name.split("/")[1] for name in changed(before, contents(results))}
    assert named == set(lost)
    assert ResultsStore(results).cell(cell.key) == cell


def test_a_corrupt_evaluation_is_made_again_without_a_training(tmp_path: Path) -> None:
    results = finish(tmp_path)
    (path, *_) = sorted(results.glob("runs/*/evals/*.json"))
    path.write_text('{"eval_id": ')
    book: CellBook = make_book(resolved(), results)
    job = book.next_job()
    assert job is not None and job.spec.run_id == path.parent.parent.name and job.evaluations
    assert book.next_job() is None
    assert (path.parent.parent / "record.json").is_file(), "its record and weights stay: they are evaluated again"


def test_interrupted_writes_are_harmless(cli: Any, results: Path) -> None:
    for folder in [results, *results.glob("cells/*"), *results.glob("runs/*"), *results.glob("runs/*/evals")]:
        for name in ("record.json", "search.json", "state.json", "leaderboard.csv"):
            (folder / f".{name}.4242.0badcafe.tmp").write_bytes(b'{"schema_version": 1, "ru')
    (results / "runs" / "0123456789abcdef").mkdir()
    before = contents(results)
    said = cli("study", "run", "tiny.yaml")
    assert said.code == 0 and "corrupt" not in said.err
    after = contents(results)
    assert changed(before, after) == set()
    assert all(after[name][0] == before[name][0] for name in ("leaderboard.csv", "runs.csv"))
    assert cli("study", "show", str(results)).code == 0 and cli("leaderboard", "show").code == 0


# The same under Ray


@pytest.mark.slow
def test_a_disk_that_fills_up_while_runs_are_trained(mount: Mount, tmp_path: Path) -> None:
    mount(tmp_path / "results", "-t", "tmpfs", "-o", "size=4m", "tmpfs")
    results = tmp_path / "results" / "tiny"
    process = start(["study", "run", str(write_study(tmp_path))], tmp_path)
    wait_until(lambda: len(records(results)) >= 2 or process.poll() is not None)
    filler = fill(results.parent)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 3, err
    assert "the disk is full" in err.splitlines()[-1] and "Traceback" not in err
    before = {run_id: (results / "runs" / run_id / "record.json").stat().st_mtime_ns for run_id in records(results)}
    store = ResultsStore(results)
    assert len(before) >= 2 and all(store.record(run_id) is not None for run_id in before)
    filler.unlink()
    done = coretune("study", "run", "tiny.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(records(results)) == RUNS
    completed = [run_id for run_id in before if store.record(run_id).status == "completed"]  # type: ignore[union-attr]
    for run_id in completed:
        assert (results / "runs" / run_id / "record.json").stat().st_mtime_ns == before[run_id]


@pytest.mark.slow
def test_a_corrupt_state_is_set_aside_and_its_run_trained_from_the_start(tmp_path: Path) -> None:
    sets = ["search=none", "finals.seeds=1", "methods=[ce]", "train.epochs=400"]
    words = ["study", "run", str(write_study(tmp_path)), *(word for item in sets for word in ("--set", item))]
    results = tmp_path / "results" / "tiny"
    process = start(words, tmp_path)
    wait_until(lambda: bool(list(results.glob("runs/*/metrics-*.jsonl"))) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    (state,) = results.glob("runs/*/state/state.pt")
    state.write_bytes(state.read_bytes()[:-7])
    (state.parent / ".state.pt.4242.0badcafe.tmp").write_bytes(b"half")
    done = coretune(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (aside,) = results.glob("runs/*/state.corrupt-*")
    assert aside.name in done.stderr and "damaged" in done.stderr
    (record,) = ResultsStore(results).records()
    assert record.status == "completed" and any(aside.name in note for note in record.notes)


# Data that cannot be used


@pytest.fixture
def photos() -> Path:
    """A study of a folder of images: three of each of two classes."""
    from PIL import Image

    for label in ("cat", "dog"):
        folder = Path("images") / label
        folder.mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (12, 12), (20 * number, 90, 30)).save(folder / f"{number}.png")
    Path("s.yaml").write_text(FOLDER.replace("./nowhere}", "./images, image_size: 12}") + "preset: smoke\n")
    return Path("images")


def test_a_broken_image_is_named_before_anything_is_started(cli: Any, photos: Path) -> None:
    (photos / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    said = cli("study", "run", "s.yaml")
    assert said.code == 3 and "Traceback" not in said.err
    assert "data set photos: 1 of 16 images cannot be read" in said.err and "3.png" in said.err
    assert not list(Path("results").rglob("record.json")), "no run has failed for it"


def test_more_labels_than_images_are_refused_before_anything_is_started(cli: Any, photos: Path) -> None:
    refused(
        cli("study", "run", "s.yaml", "--set", "data.labels_per_class=50"),
        2,
        "data set photos: data.labels_per_class",
        "50",
    )
    refused(cli("study", "run", "s.yaml", "--set", "data.validation=50"), 2, "data set photos: data.validation (50)")
    assert not list(Path("results").rglob("record.json"))
