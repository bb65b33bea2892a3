from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import image_sets as sets

from coretune.data.source import Domains, Source, domains_of, open_source
from coretune.errors import UnfitError
from coretune.spec.components import Catalog

NAMES = ("Caltech101", "LabelMe", "SUN09", "VOC2007")


def opened(catalog: Catalog, name: str, path: Path) -> Source:
    return open_source(catalog, catalog.ref("dataset", name), str(path))


def of(source: Source) -> Domains:
    domains = domains_of(source)
    assert domains is not None
    return domains


def test_a_domain_is_known_by_its_folder(catalog: Catalog, tmp_path: Path) -> None:
    source = opened(catalog, "pacs", sets.pacs(tmp_path))
    domains = of(source)
    for name, domain in zip(source.names, domains.of, strict=True):
        assert name.partition("/")[0] == domains.names[domain]


def test_vlcs_by_its_other_names(catalog: Catalog, tmp_path: Path) -> None:
    """Its pieces make up the domain; where all images lie in full/, too, they count once."""
    pieces = opened(catalog, "vlcs", sets.vlcs_pieces(tmp_path / "a"))
    full = opened(catalog, "vlcs", sets.vlcs_full(tmp_path / "b"))
    assert pieces.classes == full.classes == sets.VLCS
    assert (len(pieces.names), len(full.names)) == (60, 20)
    assert all("/full/" in name for name in full.names)
    index = pieces.names.index("PASCAL/test/3/pic_3_3.jpg")
    assert (pieces.classes[pieces.labels[index]], of(pieces).names[of(pieces).of[index]]) == ("dog", "VOC2007")


def test_domains_in_parquet_by_name_or_number(catalog: Catalog, tmp_path: Path) -> None:
    text = opened(catalog, "pacs", sets.domains_parquet(tmp_path / "a", ("sketch", "art_painting"), sets.PACS))
    assert [of(text).names[domain] for domain in of(text).of[[0, 7]]] == ["sketch", "art_painting"]
    features = {"domain": {"names": list(NAMES)}, "label": {"names": list(sets.VLCS)}}
    rows = [(d, c) for d in range(4) for c in range(5)]
    table = pa.table(
        {
            "image": [sets.png(10 * d + c) for d, c in rows],
            "domain": [d for d, _ in rows],
            "label": [c for _, c in rows],
        }
    )
    meta = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    (tmp_path / "b").mkdir()
    pq.write_table(table.replace_schema_metadata(meta), tmp_path / "b" / "train.parquet")
    numbers = opened(catalog, "vlcs", tmp_path / "b")
    assert (numbers.classes, of(numbers).names) == (sets.VLCS, NAMES)
    assert of(numbers).of.tolist() == [d for d, _ in rows]


def test_what_is_not_whole(catalog: Catalog, tmp_path: Path) -> None:
    path = sets.pacs(tmp_path / "a")
    shutil.rmtree(path / "PACS" / "cartoon")
    with pytest.raises(
        UnfitError, match="no folder of the domain cartoon: found art_painting, photo, sketch\nTo get it"
    ):
        opened(catalog, "pacs", path)
    with pytest.raises(UnfitError, match=r"domains clipart; expected art_painting, .*\nTo get it"):
        opened(catalog, "pacs", sets.domains_parquet(tmp_path / "b", ("photo", "clipart"), sets.PACS))
    sets.parquet(tmp_path / "c", 7, ("train",))
    with pytest.raises(UnfitError, match=r"no column domain .*\nTo get it"):
        opened(catalog, "pacs", tmp_path / "c")


def test_aircraft_in_parquet_is_labelled_by_variant(catalog: Catalog, tmp_path: Path) -> None:
    tmp_path.joinpath("p").mkdir()
    for part in ("train", "validation", "test"):
        columns = {"image": [sets.png(c) for c in range(100)], "family": [c // 2 for c in range(100)]}
        pq.write_table(pa.table({**columns, "variant": list(range(100))}), tmp_path / "p" / f"{part}.parquet")
    source = opened(catalog, "aircraft", tmp_path / "p")
    assert (len(source.classes), sorted(set(source.parts.tolist()))) == (100, [0, 1, 2])


def test_a_folder_of_a_domain_may_be_spelled_otherwise(catalog: Catalog, tmp_path: Path) -> None:
    root = sets.pacs(tmp_path)
    folder = next(root.rglob("art_painting"))
    folder.rename(folder.with_name("Art Painting"))
    assert of(opened(catalog, "pacs", root)).names[0] == "art_painting"
