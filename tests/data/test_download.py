from __future__ import annotations

from pathlib import Path

import pytest
import torchvision

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
