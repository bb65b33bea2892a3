"""A cell of the table of domains that could not be filled says why, in every form."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from rich.console import Console

from coretune.report.domain_figure import draw_domains
from coretune.report.domains import DomainTable, build, require
from coretune.report.typeset_domains import cells, domains_to_csv, domains_to_latex, domains_to_markdown
from coretune.results.cellfile import HeldOutDomain
from coretune_cli.domain_board import domain_board

FAILED = "no score: failed: none of 2 trials completed"


def study(builder, scores, datasets: str = "pacs: {held_out_domain: [art, photo]}", **keys) -> None:
    builder.study(methods=("ce", "core_tuning"), datasets=["pacs"], **{"finals": {"seeds": 2}, **keys})
    path = builder.store.root / "study.yaml"
    path.write_text(path.read_text().replace("  pacs: {}", f"  {datasets}"))
    for (method, domain), values in scores.items():
        cell = builder.cell(f"pacs-{domain}", method, values)
        builder.store.put_cell(cell.replace(held_out=HeldOutDomain(section="pacs", domain=domain)))


def end_trials(builder, key: str, state: str) -> None:
    cell = builder.store.cell(key)
    trials = tuple(trial.replace(state=state, value=None) for trial in cell.trials)
    builder.store.put_cell(cell.replace(trials=trials))


def one_failed(builder) -> DomainTable:
    scores = {(m, d): [60.0, 61.0] for m in ("ce", "core_tuning") for d in ("art", "photo")}
    study(builder, {**scores, ("core_tuning", "photo"): None}, search={"trials": 2})
    end_trials(builder, "pacs-photo--core_tuning--net", "failed")
    return require(builder.store)


def on_screen(table: DomainTable, width: int = 200) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(domain_board(table, width))
    return captured.get()


def test_a_cell_whose_search_failed_says_so_in_every_form(builder) -> None:
    table = one_failed(builder)
    art, photo, average, worst, difference = cells(table.rows[1], table)[2:7]
    assert (art, photo, average, worst, difference) == ("60.50 ± 0.50", "†", "†", "†", "†")
    markdown, tex, screen = domains_to_markdown(table), domains_to_latex(table), on_screen(table)
    assert f"† {FAILED}." in markdown and f"$^{{\\dagger}}$ {FAILED}." in tex and f"† {FAILED}." in screen
    assert all("no configuration chosen yet" not in text for text in (markdown, tex, screen))
    row = list(csv.DictReader(io.StringIO(domains_to_csv(table))))[1]
    assert (row["photo.status"], row["complete"]) == ("failed: none of 2 trials completed", "False")
    assert row["photo.selection_rule"] == "" and row["art.status"] == "2 of 2 final runs" and not table.complete


@pytest.mark.parametrize(
    ("values", "gap"),
    [
        (None, "the search is not done"),
        ([], "no final run has its score yet"),
        (["failed", "unfinished"], "no final run has its score yet"),
        (["failed", "failed"], "all final runs failed"),
    ],
)
def test_reasons(builder, values, gap: str) -> None:
    study(builder, {("ce", "art"): values}, search={"trials": 5})
    assert require(builder.store).rows[0].figures[0].gap == gap


def test_final_runs_that_failed_are_told_of(builder) -> None:
    study(builder, {("ce", "art"): [60.0, "failed"]})
    assert "pacs-art--ce--net: 1 of 2 final runs failed and are missing from its mean" in require(builder.store).notes


def test_a_data_set_that_is_missing_stands_there_empty_with_the_reason(builder) -> None:
    scores = {(m, d): [60.0, 61.0] for m in ("ce", "core_tuning") for d in ("art", "photo")}
    study(builder, scores, "pacs: {held_out_domain: [art, photo]}\n  vlcs: {held_out_domain: [SUN09, VOC2007]}")
    lacking = [{"kind": "data set", "label": "vlcs", "text": "data set vlcs is missing", "cells": 4}]
    (builder.store.root / "state.json").write_text(json.dumps({"missing": lacking}))
    table = require(builder.store)
    assert not table.complete and [row.dataset for row in table.rows] == ["pacs", "pacs", "vlcs", "vlcs"]
    said = "† no score: not begun, data set vlcs was missing in the last session."
    note = "missing in the last session: data set vlcs"
    markdown, screen = domains_to_markdown(table), on_screen(table)
    assert all(said in text and note in text for text in (markdown, screen))
    assert "## synthetic: vlcs" in markdown and "vlcs, one domain held out" in screen
    assert [markdown.count(once) for once in ("**Not complete**", "Higher is better")] == [1, 1]
    rows = list(csv.DictReader(io.StringIO(domains_to_csv(table))))
    assert [row["complete"] for row in rows] == ["True", "True", "False", "False"]
    assert rows[2]["SUN09.status"] == "not begun, data set vlcs was missing in the last session"
    drawn = draw_domains(table)
    assert [axes.get_title() for axes in drawn.axes] == ["pacs: art", "photo", "average"]
    below = " ".join(drawn.get_supxlabel().split())
    assert "no score of ce on vlcs, core_tuning on vlcs: not begun, data set vlcs was" in below


def test_without_a_common_seed_there_is_no_average_and_without_the_baselines_no_difference(builder) -> None:
    full = {("core_tuning", d): [60.0, 61.0] for d in ("art", "photo")}
    study(builder, {("ce", "art"): [60.0, "failed"], ("ce", "photo"): ["failed", 60.0], **full})
    table = require(builder.store)
    markdown = domains_to_markdown(table)
    assert cells(table.rows[0], table)[4] == "†" and cells(table.rows[1], table)[6] == "‡"
    assert "† no average: no seed has a score on every domain. ‡ no difference: ce has no average." in markdown


def test_nothing_begun_is_no_table(builder) -> None:
    study(builder, {})
    assert build(builder.store) is None


def test_latex_is_balanced_and_has_no_bare_sign(builder) -> None:
    tex = domains_to_latex(one_failed(builder))
    plain = re.sub(r"\\[{}$&%#_]", "", tex)
    assert plain.count("{") == plain.count("}") and plain.count("$") % 2 == 0
    assert not set(tex) & set("†‡§¶±−")
