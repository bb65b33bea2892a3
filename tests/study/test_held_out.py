"""Selection rules where a domain is held out: which runs a trial is, who chooses, what is marked."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from support import image_sets as sets
from support.driving import answer, make_book

from coretune.data.domain_splits import split_source
from coretune.data.source import open_source
from coretune.errors import RequestError, StudyError, UnfitError
from coretune.report import leaderboard
from coretune.report.domains import build
from coretune.results.cellfile import CellFile
from coretune.results.store import ResultsStore
from coretune.runs.job import Job
from coretune.spec.load import resolve_study
from coretune.spec.yamlfile import parse_yaml
from coretune.study.events import EventLog
from coretune.study.plan import make_plan
from coretune.study.progress import Progress
from coretune.study.resolved import ResolvedStudy, resolve

DOMAINS = ("art", "photo", "sketch")
LOSO = "leave_one_source_domain_out"


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def study(root: Path, *said: str, domains: tuple[str, ...] = DOMAINS, held_out: str = "photo") -> ResolvedStudy:
    for value, name in enumerate(f"{d}/{c}/{i}.png" for d in domains for c in ("cat", "dog") for i in range(10)):
        sets.draw(root / "images" / name, value)
    text = f"""
name: x
datasets: {{mine: {{path: {root / "images"}, held_out_domain: {held_out}, image_size: 8}}}}
backbones: {{small: {{arch: small_resnet}}}}
methods: [ce]
train: {{epochs: 4, evaluate_every: 2, lr: {{log_uniform: [0.003, 0.3], default: 0.03}}}}
search: {{sampler: random, trials: 3}}
finals: {{seeds: 2}}
"""
    return resolve(resolve_study(parse_yaml(text), said))


def drive(found: ResolvedStudy, root: Path) -> CellFile:
    """Executes a study's runs: a lower learning rate is better; one run is better on every domain but the art."""
    book = make_book(found, root / "results")
    store = ResultsStore(root / "results")

    def score(job: Job) -> float:
        return 90 - 100 * job.spec.train.lr - (20 if job.spec.data.validation_domain == "art" else 0)

    while (job := book.next_job()) is not None:
        answer(store, job, score(job))
        book.on_finished(job.spec.run_id, ended=True)
    (cell,) = book.cells
    store.put_cell(cell.file())
    (root / "results" / "study.yaml").write_text("name: x\n")
    return cell.file()


def domains_of(found: ResolvedStudy, which: str) -> list[str | None]:
    (cell,) = found.cells
    specs = found.trial_specs(cell, {}) if which == "trial" else found.final_specs(cell, {})
    return [spec.data.validation_domain for spec in specs]


def test_training_domain_validation_is_as_it_was(tmp_path: Path) -> None:
    plain, said = study(tmp_path), study(tmp_path, "selection=training_domain")
    assert domains_of(plain, "trial") == [None] and plain.cells[0].domains.sources == ("art", "sketch")
    ids = [[spec.run_id for spec in found.trial_specs(found.cells[0], {})] for found in (plain, said)]
    assert ids[0] == ids[1]


def test_a_trial_of_leave_one_out_is_a_run_without_each_source_domain(tmp_path: Path) -> None:
    found = study(tmp_path, f"selection={LOSO}", "search.repeats=2")
    assert domains_of(found, "trial") == ["art", "sketch", "art", "sketch"]
    assert domains_of(found, "final") == [None, None]
    (cell,) = found.cells
    plain = study(tmp_path)
    final_ids = [[spec.run_id for spec in each.final_specs(each.cells[0], {})] for each in (found, plain)]
    assert final_ids[0] == final_ids[1], "final runs are those of any other rule, and not trained twice"
    seeds = {spec.seed for spec in found.trial_specs(cell, {})}
    assert len(seeds) == 2, "the folds of a repeat share its seed"
    planned = make_plan(found.loaded, ResultsStore(tmp_path / "none"))
    (plan,) = planned.cells
    assert (plan.trials, plan.runs_search, plan.runs_final) == (3, 12, 2)
    rule = "leave-one-source-domain-out cross-validation; last epoch"
    assert planned.selection == f"{rule}; 3 trials × 2 source domains × 2 repeats = 12 search runs"


def test_the_folds_never_see_the_held_out_domain_nor_train_on_the_one_that_validates(tmp_path: Path) -> None:
    found = study(tmp_path, f"selection={LOSO}")
    (cell,) = found.cells
    source = open_source(found.loaded.catalog, cell.cell.dataset.ref, cell.cell.dataset.path)
    plain = split_source(source, found.run_spec(cell, {}, 1).data)
    for spec in found.trial_specs(cell, {}):
        parts = split_source(source, spec.data)
        assert {source.names[i].partition("/")[0] for i in parts.validation} == {spec.data.validation_domain}
        assert len(parts.validation) == 20, "all of it"
        trained = {source.names[i].partition("/")[0] for i in parts.train}
        assert trained == {"art", "sketch"} - {spec.data.validation_domain}
        assert set(parts.train) < set(plain.train) and parts.test.tolist() == plain.test.tolist()


def test_leave_one_out_chooses_by_the_mean_over_source_domains(tmp_path: Path) -> None:
    cell = drive(study(tmp_path, f"selection={LOSO}"), tmp_path)
    assert cell.choice is not None and len(cell.trials[0].runs) == 2
    for trial in cell.trials:
        assert trial.value == pytest.approx(90 - 100 * trial.params["train.lr"] - 10)
        assert len(trial.values) == 2 and abs(trial.values[0] - trial.values[1]) == pytest.approx(20)
    best = min(cell.trials, key=lambda trial: trial.params["train.lr"])
    assert cell.choice.trial == best.number
    said = "best mean top1 over source domains of 3 trials, ties by lower loss"
    assert cell.choice.rule == f"leave-one-source-domain-out cross-validation: {said}"
    assert cell.held_out is not None and cell.held_out.selection == LOSO and cell.held_out.looks == 0


@pytest.mark.parametrize(
    ("said", "looks", "finals"),
    [
        (("finals.weights=last",), 3, None),
        (("finals.weights=best",), 3 * 2 + 2, "photo"),
        (("finals.weights=last", "search.repeats=2"), 6, None),
        (("finals.weights=last", "search.pruner=median"), 6, None),
        (("finals.weights=best", "search=none"), 2, "photo"),
    ],
)
def test_an_oracle_looks_at_the_held_out_domain_and_says_how_often(
    tmp_path: Path, said: tuple[str, ...], looks: int, finals: str | None
) -> None:
    found = study(tmp_path, "selection=oracle", *said)
    assert set(domains_of(found, "trial")) == {"photo"} and set(domains_of(found, "final")) == {finals}
    plan = make_plan(found.loaded, ResultsStore(tmp_path / "none")).selection
    epoch = "best epoch on the held-out domain" if finals else "last epoch"
    assert plan == f"oracle: chosen by {looks} looks at the held-out domain; {epoch}"
    cell = drive(found, tmp_path)
    assert cell.held_out is not None and (cell.held_out.selection, cell.held_out.looks) == ("oracle", looks)
    table = build(ResultsStore(tmp_path / "results"))
    assert table is not None
    (figure,) = table.rows[0].figures
    assert figure.marks == (f"oracle: chosen by {looks} looks at the held-out domain",)
    if finals is not None:
        assert figure.selection_rule.endswith("; best epoch on the held-out domain")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (("held_out_part=domainbed_80",), "the fifth that is kept back"),
        (("held_out_limit=2",), "up to 2 images of the domain, drawn apart from those that are tested"),
        (
            ("held_out_part=domainbed_80", "held_out_limit=2"),
            "up to 2 images of the fifth that is kept back, drawn apart from those that are tested",
        ),
    ],
)
def test_a_plan_says_which_images_an_oracle_looks_at(tmp_path: Path, keys: tuple[str, ...], expected: str) -> None:
    found = study(tmp_path, "selection=oracle", *(f"datasets.mine.{key}" for key in keys))
    plan = make_plan(found.loaded, ResultsStore(tmp_path / "none")).selection
    assert plan.startswith("oracle: chosen by ") and plan.endswith(f"; in mine it looks at {expected}")


def test_an_oracle_validates_on_what_is_tested_or_on_what_is_kept_back(tmp_path: Path) -> None:
    found = study(tmp_path, "selection=oracle")
    (cell,) = found.cells
    source = open_source(found.loaded.catalog, cell.cell.dataset.ref, cell.cell.dataset.path)
    data = found.trial_specs(cell, {})[0].data
    whole = split_source(source, data)
    assert whole.validation.tolist() == whole.test.tolist() and len(whole.test) == 20
    apart = split_source(source, data.replace(held_out_part="domainbed_80"))
    assert len(apart.validation) == 4 and len(apart.test) == 16
    assert sorted([*apart.validation, *apart.test]) == whole.test.tolist()
    plain = split_source(source, data.replace(validation_domain=None))
    assert plain.train.tolist() == whole.train.tolist() == apart.train.tolist(), "rules differ in who chooses, alone"
    for part, pool in (("whole", whole), ("domainbed_80", apart)):
        few = split_source(source, data.replace(held_out_part=part, held_out_limit=2))
        assert len(few.validation) == len(few.test) == 2
        assert set(few.validation) <= set(pool.validation) and set(few.test) <= set(pool.test)


def refused(root: Path, *said: str, **options: Any) -> str:
    with pytest.raises((RequestError, StudyError)) as error:
        study(root, *said, **options)
    return str(error.value)


def test_what_a_rule_does_not_go_with_is_refused(tmp_path: Path) -> None:
    assert "selection: leave_one_source_domain_out judges the trials of a search, and there is none" in refused(
        tmp_path, f"selection={LOSO}", "search=none"
    )
    assert "chooses a configuration, but no epoch; say finals.weights: last" in refused(
        tmp_path, f"selection={LOSO}", "finals.weights=best"
    )
    assert "chooses where a domain is held out; datasets.digits has no held_out_domain" in refused(
        tmp_path, "selection=oracle", "datasets.digits={}"
    )
    assert "did you mean oracle?" in refused(tmp_path, "selection=oracel")
    assert "got 'last'; which weights are tested is said by finals.weights: last" in refused(tmp_path, "selection=last")
    assert refused(tmp_path / "two", f"selection={LOSO}", domains=("art", "photo")) == (
        "selection: leave_one_source_domain_out needs two source domains at least; datasets.mine has one beside photo: "
        "art"
    )


def test_leave_one_out_chooses_no_epoch_for_further_evaluations_either(tmp_path: Path) -> None:
    asked = json.dumps({"b": {"evaluation": "classification", "weights": "best"}})
    said = refused(tmp_path, f"evaluations={asked}", f"selection={LOSO}")
    assert f"evaluations.b.weights: selection: {LOSO} chooses a configuration, but no epoch; say weights: last" in said


@pytest.mark.parametrize(
    ("tested", "weights", "looks", "judge"),
    [
        ("best", "best", 8, "best epoch on the held-out domain"),
        ("best", "last", 8, "last epoch"),
        ("last", "best", 3, "best epoch on training-domain validation"),
    ],
)
def test_further_evaluations_carry_the_mark_of_an_oracle_and_what_found_their_epoch(
    tmp_path: Path, tested: str, weights: str, looks: int, judge: str
) -> None:
    asked = json.dumps({"more": {"evaluation": "classification", "weights": weights, "limit": 9}})
    found = study(tmp_path, "selection=oracle", f"finals.weights={tested}", f"evaluations={asked}")
    drive(found, tmp_path)
    store = ResultsStore(tmp_path / "results")
    rows = leaderboard.build(store).evaluations
    mark = f"chosen by {looks} looks at the held-out domain"
    assert {row.selection_rule for row in rows} == {
        f"oracle: best top1 of 3 trials, ties by lower loss; {judge}; {mark}"
    }
    state = Progress(make_book(found, store.root), EventLog(tmp_path / "log.txt"), results="", slots=1).snapshot()
    epoch = {"best": "best epoch on the held-out domain", "last": "last epoch"}[tested]
    assert state["selection"] == f"oracle: {mark}; {epoch}", "beside the mean on the test part"


def test_an_evaluation_that_came_with_a_run_of_another_study_says_its_own_rule(tmp_path: Path) -> None:
    """A run is named by what it is: what a neighbour evaluated it for comes with it."""
    found = study(tmp_path, f"selection={LOSO}")
    cell = drive(found, tmp_path)
    store = ResultsStore(tmp_path / "results")
    for final in cell.finals:
        job = Job(found.final_specs(found.cells[0], dict(cell.choice.params if cell.choice else {}))[final.index])
        answer(store, replace(job, evaluations=(found.final_evaluation().replace(weights="best"),)), 99.0)
    best = "best mean top1 over source domains of 3 trials, ties by lower loss"
    rule = f"leave-one-source-domain-out cross-validation: {best}"
    board = leaderboard.build(store)
    assert board.selection_rule == f"{rule}; last epoch"
    assert {row.selection_rule for row in board.evaluations} == {f"{rule}; best epoch on training-domain validation"}


def test_a_lost_search_is_made_again_from_its_folds(tmp_path: Path) -> None:
    found = study(tmp_path, f"selection={LOSO}", "search.sampler=tpe", "search.trials=4")
    before = drive(found, tmp_path)
    (tmp_path / "results" / "cells" / before.key / "search.json").unlink()
    (cell,) = make_book(found, tmp_path / "results").cells
    again = cell.file()
    assert {trial.runs: trial.value for trial in again.trials} == {trial.runs: trial.value for trial in before.trials}


def test_what_needs_domains_is_refused_before_anything_is_trained_on_data_without(tmp_path: Path) -> None:
    for value, name in enumerate(f"{c}/{i}.png" for c in ("cat", "dog") for i in range(10)):
        sets.draw(tmp_path / "images" / name, value)
    text = f"""
name: x
datasets: {{mine: {{path: {tmp_path / "images"}, image_size: 8, validation: 2, test: 2}}}}
backbones: {{small: {{arch: small_resnet}}}}
methods: [ce]
train: {{epochs: 1}}
"""
    for said in ("train.domain_balanced=true", "train.domain_balanced={choice: [false, true]}"):
        with pytest.raises(RequestError, match=r"train.domain_balanced needs the domain .*datasets.mine: these images"):
            resolve(resolve_study(parse_yaml(text), [said]))
    resolve(resolve_study(parse_yaml(text)))
    found = study(tmp_path / "domains", "train.domain_balanced=true")
    assert found.run_spec(found.cells[0], {}, 0).train.domain_balanced


FOUR = ("art", "cartoon", "photo", "sketch")
BALANCED = ("train.domain_balanced=true", "train.batch=24")


@pytest.mark.parametrize(
    ("method", "contrast", "least", "said"),
    [
        (
            "coral",
            3,
            5,
            "needs two images of 2 domains in a contrast batch, and a contrast batch of 3 from 3 domains in ",
        ),
        ("coral", 4, 5, "has them of 1; train.contrast_batch (and train.batch): 5 at least"),
        (
            "irm",
            3,
            4,
            "needs two images of 1 domain in a contrast batch, and a contrast batch of 3 from 3 domains in turn",
        ),
    ],
)
def test_contrast_batches_in_which_a_method_never_compares_domains_are_refused_before_anything_is_trained(
    tmp_path: Path, method: str, contrast: int, least: int, said: str
) -> None:
    sets = (*BALANCED, f"methods=[ce, {method}]", "train.batch=60")
    text = refused(tmp_path, *sets, f"train.contrast_batch={contrast}", domains=FOUR)
    assert text.startswith(f"methods.{method}: {method} ") and said in text and f": {least} at least" in text
    proposed = f"train.contrast_batch={{choice: [12, {contrast}]}}"
    assert refused(tmp_path, *sets, proposed, domains=FOUR) == text, "what the search may propose is looked at, too"
    study(tmp_path, *sets, f"train.contrast_batch={least}", domains=FOUR)


def test_leave_one_out_of_two_source_domains_leaves_coral_nothing_to_compare(tmp_path: Path) -> None:
    said = refused(tmp_path, f"selection={LOSO}", "methods=[coral]", "train.contrast_batch=32", "train.batch=32")
    text = "methods.coral: coral compares 2 domains at least, and is trained on 1"
    assert said == f"{text} (in the trials of selection: {LOSO})"
    study(tmp_path / "four", f"selection={LOSO}", "methods=[coral]", domains=FOUR)


@pytest.mark.parametrize("rule", [LOSO, "oracle"])
def test_swad_goes_with_training_domain_validation_alone(tmp_path: Path, rule: str) -> None:
    with pytest.raises(StudyError, match="swad finds its window by the source domains' validation loss"):
        study(tmp_path, "finals.weights=swad", f"selection={rule}")
    asked = {"s": {"evaluation": "classification", "weights": "swad"}}
    text = refused(tmp_path, f"evaluations={json.dumps(asked)}", f"selection={rule}")
    assert "--set evaluations" in text and "evaluations.s.weights: swad finds its window by the source domains'" in text
    found = study(tmp_path / "alone", "finals.weights=swad", f"evaluations={json.dumps(asked)}")
    plain = study(tmp_path / "alone", "finals.weights=last")
    assert found.final_evaluation().weights == "swad"
    assert found.final_specs(found.cells[0], {}) == plain.final_specs(plain.cells[0], {}), "the same trainings"


def test_a_class_that_no_source_domain_has_stands_in_the_plan_and_ends_the_run(tmp_path: Path) -> None:
    found = study(tmp_path).loaded
    for domain in ("art", "sketch"):
        shutil.rmtree(tmp_path / "images" / domain / "dog")
    plan = make_plan(found, ResultsStore(tmp_path / "results"))
    said = "data set mine-photo: too few images are left to train on in the source domains, of 1 class: dog (0 of 1)"
    assert plan.cells[0].recorded is None and f"recorded: unknown: {said}" in plan.notes
    with pytest.raises(UnfitError) as error:
        resolve(found)
    assert str(error.value) == said
