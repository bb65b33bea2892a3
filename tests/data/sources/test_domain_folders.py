from __future__ import annotations

from pathlib import Path

import pytest
from support import image_sets as sets

from coretune.data.source import UNDECIDED, Source, domains_of, open_source, remarks_of
from coretune.errors import UnfitError
from coretune.spec.components import Catalog


def opened(catalog: Catalog, path: Path) -> Source:
    return open_source(catalog, catalog.ref("dataset", "domain_folders"), str(path))


def made(root: Path, *names: str) -> Path:
    """Writes small images; the colour says which."""
    for value, name in enumerate(names):
        sets.draw(root / name, value)
    return root


def test_the_first_folder_is_the_domain_and_the_second_the_class(catalog: Catalog, tmp_path: Path) -> None:
    source = opened(
        catalog, made(tmp_path, "night/dog/1.png", "day/cat/1.png", "day/dog/deep/1.png", "day/owl/1.png", ".x/a/1.png")
    )
    domains = domains_of(source)
    assert domains is not None and domains.names == ("day", "night")
    assert source.names == ("day/cat/1.png", "day/dog/deep/1.png", "day/owl/1.png", "night/dog/1.png")
    assert source.classes == ("cat", "dog", "owl") and source.labels.tolist() == [0, 1, 2, 1]
    assert domains.of.tolist() == [0, 0, 0, 1] and set(source.parts.tolist()) == {UNDECIDED}
    assert getattr(source, "remarks") == ("night/: no image of cat, owl",)  # noqa: B009 - not every source has them


def test_a_folder_without_an_image_is_no_domain_and_told(catalog: Catalog, tmp_path: Path) -> None:
    made(tmp_path, "day/cat/1.png", "day/dog/1.png", "night/cat/1.png", "night/dog/1.png")
    (tmp_path / "dusk" / "cat").mkdir(parents=True)
    source = opened(catalog, tmp_path)
    assert remarks_of(source) == ("dusk/: no image in there, and so no domain",)
    domains = domains_of(source)
    assert domains is not None and domains.names == ("day", "night")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["day/cat/1.png", "day/dog/1.png"],
            "a single domain, day; at least two are needed; expected <domain>/<class>",
        ),
        (["day/cat/1.png", "night/cat/1.png"], "2 images of 1 classes; at least two are needed"),
        (["day/1.png", "night/cat/1.png"], r"1 images \(day/1.png\) lie in no class folder; expected <domain>/<class>"),
        (["1.png", "day/cat/1.png"], r"1 images \(1.png\) lie in no class folder"),
        ([], "no image below it; expected <domain>/<class>/<image>"),
    ],
)
def test_what_is_not_so_is_said(catalog: Catalog, tmp_path: Path, names: list[str], message: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/notes.txt").write_text("x")
    with pytest.raises(UnfitError, match=message):
        opened(catalog, made(tmp_path / "data", *names))


def test_a_place_that_is_no_folder(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(UnfitError, match="x is no folder; expected <domain>/<class>/<image>"):
        opened(catalog, tmp_path / "x")
