"""Domains as columns: the average within seeds, the worst by its mean, and what stands beside a figure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from coretune.errors import RequestError
from coretune.report.domain_figure import draw_domains, write_domains
from coretune.report.domains import DomainTable, build, to_dict
from coretune.report.leaderboard import build as leaderboard
from coretune.report.typeset_domains import cells, domains_to_csv, domains_to_latex, domains_to_markdown
from coretune.report.write import write
from coretune.results.cellfile import HeldOutDomain

DOMAINS = ("art", "photo", "sketch")
SCORES = {
    "ce": {"art": [60.0, 62.0, 61.0], "photo": [90.0, 91.0, 95.0], "sketch": [50.0, 58.0, 54.0]},
    "core_tuning": {"art": [63.0, 64.0, 66.0], "photo": [90.0, 93.0, 93.0], "sketch": [57.0, 55.0, 59.0]},
}


def study(builder, scores=SCORES, domains: Sequence[str] = DOMAINS, seen: str = "", seeds: int = 3) -> None:
    builder.study(methods=tuple(scores), datasets=["pacs"], finals={"seeds": seeds})
    path = builder.store.root / "study.yaml"
    path.write_text(path.read_text().replace("  pacs: {}", f"  pacs: {{held_out_domain: [{', '.join(domains)}]}}"))
    for method, by_domain in scores.items():
        for domain, values in by_domain.items():
            cell = builder.cell(f"pacs-{domain}", method, values)
            held_out = HeldOutDomain(section="pacs", domain=domain, seen=seen if domain == "photo" else "")
            builder.store.put_cell(cell.replace(held_out=held_out))


def test_a_backbone_of_which_nobody_can_tell_is_said_once_below_the_table(builder) -> None:
    study(builder)
    for cell in list(builder.store.cells()):
        held_out = cell.held_out.replace(unknown="moco.pth does not say what it was trained on")
        builder.store.put_cell(cell.replace(held_out=held_out))
    said = [
        f"nobody can tell whether backbone {cell.backbone} has seen images of held-out domains: moco.pth does not say "
        "what it was trained on"
    ]
    assert [note for note in table_of(builder).notes if "nobody" in note] == said
    assert [note for note in leaderboard(builder.store).notes if "nobody" in note] == said


def table_of(builder) -> DomainTable:
    found = build(builder.store)
    assert found is not None
    return found


def test_the_average_is_within_seeds_and_the_worst_by_its_mean(builder) -> None:
    study(builder)
    table = table_of(builder)
    assert (table.study, table.metric, table.baseline, table.complete) == ("synthetic", "top1", "ce", True)
    ce, core = table.rows
    assert [(f.domain, f.n, f.mean) for f in ce.figures] == [("art", 3, 61.0), ("photo", 3, 92.0), ("sketch", 3, 54.0)]
    assert ce.figures[0].stderr == pytest.approx(1 / math.sqrt(3))
    averages = {
        method: [sum(values[seed] for values in by_domain.values()) / 3 for seed in range(3)]
        for method, by_domain in SCORES.items()
    }
    assert ce.average.mean == pytest.approx(69.0) and ce.average.n == 3
    assert ce.average.stderr == pytest.approx(stats.sem(averages["ce"]))
    assert ce.worst is not None and (ce.worst.domain, ce.worst.mean) == ("sketch", 54.0)
    assert ce.difference is None and core.difference is not None
    assert core.difference.p_t == pytest.approx(stats.ttest_rel(averages["core_tuning"], averages["ce"]).pvalue)
    assert ce.selection_rule == "best validation top1 of 2 trials; last epoch"


def test_without_a_score_on_every_domain_there_is_no_average_and_no_worst(builder) -> None:
    scores = {"ce": SCORES["ce"], "core_tuning": {"art": [63.0], "photo": []}}
    study(builder, scores)
    table = table_of(builder)
    core = table.rows[1]
    assert not table.complete
    assert [(f.domain, f.n, f.status) for f in core.figures] == [
        ("art", 1, "1 of 3 final runs"),
        ("photo", 0, "0 of 3 final runs"),
        ("sketch", 0, "not begun"),
    ]
    assert (core.average.n, core.average.mean, core.worst) == (0, None, None)
    assert core.difference is not None and core.difference.difference is None
    assert "**Not complete**" in domains_to_markdown(table) and "Not complete:" in domains_to_latex(table)


def test_only_seeds_that_all_domains_have_count_in_the_average(builder) -> None:
    ragged = {"ce": {**SCORES["ce"], "photo": [90.0, "failed", 95.0]}}
    study(builder, ragged)
    (row,) = table_of(builder).rows
    assert row.average.n == 2 and row.average.mean == pytest.approx((200 / 3 + 210 / 3) / 2)
    assert [figure.n for figure in row.figures] == [3, 2, 3]
    assert "| 3 / 2 / 3 |" in domains_to_markdown(table_of(builder))


def test_what_is_marked_is_marked_in_every_form(builder) -> None:
    study(builder, seen="12 of its 1,670 images in the data set pool")
    table = table_of(builder)
    markdown, tex = domains_to_markdown(table), domains_to_latex(table)
    said = "transductive: the backbone has seen the held-out domain"
    assert "| 92.00 ± 1.53† |" in markdown and f"† {said}." in markdown and "| 61.00 ± 0.58 |" in markdown
    assert r"92.00 $\pm$ 1.53$^{\dagger}$" in tex and said in tex
    assert all(row.figures[1].marks == (said,) for row in table.rows)
    assert table.rows[0].selection_rule == "best validation top1 of 2 trials; last epoch"


def test_the_csv_has_domains_as_columns_and_all_digits(builder) -> None:
    study(builder)
    write(builder.store)
    text = (builder.store.root / "domains.csv").read_text()
    assert text == domains_to_csv(table_of(builder))
    ce, core = csv.DictReader(io.StringIO(text))
    assert list(ce)[:8] == [
        *("dataset", "backbone", "method", "metric"),
        *("art.mean", "art.stderr", "art.n", "art.selection_rule"),
    ]
    assert (ce["dataset"], ce["photo.mean"], ce["photo.n"], ce["worst.domain"]) == ("pacs", "92.0", "3", "sketch")
    assert ce["diff"] == "" and float(core["diff"]) == pytest.approx(640 / 9 - 69)
    assert float(core["average.stderr"]) == table_of(builder).rows[1].average.stderr


def test_the_csv_says_what_its_spread_is_what_was_tested_and_what_marks_there_are(builder) -> None:
    study(builder, seen="12 of its 1,670 images in the data set pool")
    cell = builder.store.cell("pacs-art--ce--net")
    oracle = cell.held_out.replace(part="domainbed_80", selection="oracle", looks=1200)
    builder.store.put_cell(cell.replace(held_out=oracle))
    ce, core = csv.DictReader(io.StringIO(domains_to_csv(table_of(builder))))
    added = ["spread", "held_out_part", "marks", *(f"{domain}.marks" for domain in DOMAINS)]
    assert [key for key in ce if key in added] == added
    assert list(ce)[-11:-6] == ["n_pairs", "spread", "held_out_part", "marks", "complete"]
    part = "80 % of the held-out domain, as DomainBed"
    seen = "transductive: the backbone has seen the held-out domain"
    looks = "oracle: chosen by 1,200 looks at the held-out domain"
    assert [ce[key] for key in added] == [
        "seeds of one configuration",
        "domainbed_80 / whole",
        f"{part}; {looks}; {seen}",
        f"{part}; {looks}",
        seen,
        "",
    ]
    assert [core[key] for key in added] == ["seeds of one configuration", "whole", seen, "", seen, ""]


def test_of_a_cell_that_has_not_begun_the_study_says_what_will_be_tested(builder) -> None:
    study(builder, {"ce": {"art": [60.0]}}, domains=("art", "photo"), seeds=1)
    path = builder.store.root / "study.yaml"
    path.write_text(path.read_text().replace("{held_out_domain:", "{held_out_part: domainbed_80, held_out_domain:"))
    assert [figure.part for figure in table_of(builder).rows[0].figures] == ["whole", "domainbed_80"]


def test_markdown_and_latex_say_what_the_numbers_are(builder) -> None:
    study(builder)
    table = table_of(builder)
    markdown, tex = domains_to_markdown(table), domains_to_latex(table)
    assert "| backbone | method | art | photo | sketch | average of 3 | worst domain | average − ce's (95 %" in markdown
    assert "| sketch 54.00 ± 2.31 |" in markdown and "not over repeats of the whole search" in markdown
    assert r"\toprule" in tex and r"sketch 54.00 $\pm$ 2.31" in tex and tex.count(r"\begin{table}") == 1
    assert to_dict(table)["rows"][0]["figures"][0]["domain"] == "art"


def test_a_study_without_a_held_out_domain_has_no_such_table(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0])
    assert build(builder.store) is None
    write(builder.store)
    assert not (builder.store.root / "domains.csv").exists()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 100), min_size=2, max_size=2), min_size=3, max_size=3), st.integers())
def test_the_average_lies_between_worst_and_best_and_equals_the_mean_of_means(make_builder, values, name: int) -> None:
    builder = make_builder(str(name))
    study(builder, {"ce": dict(zip(DOMAINS, [list(map(float, v)) for v in values], strict=True))}, seeds=2)
    (row,) = table_of(builder).rows
    means = [sum(v) / 2 for v in values]
    assert row.average.mean == pytest.approx(sum(means) / 3)
    assert row.worst is not None and row.worst.mean == min(means)
    assert row.worst.domain == DOMAINS[means.index(min(means))]


def test_the_figure_has_a_panel_per_domain_and_one_for_the_average(builder, tmp_path) -> None:
    study(builder, seen="8 images of photo")
    table = table_of(builder)
    drawn = draw_domains(table)
    panels = [axes for axes in drawn.axes if axes.axison]
    assert [axes.get_title() for axes in panels] == ["pacs: art", "photo†", "sketch", "average†"]
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["ce", "core_tuning"]
    for axes, place in zip(panels, range(4), strict=True):
        means = [(row.figures[place] if place < 3 else row.average).mean for row in table.rows]
        found = [float(container.lines[0].get_xdata()[0]) for container in axes.containers]
        assert found == pytest.approx(means)
    below, above = " ".join(drawn.get_supxlabel().split()), " ".join(drawn.get_suptitle().split())
    assert "† transductive" in below and "over seeds of one configuration, n = 3" in above
    for ending in ("png", "svg", "pdf"):
        write_domains(table, tmp_path / f"f.{ending}")
        assert (tmp_path / f"f.{ending}").stat().st_size > 1000


def test_all_that_a_figure_of_two_panels_says_stands_within_it(builder) -> None:
    study(
        builder, {"ce": {"photo": [60.0, 61.3, 64.1]}}, domains=("photo",), seen="8 images of photo " + "and more " * 30
    )
    drawn = draw_domains(table_of(builder))
    drawn.canvas.draw()
    for text in drawn.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= drawn.bbox.x1 and box.y0 >= 0 and box.y1 <= drawn.bbox.y1
    labels = [[text.get_window_extent() for text in axes.get_xticklabels()] for axes in drawn.axes]
    shown = [box for axes, boxes in zip(drawn.axes, labels, strict=True) for box in boxes if _within(box, axes)]
    assert len(shown) > 2 and all(one.x1 < other.x0 for one, other in pairwise(shown))


def test_a_sign_that_only_some_figures_of_a_panel_bear_stands_at_these(builder) -> None:
    study(builder, seen="8 images of photo")
    table = table_of(builder)
    first, second = table.rows
    clean = replace(second, figures=tuple(replace(figure, marks=()) for figure in second.figures))
    panels = draw_domains(replace(table, rows=(first, clean))).axes
    assert [axes.get_title() for axes in panels] == ["pacs: art", "photo", "sketch", "average"]
    assert [[text.get_text() for text in axes.texts] for axes in panels] == [[], ["†"], [], ["†"]]


def _within(box, axes) -> bool:
    return axes.bbox.x0 - 1 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1 + 1


def test_a_figure_leaves_out_what_has_no_score_and_needs_one(builder, tmp_path) -> None:
    study(builder, {"ce": SCORES["ce"], "core_tuning": {"art": [63.0], "photo": []}})
    panels = draw_domains(table_of(builder)).axes
    assert [len(axes.containers) for axes in panels] == [2, 1, 1, 1]
    with pytest.raises(RequestError, match="a figure is written as png, pdf, svg"):
        write_domains(table_of(builder), tmp_path / "f.jpg")


def test_nothing_to_draw_is_said(builder) -> None:
    study(builder, {"ce": {"art": [], "photo": []}})
    with pytest.raises(RequestError, match="nothing to draw"):
        draw_domains(table_of(builder))


def test_an_average_bears_the_marks_of_its_domains_and_a_worst_one_its_own(builder) -> None:
    study(builder, seen="8 images of photo")
    for row in table_of(builder).rows:
        found = cells(row, table_of(builder))
        art, photo, sketch, average, worst = found[2:7]
        assert [text.endswith("†") for text in (art, photo, sketch, average, worst)] == [
            False,
            True,
            False,
            True,
            False,
        ]


def test_many_comparisons_are_said_in_every_form(builder) -> None:
    study(builder, {**SCORES, "other": SCORES["ce"]})
    table = table_of(builder)
    said = "-values are not corrected for the 2 comparisons with ce"
    assert f"p{said}" in table.notes and said in domains_to_markdown(table) and said in domains_to_latex(table)


def test_one_comparison_needs_no_correction(builder) -> None:
    study(builder)
    assert not any("corrected" in note for note in table_of(builder).notes)


def test_notes_are_printed_with_a_latex_table(builder) -> None:
    study(builder)
    for cell in list(builder.store.cells()):
        builder.store.put_cell(cell.replace(held_out=cell.held_out.replace(repeated=2)))
    (caption,) = (line for line in domains_to_latex(table_of(builder)).splitlines() if line.startswith(r"\caption"))
    assert "Note: pacs: 2 images stand in the held-out domain photo and" in caption
