from __future__ import annotations

import math
import uuid

import pytest
import scipy.stats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coretune.report.leaderboard import Leaderboard, Row, build
from coretune.report.typeset import to_latex, to_markdown
from coretune.results.cellfile import HeldOutDomain
from coretune.spec.cells import final_seed
from coretune_cli.board import footnotes

CE = [70.0, 72.0, 71.0, 69.0, 74.0, 70.5]
CORE = [73.0, 72.5, 74.0, 71.0, 75.0, 74.5]


def row(leaderboard: Leaderboard, dataset: str, method: str) -> Row:
    found = leaderboard.means if dataset == "mean" else leaderboard.rows
    return next(one for one in found if (one.dataset, one.method) == (dataset, method))


def test_a_finished_study(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", CE, params={"train.lr": 0.1})
    builder.cell("digits", "core_tuning", CORE, params={"train.lr": 0.02, "method.eta": 0.3})
    leaderboard = build(builder.store)
    assert (leaderboard.study, leaderboard.metric, leaderboard.direction) == ("synthetic", "top1", "max")
    assert leaderboard.baseline == "ce"
    assert leaderboard.complete
    assert leaderboard.selection_rule == "best validation top1 of 2 trials; last epoch"
    ce, core = leaderboard.rows
    assert (ce.method, core.method) == ("ce", "core_tuning")
    assert core.n == 6 and core.mean == pytest.approx(440 / 6)
    assert core.std == pytest.approx(math.sqrt(sum((value - 440 / 6) ** 2 for value in CORE) / 5))
    assert core.stderr == pytest.approx(core.std / math.sqrt(6))
    differences = [one - two for one, two in zip(CORE, CE, strict=True)]
    assert core.diff == pytest.approx(sum(differences) / 6) and core.n_pairs == 6
    assert core.p_paired_t == pytest.approx(scipy.stats.ttest_rel(CORE, CE).pvalue)
    assert core.p_wilcoxon == pytest.approx(2 / 64)
    assert core.diff_ci_low is not None and core.diff_ci_high is not None
    assert core.diff_ci_low < core.diff < core.diff_ci_high
    assert (ce.rank, core.rank) == (2, 1)
    assert (ce.diff, ce.p_paired_t, ce.p_wilcoxon, ce.n_pairs) == (None, None, None, 0)
    assert core.status == "6 of 6 final runs"
    assert core.params == {"train.lr": 0.02, "method.eta": 0.3}
    assert core.seeds == tuple(final_seed(0, index) for index in range(6))
    assert core.values == tuple(CORE) and len(set(core.run_ids)) == 6


def test_only_seeds_that_both_have_are_pairs(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0, 60.0, "failed", 62.0, 63.0, 64.0])
    builder.cell("digits", "core_tuning", ["failed", 61.0, 99.0, 63.5, "not evaluated", "unfinished"])
    leaderboard = build(builder.store)
    core = row(leaderboard, "digits", "core_tuning")
    assert core.n == 3
    assert core.n_pairs == 2
    assert core.diff == pytest.approx((1.0 + 1.5) / 2)
    assert core.status == "3 of 6 final runs; 1 failed; 1 not evaluated"
    assert not leaderboard.complete
    notes = " | ".join(leaderboard.notes)
    assert "digits--core_tuning--net: 1 of 6 final runs failed" in notes
    assert "with 2 pairs Wilcoxon's p cannot fall below 0.5" in notes


def test_another_seed_at_the_same_index_is_no_pair(builder) -> None:
    builder.study()
    cell = builder.cell("digits", "ce", [70.0, 71.0])
    spec = builder.spec("digits", "ce", "net", {"train.lr": 0.03}, seed=1234)
    builder.evaluate(builder.record(spec), 50.0)
    foreign = cell.finals[1].replace(seed=1234, run_id=spec.run_id)
    builder.store.put_cell(cell.replace(finals=(cell.finals[0], foreign)))
    builder.cell("digits", "core_tuning", [72.0, 75.0])
    assert row(build(builder.store), "digits", "core_tuning").n_pairs == 1


def test_a_cell_that_still_searches(builder) -> None:
    builder.study(search={"trials": 8})
    builder.cell("digits", "ce", None, trials=3)
    leaderboard = build(builder.store)
    ce = leaderboard.rows[0]
    assert (ce.n, ce.mean, ce.std, ce.ci_low, ce.rank) == (0, None, None, None, None)
    assert ce.status == "searching: 3 of 8 trials"
    assert ce.selection_rule == "no configuration chosen yet"
    assert not leaderboard.complete
    assert any("1 of 2 cells of the study have not begun" in note for note in leaderboard.notes)


ETA = {"method.eta": {"log_uniform": [1e-3, 3.0], "also": [0.0]}}


def said(leaderboard: Leaderboard, of: str) -> list[str]:
    return [note for note in leaderboard.notes if of in note]


def test_a_chosen_value_beside_its_range_is_a_note_everywhere(builder) -> None:
    builder.study(datasets=["digits", "shapes"])
    for dataset, eta in (("digits", 0.0), ("shapes", 0.3)):
        builder.cell(dataset, "ce", [70.0, 71.0])
        builder.cell(dataset, "core_tuning", [72.0, 75.0], params={"train.lr": 0.1, "method.eta": eta}, space=ETA)
    found = build(builder.store)
    text = "the search chose method.eta = 0, beside its range, for digits, core_tuning"
    assert said(found, "beside") == [f"{text}; there the method is trained without its contrast"]
    assert text in " ".join(to_markdown(found).replace("\\", "").split()) and f"% {text}" in to_latex(found)
    assert text in " ".join("\n".join(footnotes(found, {})).split())


def test_a_value_beside_any_range_is_told_by_cell(builder) -> None:
    builder.study(methods=["a"], backbones=["net", "wide"])
    space = {"method.weight": {"uniform": [0, 1], "also": [5]}}
    for backbone in ("net", "wide"):
        builder.cell("digits", "a", [70.0, 71.0], backbone=backbone, params={"method.weight": 5}, space=space)
    assert said(build(builder.store), "beside") == [
        "the search chose method.weight = 5, beside its range, for digits, a, net; digits, a, wide"
    ]


def test_without_a_search_no_search_chose_anything(builder) -> None:
    builder.study(search="none")
    builder.cell("digits", "ce", [70.0], trials=0)
    builder.cell("digits", "core_tuning", [72.0], params={"method.eta": 0.0}, space=ETA, trials=0)
    assert not said(build(builder.store), "the search chose") and not said(build(builder.store), "budgets")


def test_unequal_budgets_are_a_note(builder) -> None:
    builder.study(search={"trials": 3})
    builder.cell("digits", "ce", [70.0, 71.0], trials=0)
    builder.cell("digits", "core_tuning", None, trials=1)
    assert not said(build(builder.store), "budgets differ"), "nothing is certain before a search ended"
    builder.cell("digits", "core_tuning", [72.0, 75.0], trials=3)
    (note,) = said(build(builder.store), "budgets differ")
    assert note.startswith("budgets differ: ce searches nothing, core_tuning has 3 trials; give train.lr a range")


def test_what_the_last_session_found_missing_is_a_note(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [72.0, 75.0])
    dtd = {"kind": "data set", "label": "dtd", "text": "data set dtd is missing: no folder; to get it: unpack"}
    net = {"kind": "checkpoint", "label": "net", "text": "checkpoint of net is missing"}
    builder.store.put_json("state.json", {"missing": [dtd, {"cells": 3}, 7, net]})
    (said,) = [note for note in build(builder.store).notes if "missing" in note]
    assert said.startswith("missing in the last session: data set dtd; checkpoint net (`coretune study status`")
    builder.store.put_json("state.json", ["damaged"])
    assert not any("missing" in note for note in build(builder.store).notes)


def test_a_cell_without_a_completed_trial_has_failed(builder) -> None:
    builder.study(search={"trials": 2})
    cell = builder.cell("digits", "ce", None, trials=2)
    first, second = cell.trials
    pruned = first.replace(state="pruned", value=None)
    builder.store.put_cell(cell.replace(trials=(pruned, second.replace(state="running", value=None))))
    assert build(builder.store).rows[0].status == "searching: 1 of 2 trials; 1 pruned"
    builder.store.put_cell(cell.replace(trials=(pruned, second.replace(state="failed", value=None))))
    assert build(builder.store).rows[0].status == "failed: none of 2 trials completed"


def test_a_rule_that_names_the_weights_does_not_name_them_twice(builder) -> None:
    builder.study()
    cell = builder.cell("digits", "ce", [70.0])
    assert cell.choice is not None
    builder.store.put_cell(cell.replace(choice=cell.choice.replace(rule="defaults; last epoch")))
    assert build(builder.store).rows[0].selection_rule == "defaults; last epoch"


def test_what_a_figure_of_a_held_out_domain_is_stands_in_its_rule(builder) -> None:
    builder.study(finals={"seeds": 1}, datasets=["a", "b"])
    text = (builder.store.root / "study.yaml").read_text()
    keys = "held_out_domain: [photo, sketch]"
    (builder.store.root / "study.yaml").write_text(text.replace("  a: {}", f"  a: {{{keys}}}"))
    seen = {"photo": "", "sketch": "3 of its 9 images in the data set pool"}
    for domain, said in seen.items():
        cell = builder.cell(f"a-{domain}", "ce", [70.0])
        part = "domainbed_80" if said else "whole"
        builder.store.put_cell(cell.replace(held_out=HeldOutDomain(section="a", domain=domain, part=part, seen=said)))
    found = build(builder.store)
    assert [row.dataset for row in found.rows] == ["a-photo", "a-sketch"], "the study asks for both"
    first, second = (row.selection_rule for row in found.rows)
    assert first == "best validation top1 of 2 trials; last epoch"
    assert second == (
        f"{first}; 80 % of the held-out domain, as DomainBed; transductive: the backbone has seen the held-out domain"
    )


def test_a_rule_says_once_that_an_oracle_chose(builder) -> None:
    builder.study(finals={"seeds": 1}, datasets=["a"])
    cell = builder.cell("a", "ce", [70.0])
    assert cell.choice is not None
    held_out = HeldOutDomain(section="a", domain="photo", selection="oracle", looks=3)
    rules = {"oracle: best top1 of 2 trials": 0, "defaults": 1}
    for rule, times in rules.items():
        builder.store.put_cell(cell.replace(choice=cell.choice.replace(rule=rule), held_out=held_out))
        (found,) = build(builder.store).rows
        mark = "oracle: " * times + "chosen by 3 looks at the held-out domain"
        assert found.selection_rule == f"{rule}; last epoch; {mark}"


def test_one_final_run_has_a_mean_and_no_spread(builder) -> None:
    builder.study(finals={"seeds": 1})
    builder.cell("digits", "ce", [70.0])
    builder.cell("digits", "core_tuning", [71.0])
    core = row(build(builder.store), "digits", "core_tuning")
    assert not any("mean rows" in note for note in build(builder.store).notes)
    assert (core.n, core.mean, core.diff) == (1, 71.0, 1.0)
    assert (core.std, core.stderr, core.ci_low, core.diff_ci_low, core.p_paired_t) == (None,) * 5
    assert core.p_wilcoxon == 1.0


def test_ties_share_the_lower_rank(builder) -> None:
    builder.study(methods=["ce", "a", "b", "c"])
    for method, scores in {"ce": [60.0], "a": [70.0], "b": [0.1 + 0.2 + 69.7], "c": [65.0]}.items():
        builder.cell("digits", method, scores)
    assert [one.rank for one in build(builder.store).rows] == [4, 1, 1, 3]


def test_cross_entropy_is_better_when_smaller(builder) -> None:
    builder.metric = "cross_entropy"
    builder.study()
    builder.cell("digits", "ce", [1.0, 1.2])
    builder.cell("digits", "core_tuning", [0.8, 0.9])
    leaderboard = build(builder.store)
    assert leaderboard.direction == "min"
    core = row(leaderboard, "digits", "core_tuning")
    assert core.rank == 1
    assert core.diff == pytest.approx(-0.25)


def test_mean_rows_average_data_sets_within_each_seed(builder) -> None:
    builder.study(datasets=["digits", "shapes"])
    builder.cell("digits", "ce", [10.0, 20.0, 30.0])
    builder.cell("shapes", "ce", [50.0, 40.0, 36.0])
    builder.cell("digits", "core_tuning", [12.0, 25.0, 30.0])
    builder.cell("shapes", "core_tuning", [54.0, 41.0, 38.0])
    leaderboard = build(builder.store)
    ce, core = row(leaderboard, "mean", "ce"), row(leaderboard, "mean", "core_tuning")
    assert ce.kind == "mean" and ce.values == (30.0, 30.0, 33.0)
    assert ce.n == 3 and ce.mean == 31.0
    assert ce.std == pytest.approx(math.sqrt(3.0))
    assert core.values == (33.0, 33.0, 34.0)
    assert core.diff == pytest.approx((3 + 3 + 1) / 3) and core.n_pairs == 3
    assert (ce.rank, core.rank) == (2, 1)
    assert ce.datasets == ("digits", "shapes") and ce.status == "over 2 data sets"
    assert len(ce.run_ids) == 6


def test_mean_rows_leave_out_what_not_all_methods_have(builder) -> None:
    builder.study(datasets=["digits", "shapes"])
    builder.cell("digits", "ce", [10.0, 20.0])
    builder.cell("shapes", "ce", [90.0, 90.0])
    builder.cell("digits", "core_tuning", [11.0, "failed"])
    builder.cell("shapes", "core_tuning", ["failed", "failed"])
    leaderboard = build(builder.store)
    assert [one.datasets for one in leaderboard.means] == [("digits",)] * 2
    assert row(leaderboard, "mean", "ce").mean == 15.0
    assert row(leaderboard, "mean", "core_tuning").values == (11.0,)
    assert any("over digits; not every method has scores on shapes" in note for note in leaderboard.notes)


def test_backbones_have_ranks_partners_and_means_of_their_own(builder) -> None:
    builder.study(backbones=["net", "wide"])
    builder.cell("digits", "ce", [70.0, 71.0])
    builder.cell("digits", "core_tuning", [72.0, 73.0])
    builder.cell("digits", "ce", [80.0, 81.0], backbone="wide")
    builder.cell("digits", "core_tuning", [79.0, 80.0], backbone="wide")
    leaderboard = build(builder.store)
    assert [(one.backbone, one.method, one.rank) for one in leaderboard.rows] == [
        ("net", "ce", 2),
        ("net", "core_tuning", 1),
        ("wide", "ce", 1),
        ("wide", "core_tuning", 2),
    ]
    assert [one.diff for one in leaderboard.rows] == [None, pytest.approx(2.0), None, pytest.approx(-1.0)]
    assert [(one.backbone, one.mean) for one in leaderboard.means[2:]] == [("wide", 80.5), ("wide", 79.5)]


def test_the_named_baseline_is_the_baseline(builder) -> None:
    builder.study(baseline="core_tuning")
    builder.cell("digits", "ce", [70.0, 71.0])
    builder.cell("digits", "core_tuning", [72.0, 74.0])
    assert row(build(builder.store), "digits", "ce").diff == pytest.approx(-2.5)


def test_best_weights_are_said(builder) -> None:
    builder.weights = "best"
    builder.study()
    builder.cell("digits", "ce", [70.0])
    assert build(builder.store).rows[0].selection_rule.endswith("; best epoch on validation")


def test_validation_scores_are_no_test_scores(builder) -> None:
    builder.study()
    cell = builder.cell("digits", "ce", [70.0])
    builder.store.put_cell(cell.replace(evaluation={**cell.evaluation, "split": "validation"}))
    found = build(builder.store).rows[0]
    assert found.n == 0 and found.status == "0 of 6 final runs; 1 not evaluated"
    assert found.selection_rule.endswith("not evaluated on the test part")


def test_another_evaluation_of_the_same_run_does_not_count(builder) -> None:
    builder.study()
    cell = builder.cell("digits", "ce", ["not evaluated"])
    builder.weights = "best"
    builder.evaluate(cell.finals[0].run_id, 99.0)
    assert build(builder.store).rows[0].n == 0


def test_cells_that_the_study_no_longer_asks_for_are_left_out(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", [70.0])
    builder.cell("digits", "gone", [99.0])
    leaderboard = build(builder.store)
    assert [one.method for one in leaderboard.rows] == ["ce"]
    assert any("digits--gone--net" in note for note in leaderboard.notes)


@pytest.mark.parametrize("text", [None, "", "name: [", "name: x\nmethods: 3\n"])
def test_without_a_readable_study_all_cells_are_listed_without_baseline(builder, text: str | None) -> None:
    builder.cell("digits", "ce", [70.0])
    builder.cell("digits", "core_tuning", [71.0])
    if text is not None:
        (builder.store.root / "study.yaml").write_text(text)
    leaderboard = build(builder.store)
    assert len(leaderboard.rows) == 2
    assert leaderboard.baseline is None
    assert all(one.diff is None for one in leaderboard.rows)
    assert "study.yaml" in leaderboard.notes[0]


def test_an_empty_directory_is_an_empty_leaderboard(builder) -> None:
    leaderboard = build(builder.store)
    assert (leaderboard.rows, leaderboard.means, leaderboard.complete) == ((), (), False)


def test_a_corrupt_evaluation_is_said_and_counts_as_absent(builder) -> None:
    builder.study()
    cell = builder.cell("digits", "ce", [70.0, 72.0])
    run_id = cell.finals[1].run_id
    next((builder.store.run_folder(run_id) / "evals").glob("*.json")).write_text('{"eval_id": ')
    leaderboard = build(builder.store)
    assert leaderboard.rows[0].n == 1
    assert any("is not readable" in note for note in leaderboard.notes)


def test_many_comparisons_are_said(builder) -> None:
    builder.study(methods=["ce", "a", "b"], data={"labels_per_class": 5, "subset_seed": "per_seed"})
    for method in ("ce", "a", "b"):
        builder.cell("digits", method, CE)
    notes = " | ".join(build(builder.store).notes)
    assert "p-values are not corrected for the 2 comparisons with ce" in notes
    assert "the draw of the labelled subset" in notes
    assert "Wilcoxon" not in notes  # six pairs can reach 0.05


states = st.one_of(st.floats(0, 100), st.sampled_from(["failed", "not evaluated", "unfinished"]))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=st.lists(st.lists(states, min_size=3, max_size=3), min_size=4, max_size=4))
def test_any_state_of_a_study_has_a_sound_leaderboard(make_builder, table) -> None:
    builder = make_builder(uuid.uuid4().hex)
    builder.study(datasets=["digits", "shapes"], finals={"seeds": 3})
    for (dataset, method), scores in zip(
        [("digits", "ce"), ("digits", "core_tuning"), ("shapes", "ce"), ("shapes", "core_tuning")], table, strict=True
    ):
        builder.cell(dataset, method, scores, trials=0)
    leaderboard = build(builder.store)
    for one, scores in zip(leaderboard.rows, table, strict=True):
        numbers = [score for score in scores if not isinstance(score, str)]
        assert one.n == len(numbers) == len(one.values) == len(one.run_ids) == len(one.seeds)
        assert (one.mean is None) == (not numbers)
        assert one.rank in ((1, 2) if numbers else (None,))
        assert one.n_pairs <= one.n
        if one.stderr is not None:
            assert one.ci_low is not None and one.ci_high is not None and one.mean is not None
            assert one.ci_low <= one.mean <= one.ci_high
    assert leaderboard.complete == all(not isinstance(score, str) for scores in table for score in scores)


def test_a_cell_that_failed_before_its_search_says_why(builder) -> None:
    builder.study()
    builder.cell("digits", "ce", CE)
    cell = builder.cell("digits", "core_tuning", None)
    builder.store.put_cell(cell.replace(failure="its pre-training abc failed"))
    assert row(build(builder.store), "digits", "core_tuning").status == "failed: its pre-training abc failed"
