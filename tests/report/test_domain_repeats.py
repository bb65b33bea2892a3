"""Repeats of a search: each directory is one value, and ± is over them."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import pytest
from scipy import stats

from coretune.errors import RequestError
from coretune.report.domain_repeats import build_repeated
from coretune.report.domains import build
from coretune.report.spread import NEW_SPLITS, ONE_SPLIT, over_repeats
from coretune.report.typeset_domains import domains_to_csv, domains_to_latex, domains_to_markdown, header
from coretune.results.cellfile import HeldOutDomain
from coretune.results.store import ResultsStore
from coretune.spec.study import Study
from coretune.spec.yamlfile import read_yaml

DOMAINS = ("art", "photo")
SCORES = {
    0: {
        "ce": {"art": [60.0, 62.0], "photo": [90.0, 91.0]},
        "core_tuning": {"art": [63.0, 64.0], "photo": [90.0, 93.0]},
    },
    1: {
        "ce": {"art": [58.0, 62.0], "photo": [88.0, 91.0]},
        "core_tuning": {"art": [66.0, 64.0], "photo": [91.0, 93.0]},
    },
    2: {
        "ce": {"art": [61.0, 63.0], "photo": [89.0, 93.0]},
        "core_tuning": {"art": [62.0, 61.0], "photo": [90.0, 90.0]},
    },
}


def repeats(builder, root: Path, seeds=(0, 1, 2), scores=SCORES, **more) -> list[ResultsStore]:
    found = []
    for place, seed in enumerate(seeds):
        builder.study(methods=("ce", "core_tuning"), datasets=["pacs"], finals={"seeds": 2}, seed=seed, **more)
        path = builder.store.root / "study.yaml"
        path.write_text(path.read_text().replace("  pacs: {}", "  pacs: {held_out_domain: [art, photo]}"))
        for method, by_domain in scores[place].items():
            for domain, values in by_domain.items():
                cell = builder.cell(f"pacs-{domain}", method, values)
                builder.store.put_cell(cell.replace(held_out=HeldOutDomain(section="pacs", domain=domain)))
        copied = root / f"copy{place}"
        shutil.copytree(builder.store.root, copied)
        found.append(ResultsStore(copied))
    return found


def means(seed: int, method: str, domain: str) -> float:
    values = SCORES[seed][method][domain]
    return sum(values) / len(values)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_each_repeat_is_one_value_and_n_counts_repeats(builder, tmp_path: Path) -> None:
    stores = repeats(builder, tmp_path)
    table = build_repeated(stores)
    assert table.spread == ONE_SPLIT and table.complete
    averages = {
        method: [sum(means(seed, method, domain) for domain in DOMAINS) / 2 for seed in SCORES]
        for method in ("ce", "core_tuning")
    }
    for row in table.rows:
        for figure in row.figures:
            values = [means(seed, row.method, figure.domain) for seed in SCORES]
            assert (figure.n, figure.mean) == (3, pytest.approx(sum(values) / 3))
            assert figure.stderr == pytest.approx(stats.sem(values))
            assert len(figure.run_ids) == 6
        assert row.average.n == 3 and row.average.stderr == pytest.approx(stats.sem(averages[row.method]))
    difference = table.rows[1].difference
    assert difference is not None and difference.n == 3
    assert difference.p_t == pytest.approx(stats.ttest_rel(averages["core_tuning"], averages["ce"]).pvalue)
    text = domains_to_markdown(table)
    assert "over n repeats of the whole search" in text and "not over seeds of one configuration" in text
    assert "n (repeats)" in header(table.rows, table)
    assert {row["spread"] for row in rows_of(domains_to_csv(table))} == {"repeats of the whole search on one split"}
    alone = build(stores[0])
    assert alone is not None and "n (seeds)" in header(alone.rows, alone) and alone.rows[0].figures[0].n == 2


def test_what_is_said_of_one_repeat_names_it_and_the_spread_is_that_of_repeats(builder, tmp_path: Path) -> None:
    stores = repeats(builder, tmp_path)
    for store, without in zip(stores, (("art",), ("art", "photo"), ()), strict=True):
        for domain in without:
            cell = store.cell(f"pacs-{domain}--core_tuning--net")
            assert cell is not None and cell.choice is not None
            chosen = cell.choice.replace(params={"method.eta": 0})
            store.put_cell(cell.replace(choice=chosen, space={"method.eta": {"also": [0]}}))
    zero = "the search chose method.eta = 0, beside its range, for"
    meaning = "there the method is trained without its contrast"
    table = build_repeated(stores)
    assert table.notes == (
        f"repeat of seed 0: {zero} pacs-art, core_tuning; {meaning}",
        f"repeat of seed 1: {zero} pacs-art, core_tuning; pacs-photo, core_tuning; {meaning}",
        over_repeats(Study.model_validate(read_yaml(stores[0].root / "study.yaml").value), ONE_SPLIT),
    )
    for text in (domains_to_markdown(table), domains_to_latex(table)):
        assert "the spread over repeats is that of the whole search" in text and "the spread over seeds" not in text
    two = build_repeated([stores[0], stores[2]]).notes
    assert two[0].startswith("repeat of seed 0: ")


def test_what_holds_of_all_repeats_is_said_once(builder, tmp_path: Path) -> None:
    table = build_repeated(repeats(builder, tmp_path, data={"limit": 60}))
    assert table.notes[0].startswith("training saw at most 60 images") and len(table.notes) == 2


def test_an_unfinished_repeat_is_said(builder, tmp_path: Path) -> None:
    short = {**SCORES, 1: {**SCORES[1], "core_tuning": {"art": [66.0], "photo": []}}}
    table = build_repeated(repeats(builder, tmp_path, scores=short))
    assert not table.complete
    art, photo = table.rows[1].figures
    assert (art.n, art.status) == (3, "3 of 3 repeats")
    assert (photo.n, photo.status, photo.gap) == (2, "2 of 3 repeats; no final run has its score yet", "")
    assert table.rows[1].average.n == 2
    said = "repeat of seed 1: no score of core_tuning on pacs, photo, with net: no final run has its score yet"
    assert said in table.notes


def test_what_no_repeat_has_stands_in_its_place(builder, tmp_path: Path) -> None:
    none = {seed: {**found, "core_tuning": {"art": [66.0], "photo": []}} for seed, found in SCORES.items()}
    stores = repeats(builder, tmp_path, scores=none)
    cell = stores[2].cell("pacs-photo--core_tuning--net")
    assert cell is not None
    stores[2].put_cell(cell.replace(choice=None, failure="the backbone could not be\nloaded"))
    table = build_repeated(stores)
    gap = "no final run has its score yet; failed: the backbone could not be loaded"
    figure = table.rows[1].figures[1]
    assert (figure.gap, figure.status) == (gap, f"0 of 3 repeats; {gap}") and not any(
        "no score" in n for n in table.notes
    )
    assert f"† no score: {gap}." in domains_to_markdown(table)


def split(store: ResultsStore, seed: int, of: str = "data") -> ResultsStore:
    """Rewrites the seed of the splits, of all data sets or of one."""
    path = store.root / "study.yaml"
    text = path.read_text()
    if of == "data":
        text = text.replace("  split_seed: 0\n", f"  split_seed: {seed}\n")
    else:
        text = text.replace(f"  {of}: {{", f"  {of}: {{split_seed: {seed}, ")
    path.write_text(text)
    return store


@pytest.mark.parametrize("of", ["data", "pacs"])
def test_repeats_may_draw_their_splits_anew(builder, tmp_path: Path, of: str) -> None:
    table = build_repeated([split(store, seed, of) for seed, store in enumerate(repeats(builder, tmp_path))])
    assert table.spread == NEW_SPLITS and table.rows[0].figures[0].n == 3
    assert "trains and draws its splits anew; the test images are shared" in table.notes[-1]
    assert "over n repeats of the whole search, splits drawn anew, each with a seed" in domains_to_markdown(table)


def test_some_splits_in_common_are_refused(builder, tmp_path: Path) -> None:
    stores = repeats(builder, tmp_path)
    split(stores[2], 1)
    with pytest.raises(RequestError, match=r"share a split of pacs, others do not: their split_seed is 0, 0, 1; "):
        build_repeated(stores)
    for store in stores[:2]:
        path = store.root / "study.yaml"
        path.write_text(path.read_text().replace("  pacs:", "  vlcs: {held_out_domain: [SUN09]}\n  pacs:"))
    split(stores[1], 1, "vlcs")
    with pytest.raises(RequestError, match="share the split of pacs, but not that of vlcs: one table has one spread"):
        build_repeated(stores[:2])


def test_what_is_no_repeat_is_refused(builder, tmp_path: Path) -> None:
    same = repeats(builder, tmp_path / "same", seeds=(0, 0))
    with pytest.raises(RequestError, match=r"have the same seed, 0: .*--set seed=N"):
        build_repeated(same)
    one = repeats(builder, tmp_path / "one", seeds=(0,))
    other = repeats(builder, tmp_path / "other", seeds=(1,), train={"epochs": 7})
    with pytest.raises(RequestError, match=r"is no repeat of .*: train of the studies differ"):
        build_repeated([*one, *other])
    (other[0].root / "study.yaml").unlink()
    with pytest.raises(RequestError, match=r"study.yaml cannot be read"):
        build_repeated([*one, *other])
