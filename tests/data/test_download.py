from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torchvision
from torchvision.datasets import utils

from coretune.data.download import download
from coretune.errors import RequestError, UnfitError
from coretune.spec.catalog.image_sets import SETS, image_set


@pytest.mark.parametrize("component", [component for component in SETS if component.download], ids=lambda c: c.name)
def test_torchvision_has_each_downloader(component: object) -> None:
    assert hasattr(torchvision.datasets, getattr(component, "download"))  # noqa: B009


def test_the_downloader_is_called_and_prints_to_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called = []

    def stand_in(root: str, download: bool) -> None:
        print("Extracting")
        called.append((root, download))

    monkeypatch.setattr(torchvision.datasets, "DTD", stand_in)
    download(image_set("dtd"), tmp_path / "data" / "dtd")
    assert called == [(str(tmp_path / "data" / "dtd"), True)]
    assert (tmp_path / "data" / "dtd").is_dir()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "Extracting\n")


def test_a_failure_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(root: str, download: bool) -> None:
        raise RuntimeError("File not found or corrupted.\nmore")

    monkeypatch.setattr(torchvision.datasets, "DTD", stand_in)
    with pytest.raises(UnfitError, match=r"data set dtd: the download to .* failed: File not found or corrupted\.$"):
        download(image_set("dtd"), tmp_path)


def test_a_failure_leaves_no_empty_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stand_in(root: str, download: bool) -> None:
        (Path(root) / "dtd" / "images").mkdir(parents=True)
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets, "DTD", stand_in)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "half.tar").write_bytes(b"half")
    for folder, left in ((tmp_path / "dtd", False), (tmp_path / "kept", True)):
        with pytest.raises(UnfitError, match="no route to host"):
            download(image_set("dtd"), folder)
        assert folder.exists() == left
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["half.tar"]


def test_what_cannot_be_downloaded_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"data set cars: there is no downloader for it\. To get it: its authors'"):
        download(image_set("cars"), tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server of this machine, and a file of 100,000 bytes on it."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "set.bin").write_bytes(b"x" * 100_000)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_address[1]}/set.bin"
        found.shutdown()
        thread.join()


def test_bytes_are_told_as_they_come_in(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(root: str, download: bool) -> None:
        utils.download_url(server, root)

    monkeypatch.setattr(torchvision.datasets, "DTD", fetch)
    told: list[tuple[int, int | None]] = []
    own = utils.tqdm
    download(image_set("dtd"), tmp_path / "dtd", lambda done, total: told.append((done, total)))
    assert (tmp_path / "dtd" / "set.bin").stat().st_size == 100_000
    assert told[0] == (0, 100_000) and told[-1] == (100_000, 100_000)
    assert [done for done, _ in told] == sorted({done for done, _ in told}) and len(told) > 2
    assert utils.tqdm is own
    assert "%|" not in capsys.readouterr().err, "torchvision draws no bar of its own"
