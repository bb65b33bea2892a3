"""Repeats of a search: each directory is one value, and ± is over them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from scipy import stats

from coretune.errors import RequestError
from coretune.report.domain_repeats import build_repeated
from coretune.report.domains import REPEATED, build
from coretune.report.typeset_domains import domains_to_markdown, header
from coretune.results.cellfile import HeldOutDomain
from coretune.results.store import ResultsStore

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


def test_each_repeat_is_one_value_and_n_counts_repeats(builder, tmp_path: Path) -> None:
    stores = repeats(builder, tmp_path)
    table = build_repeated(stores)
    assert table.spread == REPEATED and table.complete
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
    alone = build(stores[0])
    assert alone is not None and "n (seeds)" in header(alone.rows, alone) and alone.rows[0].figures[0].n == 2


def test_an_unfinished_repeat_is_said(builder, tmp_path: Path) -> None:
    short = {**SCORES, 1: {**SCORES[1], "core_tuning": {"art": [66.0], "photo": []}}}
    table = build_repeated(repeats(builder, tmp_path, scores=short))
    assert not table.complete
    art, photo = table.rows[1].figures
    assert (art.n, photo.n, photo.status) == (3, 2, "2 of 3 repeats")
    assert table.rows[1].average.n == 2


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
