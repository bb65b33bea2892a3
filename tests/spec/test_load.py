# ruff: noqa: E501 - a table of messages reads best with one row a line
from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import coretune_studies
from coretune.errors import StudyError
from coretune.spec.adversary import AdversarySpec
from coretune.spec.load import LoadedStudy, find_study, load_study, resolve_study, shipped_studies
from coretune.spec.resolve import TAKEN
from coretune.spec.yamlfile import parse_yaml

STUDIES = sorted(Path(coretune_studies.__path__[0]).rglob("*.yaml"))

GOOD = """\
name: good
datasets:
  digits:
    validation: 200
    labels_per_class: 5
backbones:
  small:
    arch: small_resnet
    pretrain: {train: {epochs: 4}}
methods:
  ce:
  core_tuning:
    eta: {log_uniform: [0.01, 1], default: 0.5}
train:
  lr: {log_uniform: [0.003, 0.3], default: 0.03}
"""


def resolve(text: str, *sets: str) -> LoadedStudy:
    return resolve_study(parse_yaml(text, "s.yaml"), sets)


def problems_of(text: str, *sets: str) -> list[str]:
    with pytest.raises(StudyError) as caught:
        resolve(text, *sets)
    return str(caught.value).splitlines()


def problem_of(text: str, *sets: str) -> str:
    (line,) = problems_of(text, *sets)
    return line


SMOKE = """\
smoke:
  backbones: {small: {arch: small_resnet, params: {widths: [4, 8]}}}
  data: {image_size: 8}
  methods: [ce]
"""


def test_the_smoke_preset_puts_the_file_s_own_section_in_place_of_its_keys() -> None:
    text = GOOD + SMOKE + "data: {test: 300}\n"
    (cell,) = resolve(text, "preset=smoke").cells
    assert cell.backbone.arch.params == {"widths": [4, 8]} and cell.backbone.pretrain is None
    assert (cell.dataset.image_size, cell.dataset.options.test, cell.dataset.options.limit) == (8, 300, 512)
    assert [c.key for c in resolve(text).cells] == [c.key for c in resolve(GOOD).cells]
    assert resolve(text).cells[0].dataset.image_size == 16
    assert resolve(text.replace("name:", "preset: smoke\nname:")).cells == (cell,)
    assert resolve(text.replace("name:", "preset: smoke\nname:"), "preset=null").cells == resolve(text).cells


def test_overrides_win_over_the_smoke_section() -> None:
    chosen = ("preset=smoke", "data.image_size=12", "backbones.small.params.widths=[2, 4]")
    (cell,) = resolve(GOOD + SMOKE, *chosen).cells
    assert cell.dataset.image_size == 12 and cell.backbone.arch.params == {"widths": [2, 4]}


def test_a_smoke_section_that_is_wrong() -> None:
    for sets in ((), ("preset=smoke",)):
        assert "did you mean methods?" in problem_of(GOOD + "smoke: {method: [ce]}\n", *sets)
        assert "no key of a study that a preset can replace" in problem_of(GOOD + "smoke: {name: other}\n", *sets)
        assert "smoke" in problem_of(GOOD + "smoke: [ce]\n", *sets)
        assert resolve(GOOD + "smoke:\n", *sets).cells
    assert problem_of(GOOD + "smoke: {data: {image_sice: 8}}\n", "preset=smoke") == (
        "s.yaml, smoke: data.image_sice: unknown key; did you mean image_size?"
    )
    said = problem_of(GOOD + "smoke: {backbones: {x: {arch: resnet51}}}\n", "preset=smoke")
    assert said.startswith("s.yaml, smoke: backbones.x.arch: unknown backbone")


def test_a_path_may_begin_with_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace("pretrain: {train: {epochs: 4}}", "checkpoint: $WEIGHTS/moco.pth\n    obtain: ask its authors")
    monkeypatch.delenv("WEIGHTS", raising=False)
    backbone = resolve(text).cells[0].backbone
    assert (backbone.checkpoint, backbone.obtain) == ("$WEIGHTS/moco.pth", "ask its authors")
    monkeypatch.setenv("WEIGHTS", "/weights/here")
    assert resolve(text).cells[0].backbone.checkpoint == "/weights/here/moco.pth"
    assert resolve(text.replace("$WEIGHTS", "${WEIGHTS}")).cells[0].backbone.checkpoint == "/weights/here/moco.pth"
    odd = text.replace("$WEIGHTS/moco.pth", "cash$/moco.pth")
    assert resolve(odd).cells[0].backbone.checkpoint == str(Path.cwd() / "cash$" / "moco.pth")


POOL = """\
name: shared
datasets:
  digits: {labels_per_class: 5, validation: 50}
  pool: {dataset: digits, validation: 200, pretraining_only: true}
backbones:
  small: {arch: small_resnet, pretrain: {dataset: pool}}
methods: [ce]
"""


def test_nothing_is_tuned_on_images_that_are_there_for_pretraining_alone() -> None:
    study = resolve(POOL)
    (cell,) = study.cells
    assert (cell.dataset.label, study.study.tuned) == ("digits", ("digits",))
    assert (cell.pretraining_data.label, cell.pretraining_data.options.validation) == ("pool", 200)


def test_images_for_pretraining_alone_are_of_use() -> None:
    assert problem_of(POOL.replace("{dataset: pool}", "{}")) == (
        "s.yaml:4: datasets.pool.pretraining_only: no backbone has `pretrain.dataset: pool`"
    )
    assert "s.yaml:2: datasets: all are pretraining_only: there is nothing to tune on" in problems_of(
        POOL.replace("validation: 50}", "validation: 50, pretraining_only: true}")
    )


def test_a_pretraining_takes_the_colours_of_moco_s_recipe() -> None:
    colours = "{brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1, jitter_probability: 0.8, grey: 0.2}"
    (cell, _) = resolve(GOOD.replace("pretrain: {train: {epochs: 4}}", f"pretrain: {{augment: {colours}}}")).cells
    pretraining = cell.backbone.pretraining(cell.dataset, "0" * 64)
    assert pretraining is not None
    found = pretraining.data.augment
    assert (found.saturation, found.hue, found.jitter_probability, found.grey) == (0.4, 0.1, 0.8, 0.2)
    assert found.crop_scale == cell.dataset.augment.crop_scale
    assert cell.dataset.augment.grey == 0


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_loads(file: Path) -> None:
    loaded = load_study(file)
    assert loaded.cells
    assert file.read_text().startswith("#"), "a study opens with a comment: what it shows, launch line, needs, time"
    assert load_study(file, ["preset=smoke"]).study.finals.seeds <= 2


def test_there_are_shipped_studies() -> None:
    assert STUDIES
    assert {file for file in shipped_studies().values()} == set(STUDIES)
    assert find_study("evidence/explore").parts[-2:] == ("evidence", "explore.yaml")
    assert find_study("quickstart").name == "quickstart.yaml"


def test_a_good_study() -> None:
    loaded = resolve(GOOD)
    assert [cell.key for cell in loaded.cells] == ["digits--ce--small", "digits--core_tuning--small"]
    core = loaded.cells[1].method
    assert core.defaults == {"method.eta": 0.5, "method.temperature": 0.07, "method.alpha": 1.0, "train.lr": 0.03}
    assert loaded.study.baseline_label == "ce"
    assert loaded.study.direction == "max"


def test_empty_sections_count_as_absent() -> None:
    assert resolve(GOOD + "data:\nsearch:\nfinals:\nresources:\nplugins:\n").study.finals.seeds == 6


def test_a_list_of_labels_means_a_mapping() -> None:
    assert resolve(GOOD.replace("methods:\n  ce:\n", "x:\n").split("x:")[0] + "methods: [ce, core_tuning]\n").cells


@pytest.mark.parametrize(
    ("text", "place"),
    [("  co_tuning:", "s.yaml:11: methods.co_tuning"), ("  x: {method: co_tuning}", "s.yaml:11: methods.x.method")],
)
def test_co_tuning_is_refused_with_its_reason(text: str, place: str) -> None:
    problem = problem_of(GOOD.replace("  ce:", text))
    assert problem.startswith(f"{place}: method co_tuning: it is trained to predict source classes too")
    assert "dr_tune" in problem and StudyError.exit_code == 2


def test_a_method_s_own_range_of_the_recipe_takes_the_place_of_the_study_s() -> None:
    text = GOOD.replace("  ce:", "  ssf:")
    ssf = resolve(text).cells[0].method
    assert ssf.space["train.lr"].describe() == "log_uniform [0.0001, 0.1]"
    assert (ssf.defaults["train.lr"], ssf.train["optimizer"]) == (5e-3, "adamw")
    assert "train.lr" not in resolve(text, "train.lr=0.1").cells[0].method.space
    fixed = resolve(text, "methods.ssf.train.lr=0.02").cells[0].method
    assert "train.lr" not in fixed.space and fixed.train["lr"] == 0.02
    own = resolve(text, "methods.ssf.train.lr={log_uniform: [0.001, 0.01]}").cells[0].method
    assert own.space["train.lr"].describe() == "log_uniform [0.001, 0.01]"


# --- evaluations -----------------------------------------------------------------------------------------------

EVALUATIONS = """\
evaluations:
  geometry:
  geometry_train: {evaluation: geometry, split: labelled, per_class: 40}
  on_validation: {evaluation: classification, split: validation, limit: 5, seed: 3}
  best: {evaluation: classification, weights: best}
"""


def test_evaluations_by_label() -> None:
    found = resolve(GOOD + EVALUATIONS).evaluations
    assert list(found) == ["geometry", "geometry_train", "on_validation", "best"]
    plain, train, validation, best = found.values()
    assert (plain.evaluation.name, plain.evaluation.params, plain.split, plain.weights) == (
        "geometry",
        {},
        "test",
        "last",
    )
    assert (train.evaluation.params, train.split) == ({"per_class": 40}, "labelled")
    assert (validation.split, validation.limit, validation.seed) == ("validation", 5, 3)
    assert (best.evaluation.name, best.weights) == ("classification", "best")


def test_the_weights_of_an_evaluation_are_those_of_the_final_runs_unless_it_says_otherwise() -> None:
    found = resolve(GOOD + EVALUATIONS, "finals.weights=best", "evaluations.geometry.weights=last").evaluations
    assert [spec.weights for spec in found.values()] == ["last", "best", "best", "best"]


def test_evaluations_may_be_a_list_be_overridden_and_be_none() -> None:
    assert list(resolve(GOOD + "evaluations: [geometry]\n").evaluations) == ["geometry"]
    loaded = resolve(GOOD, "evaluations.mine={evaluation: geometry, per_class: 4}")
    assert loaded.evaluations["mine"].evaluation.params == {"per_class": 4}
    for nothing in ("", "evaluations:\n", "evaluations: {}\n", "evaluations: []\n"):
        assert resolve(GOOD + nothing).evaluations == {}


def test_a_default_that_is_written_out_is_the_same_evaluation() -> None:
    one = resolve(GOOD, "evaluations.geometry={per_class: 50, temperature: 0.07, split: test, limit: null}")
    assert one.evaluations == resolve(GOOD, "evaluations=[geometry]").evaluations


def test_no_label_of_an_evaluation_begins_a_column_that_the_table_of_runs_has() -> None:
    for label in TAKEN:
        assert "other columns" in problem_of(GOOD, f"evaluations.{label}={{evaluation: geometry}}")


# --- contrasts -------------------------------------------------------------------------------------------------


ADVERSARY = """
adversary: {attack: pgd, eps: 4/255}
"""


def test_an_adversary_is_the_study_s_or_the_method_s_own() -> None:
    methods = "methods: {ce: , clean: {method: ce, adversary: none}, strong: {method: ce, adversary: {eps: 8/255, features: both}}}"
    text = GOOD[: GOOD.index("methods:")] + methods + GOOD[GOOD.index("\ntrain:") :]
    found = {cell.method.label: cell.method.adversary for cell in resolve(text + ADVERSARY).cells}
    common = AdversarySpec(attack="pgd", eps="4/255")
    assert found == {"ce": common, "clean": None, "strong": common.replace(eps="8/255", features="both")}
    assert {cell.method.adversary for cell in resolve(GOOD).cells} == {None}
    assert resolve(GOOD, "adversary={attack: trades}").cells[0].method.adversary == AdversarySpec(attack="trades")
    assert resolve(GOOD + ADVERSARY, "adversary=null").cells[0].method.adversary is None
    assert resolve(GOOD + ADVERSARY, "adversary.steps=3").cells[0].method.adversary == common.replace(steps=3)


@pytest.mark.parametrize(
    "sets, said",
    [
        ("adversary={eps: 4/255}", "adversary.attack: is required"),
        ("adversary={attack: pgd, stepz: 3}", "adversary.stepz: unknown key; did you mean steps?"),
        ("adversary={attack: pgd, version: 2}", "adversary.version: unknown key"),
        ("adversary={attack: pgd, eps: 8}", '8 grey levels are "8/255"'),
        ("methods.ce.adversary={attack: trades, features: both}", "methods.ce.adversary: features: trades trains"),
        ("methods.ce.adversary=pgd", "methods.ce.adversary: must be a mapping of its keys, or none; got 'pgd'"),
        ("adversary=pgd", "adversary: must be a mapping"),
        ("methods.ce.advesary={attack: pgd}", "methods.ce.advesary: unknown key; did you mean adversary?"),
    ],
)
def test_an_adversary_that_is_wrong_is_told_once_and_where(sets: str, said: str) -> None:
    assert said in problem_of(GOOD, sets)


def test_contrasts() -> None:
    found = resolve(GOOD + "contrasts: {equivalence: 0.5, pairs: [[core_tuning, ce]]}\n").study.contrasts
    assert found is not None
    assert (found.level, found.equivalence, found.pairs) == (0.05, 0.5, (("core_tuning", "ce"),))
    for nothing in ("", "contrasts:\n", "contrasts: null\n"):
        assert resolve(GOOD + nothing).study.contrasts is None


def test_all_problems_of_contrasts_come_at_once() -> None:
    text = "contrasts:\n  level: 2\n  pairs:\n    - [ce, ce]\n    - [ce, nope]\n"
    keys = [line.split(": ")[1] for line in problems_of(GOOD + text)]
    assert keys == ["contrasts.level", "contrasts.pairs.0", "contrasts.pairs.1.1"]


# --- overrides -------------------------------------------------------------------------------------------------


def test_sets_override_by_path() -> None:
    loaded = resolve(
        GOOD, "train.epochs=5", "search.trials=3", "methods.ce.train.lr=1e-4", "train.epochs=6", "data.test=9"
    )
    assert loaded.cells[0].method.train == {"epochs": 6, "lr": 1e-4}
    assert loaded.study.search.trials == 3  # type: ignore[union-attr]
    assert loaded.cells[0].dataset.options.test == 9


def test_sets_reach_into_a_list_of_labels() -> None:
    text = GOOD.split("methods:")[0] + "methods: [ce, core_tuning]\n"
    assert resolve(text, "methods.core_tuning.eta=0.5").cells[1].method.params == {"eta": 0.5}
    assert [cell.method.label for cell in resolve(text, "methods=[core_tuning]").cells] == ["core_tuning"]
    assert resolve(GOOD, "methods=[core_tuning]").cells[0].method.params == {}


def test_sets_may_be_spaces_and_null() -> None:
    assert "train.lr" in resolve(GOOD, "train={lr: {choice: [0.1, 0.2]}}").cells[0].method.space
    assert resolve(GOOD, "train.clip_norm=null", "data=").cells[0].method.train["clip_norm"] is None


def test_sets_are_checked_like_the_file() -> None:
    assert (
        problem_of(GOOD, "train.epochs=abc")
        == "--set train.epochs=abc: train.epochs: must be a whole number, got 'abc'"
    )
    assert problem_of(GOOD, "trian.epochs=1") == "--set trian.epochs=1: trian: unknown key; did you mean train?"
    assert "did you mean epochs" in problem_of(GOOD, "train.epoch=1")
    said = problem_of(GOOD, "methods=[nope]")
    assert "core_tuning, " in said and " co_tuning" not in said, "what is refused is not offered"
    assert "; did you mean co_tuning?" in problem_of(GOOD, "methods=[co_tunin]"), "and is answered with its reason"
    assert said.startswith("--set methods=[nope]: methods.nope: unknown method 'nope'")


def test_the_file_is_not_changed_by_overrides() -> None:
    document = parse_yaml(GOOD)
    resolve_study(document, ["methods.core_tuning.eta=0.1", "train.lr=1"])
    assert resolve_study(document).cells[1].method.defaults["method.eta"] == 0.5


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("train.epochs", "--set train.epochs: needs key=value, e.g. train.epochs=5"),
        ("=5", "--set =5: needs key=value, e.g. train.epochs=5"),
        ("a..b=5", "--set a..b=5: needs key=value, e.g. train.epochs=5"),
        ("name.x=5", "--set name.x=5: name.x: name is 'good', which has no key 'x'"),
        ("train.lr=[", "--set train.lr=[: train.lr: is no valid YAML"),
    ],
)
def test_overrides_that_cannot_be_applied(item: str, message: str) -> None:
    assert problem_of(GOOD, item).startswith(message)


def test_a_cause_by_override_is_named_beside_the_line() -> None:
    text = GOOD + "  batch: 100\n  contrast_batch: 50\n"
    assert problem_of(text, "train.contrast_batch=30") == (
        "s.yaml:14: train: batch must be a multiple of contrast_batch, got 100 and 30; 90 would do "
        "(with --set train.contrast_batch=30)"
    )


# --- what is wrong ---------------------------------------------------------------------------------------------


def edit(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (edit("  digits:", "  digitz:"), "s.yaml:3: datasets.digitz: unknown dataset 'digitz'; did you mean digits?"),
        (edit("arch: small_resnet", "arch: vit_b_16\n    params: {image_size: 100}"), "s.yaml:9: backbones.small.params.image_size: must be a multiple of 16, got 100"),
        (edit("small_resnet", "small_resnt"), "s.yaml:8: backbones.small.arch: unknown backbone 'small_resnt'; did you mean small_resnet?"),
        (edit("  core_tuning:", "  core_tunin:"), "s.yaml:12: methods.core_tunin: unknown method 'core_tunin'; did you mean core_tuning?"),
        (edit("  ce:", "  mine: {method: c}"), "s.yaml:11: methods.mine.method: unknown method 'c'; did you mean ce?"),
        (edit("eta:", "etta:"), "s.yaml:13: methods.core_tuning.etta: unknown key; did you mean eta?"),
        (edit("  ce:", "  ce: {trian: {}}"), "s.yaml:11: methods.ce.trian: unknown key; did you mean train?"),
        (edit("  ce:", "  ce: {eta: 1}"), "s.yaml:11: methods.ce.eta: unknown key; ce has no parameters"),
        (edit("  ce:", "  scl: {zzz: 1}"), "s.yaml:11: methods.scl.zzz: unknown key; scl has the parameters eta, projection_dim, projection_hidden, temperature"),
        (edit("  ce:", "  ce: {train: 3}"), "s.yaml:11: methods.ce.train: must be a mapping of the recipe's keys, got 3"),
        (edit("  ce:", "  ce: {method: 3}"), "s.yaml:11: methods.ce.method: must be text, got 3"),
        (edit("  ce:", "  ce: 3"), "s.yaml:11: methods.ce: must be a mapping of keys to values, got 3"),
        (edit("  ce:", "  c.e: {method: ce}"), "s.yaml:11: methods.c.e: 'c.e' is no label: letters, digits, _ and +, single hyphens between; first a letter or digit"),
        (edit("  ce:", "  c--e: {method: ce}"), "s.yaml:11: methods.c--e: 'c--e' is no label: letters, digits, _ and +, single hyphens between; first a letter or digit"),
        (edit("  ce:", "  c/e: {method: ce}"), "s.yaml:11: methods.c/e: 'c/e' is no label: letters, digits, _ and +, single hyphens between; first a letter or digit"),
        (edit("  ce:", f"  {'c' * 65}: {{method: ce}}"), f"s.yaml:11: methods.{'c' * 65}: a label has at most 64 characters, got 65"),
        (edit("  ce:", "  CE: {method: ce}\n  ce:"), "s.yaml:12: methods.ce: differs from CE only in case; give it another label"),
        (edit("validation: 200", "validation: 1.0"), "s.yaml:4: datasets.digits.validation: a fraction lies below 1, got 1.0; write 1 for a number of images"),
        (edit("validation: 200", "validation: 200.0"), "s.yaml:4: datasets.digits.validation: a fraction lies below 1, got 200.0; write 200 for a number of images"),
        (edit("validation: 200", "validation: 0"), "s.yaml:4: datasets.digits.validation: must be a number of images (a whole number) or a fraction between 0 and 1, got 0"),
        (edit("validation: 200", "validation: null"), "s.yaml:4: datasets.digits.validation: must be a number of images (a whole number) or a fraction between 0 and 1, got null"),
        (edit("validation: 200", "validation: 0.9"), "s.yaml:3: datasets.digits.test: validation (0.9) and test (0.2) leave no image for training"),
        (edit("labels_per_class: 5", "labels_per_class: 5.5"), "s.yaml:5: datasets.digits.labels_per_class: must be a whole number, got 5.5"),
        (edit("labels_per_class: 5", "labels_per_clas: 5"), "s.yaml:5: datasets.digits.labels_per_clas: unknown key; did you mean labels_per_class?"),
        (edit("labels_per_class: 5", "labels_per_class: 5\n    label_fraction: 0.1"), "s.yaml:6: datasets.digits.label_fraction: labels_per_class and label_fraction exclude each other; leave one out"),
        (edit("labels_per_class: 5", "augment: {flop: true}"), "s.yaml:5: datasets.digits.augment.flop: unknown key; did you mean flip?"),
        (edit("labels_per_class: 5", "path: [a]"), "s.yaml:5: datasets.digits.path: must be text, got [\"a\"]"),
        (edit("  digits:", "  folder:"), "s.yaml:3: datasets.folder: data set folder needs a path: the folder of its images"),
        (edit("{epochs: 4}", "{epochs: 0}"), "s.yaml:9: backbones.small.pretrain.train.epochs: must be at least 1, got 0"),
        (edit("{epochs: 4}", "{version: 2}"), "s.yaml:9: backbones.small.pretrain.train.version: unknown key; did you mean precision?"),
        (edit("{train: {epochs: 4}}", "{augment: {hue: 0.6}}"), "s.yaml:9: backbones.small.pretrain.augment.hue: must be at most 0.5, got 0.6"),
        (edit("{epochs: 4}", "{batch: 200, contrast_batch: 64}"), "s.yaml:9: backbones.small.pretrain.train: batch must be a multiple of contrast_batch, got 200 and 64; 192 would do"),
        (edit("{train: {epochs: 4}}", "{method: moco_v3}"), "s.yaml:9: backbones.small.pretrain.method: unknown pretraining 'moco_v3'; did you mean moco_v2?"),
        (edit("{train: {epochs: 4}}", "{params: {queu: 4}}"), "s.yaml:9: backbones.small.pretrain.params.queu: unknown key; did you mean queue?"),
        (edit("pretrain: {train: {epochs: 4}}", "pretrain: {}\n    checkpoint: x"), "s.yaml:10: backbones.small.checkpoint: pretrain and checkpoint exclude each other; leave one out"),
        (GOOD + "  epochs: null\n", "s.yaml:16: train.epochs: must be a whole number, got null"),
        (GOOD + "  epochs: true\n", "s.yaml:16: train.epochs: must be a number, got true"),
        (GOOD + "  epochs: {uniform: [1, 9]}\n", "s.yaml:16: train.epochs: must be a whole number, got 3.5464790894703255 (in the search space uniform [1, 9])"),
        (GOOD + "  epochs: {int: [0, 9]}\n", "s.yaml:16: train.epochs: must be at least 1, got 0 (in the search space int [0, 9])"),
        (GOOD + "  epochs: {int: [9, 1]}\n", "s.yaml:16: train.epochs: int needs [low, high] with low < high, got [9, 1]"),
        (GOOD + "  epoch: {int: [1, 9]}\n", "s.yaml:16: train.epoch: unknown key; did you mean epochs?"),
        (GOOD + "  optimizer: {choice: [sgd, adam]}\n", "s.yaml:16: train.optimizer: must be one of sgd, adamw, got 'adam'; did you mean adamw? (in the search space choice ['sgd', 'adam'])"),
        (GOOD + "  batch: {choice: [64, 100]}\n", "s.yaml:14: train: batch must be a multiple of contrast_batch, got 100 and 64; 64 would do (the search may propose lr = 0.003, batch = 100)"),
        (edit("pretrain: {", "pretrain: {dataset: digit, "), "s.yaml:9: backbones.small.pretrain.dataset: no data set of the study has the label 'digit'; did you mean digits?"),
        (edit("    validation: 200", "    pretraining_only: 1"), "s.yaml:4: datasets.digits.pretraining_only: must be true or false, got 1"),
        (GOOD + "baseline: core\n", "s.yaml:16: baseline: no method has the label 'core'; did you mean core_tuning?"),
        (GOOD + "search: {trails: 3}\n", "s.yaml:16: search.trails: unknown key; did you mean trials?"),
        (GOOD + "search: {trials: 1000001}\n", "s.yaml:16: search.trials: must be at most 1000000, got 1000001"),
        (GOOD + "search: {repeats: 10001}\n", "s.yaml:16: search.repeats: must be at most 10000, got 10001"),
        (GOOD + "finals: {seeds: 100000000}\n", "s.yaml:16: finals.seeds: must be at most 10000, got 100000000"),
        (GOOD + "search: random\n", "s.yaml:16: search: must be none or a mapping, got 'random'"),
        (GOOD + "objective: {metric: top5}\n", "s.yaml:16: objective.metric: must be one of top1, mean_per_class, cross_entropy, robust_top1, miou, got 'top5'; did you mean top1?"),
        (GOOD + "contrasts: 5\n", "s.yaml:16: contrasts: must be a mapping of keys to values, got 5"),
        (GOOD + "contrasts: {}\n", "s.yaml:16: contrasts.pairs: is required"),
        (GOOD + "contrasts: {pairs: []}\n", "s.yaml:16: contrasts.pairs: needs at least one pair of methods, [first, second]"),
        (GOOD + "contrasts: {pairs: 3}\n", "s.yaml:16: contrasts.pairs: must be a list, got 3"),
        (GOOD + "contrasts:\n  pairs:\n    - [ce]\n", "s.yaml:18: contrasts.pairs.0: must be two labels of methods, [first, second], for first minus second; got [\"ce\"]"),
        (GOOD + "contrasts:\n  pairs:\n    - [ce, 1]\n", "s.yaml:18: contrasts.pairs.0: must be two labels of methods, [first, second], for first minus second; got [\"ce\", 1]"),
        (GOOD + "contrasts:\n  pairs:\n    - [core_tunin, ce]\n", "s.yaml:18: contrasts.pairs.0.0: no method has the label 'core_tunin'; did you mean core_tuning?"),
        (GOOD + "contrasts:\n  pairs:\n    - [core_tuning, ce]\n    - [ce, ce]\n", "s.yaml:19: contrasts.pairs.1: compares ce with itself"),
        (GOOD + "contrasts:\n  pairs:\n    - [core_tuning, ce]\n    - [core_tuning, ce]\n", "s.yaml:19: contrasts.pairs.1: [\"core_tuning\", \"ce\"] is the same comparison as pairs.0; leave one out"),
        (GOOD + "contrasts:\n  pairs:\n    - [core_tuning, ce]\n    - [ce, core_tuning]\n", "s.yaml:19: contrasts.pairs.1: [\"ce\", \"core_tuning\"] is the same comparison as pairs.0; leave one out"),
        (GOOD + "contrasts:\n  level: 1\n  pairs: [[core_tuning, ce]]\n", "s.yaml:17: contrasts.level: must be less than 1.0, got 1"),
        (GOOD + "contrasts:\n  level: 0\n  pairs: [[core_tuning, ce]]\n", "s.yaml:17: contrasts.level: must be greater than 0.0, got 0"),
        (GOOD + "contrasts:\n  equivalence: 0\n  pairs: [[core_tuning, ce]]\n", "s.yaml:17: contrasts.equivalence: must be greater than 0.0, got 0"),
        (GOOD + "contrasts:\n  pair: [[core_tuning, ce]]\n  pairs: [[core_tuning, ce]]\n", "s.yaml:17: contrasts.pair: unknown key; did you mean pairs?"),
        (edit("  ce:", "  ce: 3") + "contrasts:\n  pairs: [[core_tuning, ce]]\n", "s.yaml:11: methods.ce: must be a mapping of keys to values, got 3"),
        (GOOD + "preset: fast\n", "s.yaml:16: preset: must be one of smoke, cpu, paper, got 'fast'"),
        (GOOD + "plugins: ./a.py\n", "s.yaml:16: plugins: must be a list, got './a.py'"),
        (GOOD + "evaluations: {geometri: }\n", "s.yaml:16: evaluations.geometri: unknown evaluation 'geometri'; did you mean geometry?"),
        (GOOD + "evaluations:\n  a: {evaluation: geometri}\n", "s.yaml:17: evaluations.a.evaluation: unknown evaluation 'geometri'; did you mean geometry?"),
        (GOOD + "evaluations:\n  a: {evaluation: 3}\n", "s.yaml:17: evaluations.a.evaluation: must be text, got 3"),
        (GOOD + "evaluations:\n  geometry:\n    per_clas: 4\n", "s.yaml:18: evaluations.geometry.per_clas: unknown key; did you mean per_class?"),
        (GOOD + "evaluations:\n  geometry:\n    per_class: 1\n", "s.yaml:18: evaluations.geometry.per_class: must be at least 2, got 1"),
        (GOOD + "evaluations:\n  geometry:\n    per_class: {int: [2, 9]}\n", "s.yaml:18: evaluations.geometry.per_class: must be a whole number, got {\"int\": [2, 9]}"),
        (GOOD + "evaluations:\n  a: {evaluation: classification, per_class: 4}\n", "s.yaml:17: evaluations.a.per_class: unknown key; known: evaluation, limit, seed, split, weights"),
        (GOOD + "evaluations:\n  geometry:\n    split: train\n", "s.yaml:18: evaluations.geometry.split: must be one of validation, test, labelled, got 'train'"),
        (GOOD + "evaluations:\n  geometry: {weights: first}\n", "s.yaml:17: evaluations.geometry.weights: must be one of last, best, swad, got 'first'"),
        (GOOD + "evaluations:\n  geometry: {limit: 0}\n", "s.yaml:17: evaluations.geometry.limit: must be at least 1, got 0"),
        (GOOD + "evaluations:\n  geometry: {seed: 4294967296}\n", "s.yaml:17: evaluations.geometry.seed: must be less than 4294967296, got 4294967296"),
        (GOOD + "evaluations:\n  geometry: 3\n", "s.yaml:17: evaluations.geometry: must be a mapping of keys to values, got 3"),
        (GOOD + "evaluations:\n  a.b: {evaluation: geometry}\n", "s.yaml:17: evaluations.a.b: 'a.b' is no label: letters, digits, _ and +, single hyphens between; first a letter or digit"),
        (GOOD + "evaluations:\n  geometry:\n  Geometry: {evaluation: geometry}\n", "s.yaml:18: evaluations.Geometry: differs from geometry only in case; give it another label"),
        (GOOD + "evaluations:\n  a: {evaluation: transfer}\n", "s.yaml:17: evaluations.a: transfer needs another trained model: `coretune robust eval` makes it"),
        (GOOD + "evaluations:\n  test: {evaluation: geometry}\n", "s.yaml:17: evaluations.test: runs.csv has other columns that begin with test; give it another label"),
        (GOOD + "evaluations:\n- geometry\n- geometry\n", "s.yaml:18: evaluations.1: geometry stands twice"),
        (GOOD + "evaluations:\n  geometry:\n  geometry:\n", "s.yaml:18: evaluations.geometry: stands twice, first in line 17; one would hide the other"),
        (GOOD + "sede: 1\n", "s.yaml:16: sede: unknown key; did you mean seed?"),
        (edit("name: good", "name: my study"), "s.yaml:1: name: 'my study' is no label: letters, digits, _ and +, single hyphens between; first a letter or digit"),
        (edit("name: good", "name: 2026"), "s.yaml:1: name: must be text, got 2026; put it in quotes"),
        (edit("name: good\n", ""), "s.yaml:1: name: is required"),
    ],
)  # fmt: skip
def test_one_problem_has_one_message(text: str, expected: str) -> None:
    assert problem_of(text) == expected


def test_all_problems_come_at_once_in_the_order_of_lines() -> None:
    text = """\
name: bad/name
datasets: {digits: {validation: -1, crop: 1}, nope: {}}
backbones: {small: {arch: small_resnet, params: {widths: []}, pretrain: {train: {lr: -1}, augment: {rotation: 999}}}}
methods:
  ce: {eta: 1}
  core_tuning: {eta: -1, tau: 1, train: [1]}
  other: {method: nope, train: {lr: 0}}
train: {epochs: 0, lr: {uniform: [2, 1]}, momentun: 0.9}
search: {trials: 0, sampler: x}
finals: 3
unknown: 1
baseline: nothing
"""
    found = problems_of(text)
    lines = [int(line.split(":")[1]) for line in found]
    assert lines == sorted(lines)
    assert len(set(found)) == len(found)
    keys = [line.split(": ")[1] for line in found]
    assert sorted(keys) == sorted(
        [
            "name", "datasets.digits.validation", "datasets.digits.crop", "datasets.nope",
            "backbones.small.params.widths", "backbones.small.pretrain.train.lr",
            "backbones.small.pretrain.augment.rotation", "methods.ce.eta", "methods.core_tuning.eta",
            "methods.core_tuning.tau", "methods.core_tuning.train", "methods.other.method", "methods.other.train.lr",
            "train.epochs", "train.lr", "train.momentun", "search.trials", "search.sampler", "finals", "unknown",
            "baseline",
        ]
    )  # fmt: skip


def test_list_items_have_their_own_lines() -> None:
    text = GOOD.split("methods:")[0] + "methods:\n- ce\n- nope\n- ce\n- {a: b}\n"
    assert [line.split(":")[1] for line in problems_of(text)] == ["12", "13", "14"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing", "is empty"),
        ("- a", "is no mapping"),
        ("hello", "is no mapping"),
        ("{}", "name: is required"),
        ("name: x\ndatasets: []\nbackbones: {}\nmethods:\n", "needs at least one entry"),
    ],
)
def test_no_study_at_all(text: str, message: str) -> None:
    found = problems_of(text)
    assert any(message in line for line in found)
    assert all(line.startswith("s.yaml:") for line in found)


# --- files and plug-ins ----------------------------------------------------------------------------------------


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = GOOD.replace("  digits:\n", "  mine:\n    path: ../images\n").replace(
        "pretrain: {train: {epochs: 4}}", "checkpoint: ~/w"
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "s.yaml").write_text(text)
    (cell, _) = load_study(tmp_path / "a" / "s.yaml").cells
    assert cell.dataset.path == str(tmp_path / "images")
    assert cell.dataset.ref.name == "folder"
    assert cell.backbone.checkpoint == str(tmp_path / "home" / "w")


def test_files_that_are_no_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert load_study("quickstart").study.name == "quickstart"
    for name in ("quickstar", "a\0b", "x" * 5000):
        with pytest.raises(StudyError, match="does not exist"):
            load_study(name)
    with pytest.raises(StudyError, match="did you mean quickstart"):
        load_study("quickstar")
    with pytest.raises(StudyError, match="directory"):
        load_study(tmp_path)
    (tmp_path / "big.yaml").write_bytes(b"a: 1\n" * 2_000_000)
    with pytest.raises(StudyError, match=r"10\.0 MB large"):
        load_study("big.yaml")
    (tmp_path / "binary.yaml").write_bytes(os.urandom(4096))
    with pytest.raises(StudyError):
        load_study("binary.yaml")


PLUGIN = """
from pydantic import Field
from coretune.spec.components import Component
from coretune.spec.frozen import Frozen
class Parameters(Frozen):
    beta: float = Field(0.5, ge=0, description="Strength.")
COMPONENTS = [Component(kind="method", name="mine", target=":X", summary="", parameters=Parameters)]
"""


def test_a_plugin_is_found_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN)
    study = tmp_path / "s.yaml"
    study.write_text(GOOD.replace("  ce:\n", "  mine: {beta: 2}\n") + "plugins: [./mine.py]\n")
    loaded = load_study(study)
    assert loaded.plugins == (str(tmp_path / "mine.py"),)
    assert loaded.cells[0].method.params == {"beta": 2}
    study.write_text(GOOD.replace("  ce:\n", "  mine: {betta: 2}\n") + "plugins: [./mine.py]\n")
    with pytest.raises(StudyError, match=r"s.yaml:11: methods.mine.betta: unknown key; did you mean beta\?"):
        load_study(study)


def test_a_broken_plugin_has_its_line_and_hides_no_other_problem(tmp_path: Path) -> None:
    """Names that are unknown without it are told, with the doubt: they may be its own, or wrong as well."""
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "bad.py").write_text("1 / 0")
    study = tmp_path / "s.yaml"
    methods = GOOD.replace("  ce:\n", "  mine: {beta: 2}\n  other: {}\n  again: {method: core_tunning}\n")
    study.write_text(methods + "plugins:\n- ./mine.py\n- ./bad.py\n- ./no.py\nseed: x\n")
    with pytest.raises(StudyError) as caught:
        load_study(study)
    found = {problem.key: problem for problem in caught.value.problems}
    assert [(key, problem.line) for key, problem in found.items()] == [
        ("methods.other", 12),
        ("methods.again.method", 13),
        ("plugins.1", 20),
        ("plugins.2", 21),
        ("seed", 22),
    ]
    assert "ZeroDivisionError" in found["plugins.1"].message
    doubt = "(unless the plug-in that could not be loaded declares it)"
    assert found["methods.other"].message.endswith(doubt) and "core_tuning" in found["methods.again.method"].message
    study.write_text(methods + "plugins:\n- ./mine.py\n")
    with pytest.raises(StudyError, match="unknown method 'other'") as caught:
        load_study(study)
    assert doubt not in str(caught.value)


# --- fuzz ------------------------------------------------------------------------------------------------------

KEY_NAMES = """
name datasets backbones methods evaluations data train search finals objective baseline resources keep seed preset plugins
digits folder small_resnet ce core_tuning eta lr epochs batch contrast_batch warmup_epochs method dataset path arch
params pretrain checkpoint augment crop_scale validation test labels_per_class label_fraction trials
uniform log_uniform int choice default
"""
KEYS = st.sampled_from(KEY_NAMES.split()) | st.text(max_size=6)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | KEYS
    | st.sampled_from(["none", "smoke", "cpu", "paper", "a/b", "../x", "~", "~nobody/x", "\x1f", "per_seed"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)
BASE = yaml.safe_load(GOOD)


def place(base: Any, path: list[str], value: Any) -> Any:
    if not path or not isinstance(base, dict):
        return value
    return {**base, path[0]: place(base.get(path[0], {}), path[1:], value)}


def check(value: Any) -> None:
    text = yaml.dump(value, allow_unicode=True, sort_keys=False)
    try:
        loaded = resolve(text)
    except StudyError as error:
        assert all(problem.line is not None and problem.message for problem in error.problems)
        assert len(set(error.problems)) == len(error.problems)
    else:
        assert all(spec.eval_id("a") for spec in loaded.evaluations.values())
        for cell in loaded.cells:
            said = {"fingerprint": "0" * 64, "weights": "random", "seed": 1, "subset_seed": 1}
            assert cell.spec(loaded.catalog, {}, **said).run_id
            assert cell.spec(
                loaded.catalog, {p: space.edges()[-1] for p, space in cell.method.space.items()}, **said
            ).run_id


FUZZ = settings(max_examples=150, suppress_health_check=list(HealthCheck))


@FUZZ
@given(st.dictionaries(KEYS, VALUES, max_size=6) | VALUES)
def test_any_value_loads_or_is_refused(value: Any) -> None:
    check(value)


@FUZZ
@given(st.lists(st.sampled_from([
    ["train", "epochs"], ["train", "batch"], ["train", "lr"], ["train"], ["methods", "ce"], ["methods", "core_tuning", "eta"],
    ["methods", "core_tuning", "train"], ["methods", "core_tuning", "projection_hidden"], ["datasets", "digits"],
    ["datasets", "digits", "validation"], ["datasets", "digits", "path"], ["datasets", "digits", "augment", "crop_scale"],
    ["backbones", "small", "params"], ["backbones", "small", "pretrain"], ["backbones", "small", "pretrain", "train"],
    ["backbones", "small", "checkpoint"], ["data"], ["data", "test"], ["search"], ["preset"], ["plugins"], ["baseline"], ["seed"],
]), min_size=1, max_size=3), st.data())  # fmt: skip
def test_any_change_of_a_good_study_loads_or_is_refused(paths: list[list[str]], data: st.DataObject) -> None:
    value: Any = BASE
    for path in paths:
        value = place(value, path, data.draw(VALUES))
    check(value)


@FUZZ
@given(st.text(max_size=20) | st.builds("{}={}".format, KEYS, st.text(max_size=8)))
def test_any_override_is_applied_or_refused(item: str) -> None:
    try:
        resolve(GOOD, item)
    except StudyError as error:
        assert error.problems


def test_a_misspelt_search_space_has_the_nearest_kind() -> None:
    text = GOOD.replace("log_uniform: [0.003", "log_unifrm: [0.003")
    assert problem_of(text) == (
        's.yaml:15: train.lr: is no search space, got {"log_unifrm": [0.003, 0.3], "default": 0.03}; did you mean log_uniform?'
    )
    text = GOOD.replace("log_uniform: [0.01", "log_unform: [0.01")
    assert "methods.core_tuning.eta: is no search space" in problem_of(text)
