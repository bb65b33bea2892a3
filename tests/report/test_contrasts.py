from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
import scipy.stats
import yaml

from coretune.errors import RequestError
from coretune.report import leaderboard
from coretune.report.contrasts import Contrast, Contrasts, build
from coretune.report.power import noncentrality
from coretune.results.planned import Plan, Planned, plan_of
from coretune.spec.cells import final_seed
from coretune.spec.load import resolve_study
from coretune.spec.study import Study
from coretune.spec.yamlfile import parse_yaml

PAIRS = [["core_tuning", "ce"], ["core_tuning", "mixture_ce"]]
METHODS = ["ce", "mixture_ce", "core_tuning"]
BASE = [70.0, 72.0, 71.0, 69.0, 74.0, 70.5]
NOISE = [0.2, -0.1, 0.0, 0.1, -0.2, 0.05]


def study(builder: Any, pairs: Sequence[Sequence[str]] = PAIRS, **more: Any) -> None:
    contrasts = {"pairs": pairs, **{key: more.pop(key) for key in ("level", "equivalence") if key in more}}
    builder.study(**{"methods": METHODS, "contrasts": contrasts, **more})


def moved(by: float, noise: float = 1.0) -> list[float]:
    return [value + by + noise * extra for value, extra in zip(BASE, NOISE, strict=True)]


def judged(builder: Any) -> Contrasts:
    found = build(builder.store)
    assert found is not None
    for row in found.rows:
        assert not any(isinstance(value, float) and math.isnan(value) for value in asdict(row).values())
    return found


def verdicts(builder: Any) -> list[str]:
    return [row.verdict for row in judged(builder).rows]


def test_a_study_without_contrasts_has_none(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", BASE)
    assert build(builder.store) is None


def test_no_study_file_has_none(builder) -> None:
    builder.cell("digits", "ce", BASE)
    assert build(builder.store) is None


def test_every_number_against_scipy(builder) -> None:
    study(builder, datasets=["digits", "shapes"], equivalence=1.0)
    scores: Mapping[tuple[str, str], list[float]] = {
        (dataset, method): moved(shift, noise)
        for dataset, shift, noise in [("digits", 0.8, 2.0), ("shapes", 0.3, 4.0)]
        for method in METHODS
    } | {("digits", "ce"): BASE, ("shapes", "ce"): BASE, ("shapes", "mixture_ce"): moved(-0.4, 3.0)}
    for (dataset, method), values in scores.items():
        builder.cell(dataset, method, values)
    found = judged(builder)
    assert found.complete and (found.level, found.equivalence, found.direction) == (0.05, 1.0, "max")
    places = [(row.dataset, row.backbone, row.first, row.second) for row in found.rows]
    assert places == [(dataset, "net", *pair) for dataset in ("digits", "shapes") for pair in PAIRS]
    ps, equivalences = [], []
    for row in found.rows:
        first, second = (np.array(scores[row.dataset, method]) for method in (row.first, row.second))
        differences = first - second
        assert (row.n, row.seeds, row.difference) == (6, 6, pytest.approx(differences.mean()))
        if np.ptp(differences) < 1e-9:
            assert (row.p, row.p_holm, row.p_tost, row.p_tost_holm, row.mdd, row.ci_low) == (None,) * 6
            continue
        test = scipy.stats.ttest_rel(first, second)
        assert row.p == pytest.approx(test.pvalue)
        assert (row.ci_low, row.ci_high) == pytest.approx(tuple(test.confidence_interval(0.95)))
        above = scipy.stats.ttest_1samp(differences, -1.0, alternative="greater").pvalue
        below = scipy.stats.ttest_1samp(differences, 1.0, alternative="less").pvalue
        assert row.p_tost == pytest.approx(max(above, below))
        assert row.mdd == pytest.approx(noncentrality(5, 0.05 / 4) * differences.std(ddof=1) / math.sqrt(6))
        ps.append(row.p)
        equivalences.append(row.p_tost)
    assert len(ps) == 3, "digits: core_tuning and mixture_ce have equal scores"
    smallest = min(row.p_holm for row in found.rows if row.p_holm is not None)
    assert smallest == pytest.approx(4 * min(ps)), "the family is all four, the one without a p among them"
    assert min(row.p_tost_holm for row in found.rows if row.p_tost_holm is not None) == pytest.approx(
        min(1.0, 4 * min(equivalences))
    )


def test_the_verdicts(builder) -> None:
    study(builder, [["core_tuning", "ce"], ["ce", "core_tuning"], ["mixture_ce", "ce"]], equivalence=0.5)
    builder.cell("digits", "ce", BASE)
    builder.cell("digits", "core_tuning", moved(3.0))
    builder.cell("digits", "mixture_ce", moved(0.01))
    assert verdicts(builder) == ["better", "worse", "equivalent"]
    builder.cell("digits", "core_tuning", moved(0.3, 0.2))
    assert verdicts(builder) == ["better, but within ±0.5", "worse, but within ±0.5", "equivalent"]
    builder.cell("digits", "core_tuning", moved(0.6, 8.0))
    assert verdicts(builder)[:2] == ["undecided", "undecided"]


def test_lower_is_better_where_the_metric_says_so(builder) -> None:
    builder.metric = "cross_entropy"
    study(builder, [["core_tuning", "ce"]])
    builder.cell("digits", "ce", BASE)
    builder.cell("digits", "core_tuning", moved(3.0))
    assert verdicts(builder) == ["worse"]


def test_without_a_bound_nothing_is_equivalent(builder) -> None:
    study(builder, [["mixture_ce", "ce"]])
    builder.cell("digits", "ce", BASE)
    builder.cell("digits", "mixture_ce", moved(0.01))
    (row,) = judged(builder).rows
    assert (row.p_tost, row.p_tost_holm, row.verdict) == (None, None, "undecided")


def test_correction_can_take_a_verdict_away(builder) -> None:
    study(builder, [["core_tuning", "ce"]])
    builder.cell("digits", "ce", BASE)
    builder.cell("digits", "core_tuning", moved(0.16))
    (alone,) = judged(builder).rows
    assert alone.p is not None and 0.02 < alone.p < 0.05 and alone.verdict == "better"
    study(builder)
    builder.cell("digits", "mixture_ce", BASE)
    row, other = judged(builder).rows
    assert row.p == alone.p and row.p_holm == other.p_holm == pytest.approx(2 * alone.p)
    assert row.verdict == "undecided"


def test_images_that_nothing_is_tuned_on_are_no_place_of_a_contrast(builder) -> None:
    backbones = {"net": {"pretrain": {"dataset": "pool"}}}
    shapes = {"digits": {}, "pool": {"pretraining_only": True}}
    study(builder)
    file = builder.store.root / "study.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"datasets": shapes, "backbones": backbones}))
    for method in METHODS:
        builder.cell("digits", method, moved(0.0 if method == "ce" else 2.0))
    assert [row.dataset for row in judged(builder).rows] == ["digits", "digits"]
    assert not any("have not begun" in note for note in leaderboard.build(builder.store).notes)


def test_seeds_so_far_count_and_are_not_judged(builder) -> None:
    study(builder, equivalence=0.5)
    builder.cell("digits", "ce", BASE)
    builder.cell("digits", "mixture_ce", moved(-9.0))
    builder.cell("digits", "core_tuning", [*moved(3.0)[:4], "failed", "unfinished"])
    found = judged(builder)
    row = found.rows[0]
    assert (row.n, row.seeds, row.verdict, row.p_holm, row.p_tost_holm) == (4, 6, "incomplete", None, None)
    assert row.difference == pytest.approx(3.05) and row.p is not None and row.p_tost is not None
    assert row.mdd is not None
    assert not found.complete
    text = " | ".join(found.notes)
    assert "2 of 2 contrasts are incomplete" in text
    assert "digits--core_tuning--net: 1 of 6 final runs failed" in text


def test_an_unfinished_contrast_counts_in_the_correction_of_the_others(builder) -> None:
    study(builder)
    builder.cell("digits", "ce", BASE)
    builder.cell("digits", "core_tuning", moved(3.0))
    done, waiting = judged(builder).rows
    assert done.p is not None and done.p_holm == pytest.approx(2 * done.p) and done.verdict == "better"
    assert (waiting.n, waiting.seeds, waiting.verdict) == (0, 6, "incomplete")
    assert (waiting.difference, waiting.p, waiting.mdd) == (None, None, None)


def test_one_seed_and_no_spread(builder) -> None:
    study(builder, [["core_tuning", "ce"], ["mixture_ce", "ce"]], finals={"seeds": 1}, equivalence=0.5)
    builder.cell("digits", "ce", [70.0])
    builder.cell("digits", "core_tuning", [71.0])
    row = judged(builder).rows[0]
    assert (row.n, row.difference, row.ci_low, row.p, row.p_holm, row.p_tost, row.mdd) == (1, 1.0, *(None,) * 5)
    assert row.verdict == "undecided", "all its seeds are there, and one says nothing"
    study(builder, [["core_tuning", "ce"]], finals={"seeds": 3}, equivalence=5.0)
    builder.cell("digits", "ce", [70.1, 70.2, 70.3])
    builder.cell("digits", "core_tuning", [71.1, 71.2, 71.3])
    row = judged(builder).rows[0]
    assert (row.n, row.ci_low, row.p, row.p_tost, row.mdd, row.verdict) == (3, None, None, None, None, "undecided")
    assert _said_of(builder, "core_tuning − ce") == "the difference is the same at every seed"


def test_two_sides_of_the_same_scores_are_told(builder) -> None:
    study(builder, equivalence=0.5)
    builder.cell("digits", "ce", moved(-0.5, 2.0))
    builder.cell("digits", "mixture_ce", BASE)
    builder.cell("digits", "core_tuning", BASE)
    varied, same = judged(builder).rows
    assert varied.p is not None and _said_of(builder, "core_tuning − ce") is None
    assert (same.difference, same.p, same.p_tost, same.verdict) == (0.0, None, None, "undecided")
    assert _said_of(builder, "core_tuning − mixture_ce") == "both have the same score at every seed"


def _said_of(builder: Any, contrast: str) -> str | None:
    """Returns the first clause of the note about one contrast."""
    said = [note.partition(": ")[2] for note in judged(builder).notes if f"net, {contrast}: " in note]
    return said[0].partition(",")[0] if said else None


def test_runs_of_other_seeds_are_no_pairs(builder) -> None:
    study(builder, [["core_tuning", "ce"]], finals={"seeds": 2})
    cell = builder.cell("digits", "ce", [70.0, 71.0])
    spec = builder.spec("digits", "ce", "net", {"train.lr": 0.03}, seed=1234)
    builder.evaluate(builder.record(spec), 50.0)
    builder.store.put_cell(cell.replace(finals=(cell.finals[0], cell.finals[1].replace(seed=1234, run_id=spec.run_id))))
    builder.cell("digits", "core_tuning", [72.0, 75.0])
    (row,) = judged(builder).rows
    assert (row.n, row.difference, row.verdict) == (1, 2.0, "incomplete")
    assert final_seed(0, 1) != 1234


def test_the_family_wise_error_is_kept() -> None:
    """Ten thousand families without a difference: a false verdict in at most 5 % of them."""
    from coretune.report.contrasts import _judged

    draw = random.Random(0)
    asked = Study(
        name="x",
        datasets={"d": {}},
        backbones={"b": {}},
        methods={"a": {}, "b": {}, "c": {}, "d": {}},
        contrasts={"pairs": [["a", "b"], ["a", "c"], ["a", "d"]]},
    )
    empty = dict.fromkeys(("ci_low", "ci_high", "p_holm", "p_tost", "p_tost_holm", "mdd"), None)
    wrong = 0
    for _ in range(10_000):
        rows = [
            Contrast("d", "b", "a", "b", 6, 6, difference=1.0, p=draw.random(), verdict="undecided", **empty)
            for _ in range(3)
        ]
        wrong += any(row.verdict != "undecided" for row in _judged(rows, asked))
    assert 0.04 < wrong / 10_000 < 0.055


# --- when it was planned ---------------------------------------------------------------------------------------


def plan(builder: Any, date: str, scores: int = 0, **changes: Any) -> Plan:
    from coretune.report.study import read_study

    found = read_study(builder.store).study
    assert found is not None
    return Plan(date=date, version="0.1.0", test_scores=scores, plan={**plan_of(found), **changes})


def planned_notes(builder: Any) -> list[str]:
    return [note for note in judged(builder).notes if "plan" in note]


def test_a_plan_before_any_score(builder) -> None:
    study(builder)
    builder.cell("digits", "ce", BASE)
    assert "nothing says when the contrasts were planned" in planned_notes(builder)[0]
    builder.store.put_planned(Planned(entries=(plan(builder, "2026-10-30T08:00:00.000+00:00"),)))
    assert planned_notes(builder) == ["planned on 2026-10-30 before any test score was there"]


def test_a_plan_after_some_scores_and_its_changes(builder) -> None:
    study(builder)
    builder.cell("digits", "ce", BASE)
    first = plan(builder, "2026-11-02T08:00:00+00:00", 1, **{"finals.seeds": 4})
    second = plan(builder, "2026-11-03T08:00:00+00:00", 12, **{"contrasts.level": 0.01})
    builder.store.put_planned(Planned(entries=(first, second)))
    assert planned_notes(builder) == [
        "planned on 2026-11-02 after 1 test score",
        "the plan was changed on 2026-11-03 after 12 test scores: contrasts.level from 0.05 to 0.01, "
        "finals.seeds from 4 to 6",
        "study.yaml is not what was planned: contrasts.level from 0.01 to 0.05",
    ]


def test_scores_that_are_older_than_the_plan_are_told(builder) -> None:
    study(builder)
    builder.cell("digits", "ce", BASE)
    builder.store.put_planned(Planned(entries=(plan(builder, "2026-11-02T08:00:00+00:00"),)))
    (said,) = planned_notes(builder)
    assert "6 of the test scores are older" in said and "in this directory" in said


DOMAINS = ("art", "photo", "sketch")


def held_out(builder: Any, scores: Mapping[str, Mapping[str, Sequence[Any]]], **more: Any) -> None:
    """A study with domains held out, and its cells."""
    seeds = more.pop("seeds", 4)
    builder.study(
        methods=list(scores),
        datasets=["pacs", "digits"],
        finals={"seeds": seeds},
        contrasts={"pairs": [["core_tuning", "ce"]], "domains": "average", **more},
    )
    path = builder.store.root / "study.yaml"
    path.write_text(path.read_text().replace("  pacs: {}", f"  pacs: {{held_out_domain: [{', '.join(DOMAINS)}]}}"))
    for method, by_label in scores.items():
        for label, values in by_label.items():
            builder.cell(label, method, values)


def test_domains_are_averaged_within_each_seed_and_other_data_stay_as_they_are(builder) -> None:
    random_ = random.Random(0)
    scores = {
        method: {
            label: [70 + 10 * random_.random() for _ in range(4)]
            for label in (*(f"pacs-{domain}" for domain in DOMAINS), "digits")
        }
        for method in ("ce", "core_tuning")
    }
    held_out(builder, scores)
    found = judged(builder)
    assert [row.dataset for row in found.rows] == ["pacs, average of 3 domains", "digits"]
    blocks = [
        sum(scores["core_tuning"][f"pacs-{d}"][seed] - scores["ce"][f"pacs-{d}"][seed] for d in DOMAINS) / 3
        for seed in range(4)
    ]
    row, other = found.rows
    assert (row.n, row.difference) == (4, pytest.approx(float(np.mean(blocks))))
    expected = scipy.stats.ttest_1samp(blocks, 0.0)
    assert row.p == pytest.approx(expected.pvalue)
    reach = expected.confidence_interval(0.95)
    assert (row.ci_low, row.ci_high) == (pytest.approx(reach.low), pytest.approx(reach.high))
    assert row.p_holm == pytest.approx(min(1.0, 2 * row.p) if row.p <= other.p else row.p)
    single = scipy.stats.ttest_rel(scores["core_tuning"]["digits"], scores["ce"]["digits"])
    assert other.p == pytest.approx(single.pvalue)


def test_an_average_is_incomplete_until_every_domain_has_all_seeds(builder) -> None:
    full = {f"pacs-{domain}": [70.0, 72.0, 71.0, 75.0] for domain in DOMAINS} | {"digits": [1.0, 2.0, 3.0, 5.0]}
    short = {**full, "pacs-photo": [70.0, 72.5, "failed", 75.0]}
    held_out(builder, {"ce": full, "core_tuning": short})
    row, other = judged(builder).rows
    assert (row.verdict, row.n, row.seeds) == ("incomplete", 3, 4)
    assert other.verdict != "incomplete"


def test_an_average_over_domains_needs_a_held_out_domain_and_is_part_of_the_plan() -> None:
    text = {
        "name": "x",
        "datasets": ["digits"],
        "backbones": ["small_resnet"],
        "methods": ["ce", "core_tuning"],
        "contrasts": {"pairs": [["core_tuning", "ce"]], "domains": "average"},
    }
    with pytest.raises(RequestError, match=r"contrasts.domains: an average is over held-out domains"):
        resolve_study(parse_yaml(yaml.safe_dump(text)))
    options = {"pairs": [["core_tuning", "ce"]], "domains": "average"}
    plain = resolve_study(parse_yaml(yaml.safe_dump({**text, "contrasts": {"pairs": [["core_tuning", "ce"]]}}))).study
    assert "contrasts.domains" not in plan_of(plain), "plans of before the key stay as they were"
    assert plan_of(plain.replace(contrasts=options))["contrasts.domains"] == "average"
