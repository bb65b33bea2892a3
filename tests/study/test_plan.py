from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.driving import STUDY, drive, make_book, resolved

from coretune.errors import RequestError, StudyError
from coretune.results.store import ResultsStore
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.yamlfile import parse_yaml
from coretune.study.plan import make_plan

RUNS = 2 * (3 + 2)


def loaded(*sets: str) -> LoadedStudy:
    return resolve_study(parse_yaml(STUDY, "tiny.yaml"), sets)


def planned(root: Path, *sets: str) -> dict[str, Any]:
    return make_plan(loaded(*sets), ResultsStore(root)).to_dict()


def totals(root: Path, *sets: str) -> tuple[int, int | None, int | None]:
    found = planned(root, *sets)["totals"]
    return found["runs"], found["recorded"], found["to_train"]


FRONT = ("objective={metric: [top1, robust_top1], attack: {eps: 2/255}}", "search={sampler: tpe, trials: 6}")


def test_a_front_has_final_runs_of_three_configurations_at_most(root: Path) -> None:
    plan = planned(root, *FRONT)
    assert plan["totals"]["runs"] == 2 * (6 + 3 * 2)
    assert any("of best_top1, best_robust_top1, knee; fewer" in note for note in plan["notes"])
    assert planned(root, FRONT[0], "search=none")["totals"]["runs"] == 2 * 2
    assert planned(root, FRONT[0], "search={trials: 1}")["totals"]["runs"] == 2 * (1 + 2)
    made = drive(make_book(resolved(*FRONT), root), root)
    assert totals(root, *FRONT) == (len(made), len(made), 0), "as many as there were in the end"


def test_a_plan_counts_what_the_engine_would_make(root: Path) -> None:
    plan = planned(root)
    assert plan["totals"] == {"trials": 6, "runs": RUNS, "recorded": 0, "to_train": RUNS, "to_evaluate": 0}
    assert (plan["study"], plan["results"], plan["notes"]) == ("tiny", str(root), [])
    first, second = plan["cells"]
    assert (first["key"], first["dataset"], first["method"], first["backbone"]) == (
        "digits--ce--plain",
        "digits",
        "ce",
        "plain",
    )
    assert (first["trials"], first["runs_search"], first["runs_final"], first["recorded"]) == (3, 3, 2, 0)
    assert first["space"] == {"train.lr": "log_uniform [0.003, 0.3]"}
    assert {"method.eta", "train.lr"} <= set(second["space"])
    json.dumps(plan)
    assert not root.exists(), "a plan writes nothing"


@pytest.mark.parametrize(
    "sets",
    [
        (),
        ("search=none",),
        ("methods=[ce]", "train.lr=0.03"),
        ("search.repeats=2",),
        ("methods=[ce]", "search.sampler=grid", "train.lr={choice: [0.1, 0.2, 0.3, 0.4]}"),
        ("backbones.plain.pretrain={method: moco_v2}",),
    ],
)
def test_the_number_of_runs_is_that_of_the_study(root: Path, sets: tuple[str, ...]) -> None:
    runs, recorded, to_train = totals(root, *sets)
    assert (recorded, to_train) == (0, runs)
    trained = drive(make_book(resolved(*sets), root), root)
    assert len(trained) == runs
    assert totals(root, *sets) == (runs, runs, 0)


@pytest.mark.parametrize("made", [1, 4, 7])
def test_what_is_recorded_is_not_to_be_trained(root: Path, made: int) -> None:
    drive(make_book(resolved(), root), root, limit=made)
    assert totals(root) == (RUNS, made, RUNS - made)


def test_a_smaller_search_never_has_more_recorded_than_runs(root: Path) -> None:
    drive(make_book(resolved(), root), root)
    runs, recorded, to_train = totals(root, "search.trials=2")
    assert runs == 8 and recorded is not None and to_train is not None and 0 <= to_train == runs - recorded


def test_a_larger_search_may_choose_otherwise(root: Path) -> None:
    drive(make_book(resolved(), root), root)
    assert totals(root, "search.trials=5") == (14, 6, 8)


def test_a_changed_recipe_has_nothing_recorded(root: Path) -> None:
    drive(make_book(resolved(), root), root)
    assert totals(root, "train.epochs=5") == (RUNS, 0, RUNS)


def test_prepare_names_packs_and_pretrainings(root: Path) -> None:
    sets = ("backbones.plain.pretrain={method: moco_v2}",)
    pack, pretraining = planned(root, *sets)["prepare"]
    assert (pack["kind"], pack["label"], pack["run_id"]) == ("pack", "pack digits at 16 px", None)
    assert isinstance(pack["recorded"], bool)
    assert (pretraining["kind"], pretraining["label"]) == ("pretraining", "moco_v2 plain on digits")
    assert pretraining["recorded"] is False
    book = make_book(resolved(*sets), root)
    assert pretraining["run_id"] == next(iter(book.runs)), "one for both cells"
    drive(book, root, limit=1)
    assert planned(root, *sets)["prepare"][1]["recorded"] is True


def test_a_pretraining_that_cells_of_several_data_sets_share_is_prepared_once(root: Path) -> None:
    sets = ("datasets.few={dataset: digits, labels_per_class: 2}", "backbones.plain.pretrain={dataset: few}")
    labels = [item["label"] for item in planned(root, *sets)["prepare"]]
    assert labels == ["pack digits, few at 16 px", "moco_v2 plain on few"]
    book = make_book(resolved(*sets), root)
    assert [run.label for run in book.runs.values()] == ["moco_v2 plain on few"]


def test_a_pretraining_on_the_same_images_under_two_labels_is_one_run(root: Path, tmp_path: Path) -> None:
    few = "datasets.few={dataset: digits, labels_per_class: 2, validation: 200, test: 600}"
    sets = (few, "backbones.plain.pretrain={method: moco_v2}")
    plan = planned(root, *sets)
    assert [item["label"] for item in plan["prepare"]] == ["pack digits, few at 16 px", "moco_v2 plain on digits, few"]
    assert plan["totals"]["runs"] == 2 * RUNS + 1
    book = make_book(resolved(*sets), root)
    assert [run.label for run in book.runs.values()] == ["moco_v2 plain on digits"], "as the engine makes it"
    absent = tmp_path / "absent"
    both = ", ".join(f"{label}: {{dataset: folder, path: {absent}}}" for label in ("one", "two"))
    unknown = planned(root, f"datasets={{{both}}}", sets[1])["prepare"]
    assert [(item["label"].partition(" ")[2], item["run_id"]) for item in unknown] == [
        ("one, two at 224 px", None),
        ("plain on one, two", None),
    ]


def test_without_the_data_the_runs_are_counted_and_the_rest_is_unknown(root: Path, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    sets = (f"datasets.photos={{dataset: folder, path: {absent}}}", "backbones.plain.pretrain={method: moco_v2}")
    plan = planned(root, *sets)
    unknown = {"recorded": None, "to_train": None, "to_evaluate": None}
    assert plan["totals"] == {"trials": 12, "runs": 2 * RUNS + 2, **unknown}
    assert [cell["recorded"] for cell in plan["cells"]] == [0, 0, None, None]
    assert [item["recorded"] for item in plan["prepare"] if "photos" in item["label"]] == [None, None]
    assert [cell["missing"] for cell in plan["cells"]] == [False, False, True, True]
    (told,) = plan["missing"]
    assert (told["label"], told["cells"]) == ("photos", 2) and str(absent) in told["text"] and plan["notes"] == []


def test_without_a_checkpoint_the_rest_is_unknown(root: Path, tmp_path: Path) -> None:
    plan = planned(root, f"backbones.plain.checkpoint={tmp_path / 'absent.safetensors'}")
    assert plan["totals"]["runs"] == RUNS and plan["totals"]["recorded"] is None
    (told,) = plan["missing"]
    assert (told["kind"], told["cells"]) == ("checkpoint", 2) and "absent.safetensors" in told["text"]


def test_wrong_data_are_a_note_of_the_plan(root: Path, tmp_path: Path) -> None:
    (tmp_path / "loose.png").touch()
    plan = planned(root, f"datasets.photos={{dataset: folder, path: {tmp_path}}}")
    (note,) = plan["notes"]
    assert note.startswith("recorded: unknown: data set photos: ") and "lie in no class folder" in note
    assert plan["missing"] == [] and plan["totals"]["recorded"] is None


def test_contrasts_of_one_seed_are_warned_of(root: Path) -> None:
    pairs = "contrasts.pairs=[[core_tuning, ce]]"
    (note,) = planned(root, pairs, "finals.seeds=1")["notes"]
    assert note.startswith("contrasts cannot be judged with finals.seeds: 1")
    assert planned(root, pairs)["notes"] == [] == planned(root, "finals.seeds=1")["notes"]


def test_a_plan_with_unequal_budgets_says_so(root: Path) -> None:
    (note,) = planned(root, "train.lr=0.03")["notes"]
    assert note.startswith("budgets differ: ce searches nothing, core_tuning has 3 trials; give train.lr a range")
    assert planned(root, "train.lr=0.03", "search=none")["notes"] == []


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (("search.sampler=grid",), "grid needs finite spaces, train.lr"),
    ],
)
def test_a_study_that_cannot_run_is_refused(root: Path, sets: tuple[str, ...], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        planned(root, *sets)


PIXELS = ("datasets={voc2012: {}}", "data={}", "objective.metric=miou")


def test_a_backbone_that_cannot_be_segmented_with_is_refused_before_its_data_are_looked_at(root: Path) -> None:
    with pytest.raises(StudyError, match=r"^--set backbones=.*: backbones\.swin_t: backbone swin_t: .*too coarse"):
        planned(root, *PIXELS, "backbones=[resnet18,swin_t]")


GEOMETRY = "evaluations.geometry={}"
BEST = "evaluations.best={evaluation: classification, weights: best}"


def evaluated(root: Path, *sets: str) -> tuple[int | None, int | None, int | None]:
    found = planned(root, *sets)
    return found["totals"]["recorded"], found["totals"]["to_train"], found["totals"]["to_evaluate"]


def test_an_evaluation_costs_no_training(root: Path) -> None:
    assert evaluated(root, GEOMETRY) == (0, RUNS, 0), "they come with the training"
    drive(make_book(resolved(), root), root)
    assert evaluated(root, GEOMETRY) == (RUNS, 0, 4)
    assert [cell["to_evaluate"] for cell in planned(root, GEOMETRY)["cells"]] == [2, 2]
    assert planned(root, GEOMETRY)["notes"] == []
    drive(make_book(resolved(GEOMETRY), root), root)
    assert evaluated(root, GEOMETRY) == (RUNS, 0, 0)


@pytest.mark.parametrize(("first", "sets"), [((), (BEST,)), (("keep=none",), (GEOMETRY, "keep=none"))])
def test_without_the_weights_it_costs_trainings_and_the_plan_says_so(
    root: Path, first: tuple[str, ...], sets: tuple[str, ...]
) -> None:
    drive(make_book(resolved(*first), root), root)
    assert evaluated(root, *sets) == (RUNS - 4, 4, 0)
    (note,) = planned(root, *sets)["notes"]
    assert note.startswith("4 recorded final runs lack evaluations and are trained again")
    assert len(drive(make_book(resolved(*sets), root), root)) == 4
    assert evaluated(root, *sets) == (RUNS, 0, 0)


def test_an_evaluation_of_the_best_weights_by_another_metric_is_of_other_final_runs(root: Path) -> None:
    metric = "objective.metric=cross_entropy"
    drive(make_book(resolved(metric), root), root)
    assert evaluated(root, metric, BEST) == (RUNS - 4, 4, 0)
    assert planned(root, metric, BEST)["notes"] == []
