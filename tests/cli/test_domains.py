from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.command import coretune
from support.image_sets import PACS, draw, folders

from coretune.errors import CoretuneError, RequestError, StudyError, UnfitError
from coretune.spec.load import find_study, load_study
from coretune_cli.domains import STUDY, overrides


def own_images(root: Path) -> Path:
    for value, name in enumerate(
        f"{d}/{c}/{i}.png" for d in ("day", "night") for c in ("cat", "dog") for i in range(3)
    ):
        draw(root / name, value)
    return root


def test_options_change_the_shipped_study() -> None:
    said = overrides("pacs", None, [], "core_tuning, ce", 5)
    study = load_study(find_study(STUDY), said)
    assert [cell.dataset.held_out_domain for cell in study.cells[::2]] == ["art_painting", "cartoon", "photo", "sketch"]
    assert tuple(study.study.methods) == ("core_tuning", "ce") and study.study.baseline == "core_tuning"
    assert study.study.finals.seeds == 5
    assert overrides(None, None, [], None, None) == []


def test_one_domain_or_some(tmp_path: Path) -> None:
    study = load_study(find_study(STUDY), overrides("vlcs", tmp_path, ["SUN09"], None, None))
    assert {cell.key.partition("--")[0] for cell in study.cells} == {"vlcs-SUN09"}
    assert {cell.dataset.path for cell in study.cells} == {str(tmp_path)}


def test_images_of_your_own_have_the_domains_that_they_have(tmp_path: Path) -> None:
    study = load_study(find_study(STUDY), overrides(None, own_images(tmp_path / "photos"), [], "ce", None))
    assert [cell.key for cell in study.cells] == [
        "domain_folders-day--ce--moco_v2_r50",
        "domain_folders-night--ce--moco_v2_r50",
    ]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--held-out: whose domain"):
        overrides(None, None, ["photo"], None, None)
    with pytest.raises(RequestError, match="--methods: needs names, separated by commas"):
        overrides(None, None, [], " ,", None)
    with pytest.raises(RequestError, match="unknown dataset 'pac'; did you mean pacs"):
        overrides("pac", None, [], None, None)
    with pytest.raises(RequestError, match="--dataset folder: these images have no domains; folders <domain>/<class>"):
        overrides("folder", folders(tmp_path / "f", ("cat", "dog"), ("",)), [], None, None)
    with pytest.raises(UnfitError, match="is no folder; expected <domain>/<class>/<image>"):
        overrides(None, tmp_path / "absent", [], None, None)


def test_all_domains_may_be_said_and_names_are_checked(tmp_path: Path) -> None:
    root = own_images(tmp_path / "photos")
    assert overrides(None, root, ["all"], None, None) == overrides(None, root, [], None, None)
    assert overrides("pacs", None, ["all"], None, None) == ['datasets={"pacs": {"held_out_domain": "all"}}']
    with pytest.raises(RequestError, match=r"^--held-out: no domain 'Night'; did you mean night\?$"):
        overrides(None, root, ["night", "Night"], None, None)
    with pytest.raises(StudyError) as error:
        load_study(find_study(STUDY), overrides("pacs", tmp_path, ["photo", "Photo"], None, None))
    assert str(error.value) == (
        "--dataset, --path and --held-out: datasets.pacs.held_out_domain: pacs has no domain 'Photo'; did you mean "
        "photo?"
    )
    with pytest.raises(StudyError, match=r"^--methods: methods\.cee"):
        load_study(find_study(STUDY), overrides(None, None, [], "cee", None))


def test_a_table_without_domains_says_what_lacks_and_where(tmp_path: Path) -> None:
    root = own_images(tmp_path)
    names = [f"{d}/{c}/{i}.png,{c}" for d in ("day", "night") for c in ("cat", "dog") for i in range(3)]
    table = root / "images.csv"

    def said(head: str, domain: Callable[[int], str]) -> str:
        table.write_text("\n".join([head, *(f"{name},{domain(i)}" for i, name in enumerate(names))]))
        with pytest.raises(CoretuneError) as error:
            overrides("manifest", table, [], None, None)
        return str(error.value)

    assert said("path,label,domian", lambda i: "day") == (
        f"--dataset manifest: {table} has no column domain (it has path, label, domian; did you mean domian?)"
    )
    assert said("path,label,weather", lambda i: "day").endswith("has no column domain (it has path, label, weather)")
    assert said("path,label,domain", lambda i: "day" if i % 2 else "") == (
        f"--dataset manifest: 6 images have no domain: column domain is empty in {table}:2, {table}:4, {table}:6 and "
        "3 more"
    )


@pytest.mark.slow
def test_a_smoke_run_ends_in_a_table_of_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for domain in ("art_painting", "cartoon", "photo", "sketch"):
        folders(tmp_path / "pacs" / domain, PACS, parts=("",), each=6)
    monkeypatch.setenv("CORETUNE_DATA", str(tmp_path))
    words = ("--dataset", "pacs", "--methods", "ce,core_tuning", "--held-out", "photo", "--held-out", "sketch")
    done = coretune("domains", "run", *words, "--set", "preset=smoke", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pacs, one domain held out" in done.stdout and "average of 2" in done.stdout
    root = tmp_path / "results" / STUDY
    with (root / "domains.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["ce", "core_tuning"] and all(row["photo.n"] == "2" for row in rows)
    assert rows[0]["photo.selection_rule"].startswith("training-domain validation: best top1 of 2 trials")
    for run in root.glob("runs/*/record.json"):
        spec = json.loads(run.read_text())["spec"]
        assert spec["data"]["held_out_domain"] in ("photo", "sketch")
    shown = coretune("leaderboard", "domains", str(root), "--format", "md", folder=tmp_path)
    assert shown.returncode == 0 and "| average of 2 |" in shown.stdout
    assert coretune("leaderboard", "domains", str(root), "--json", folder=tmp_path).returncode == 0
