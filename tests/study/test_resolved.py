from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.driving import STUDY, resolved

from coretune.data import fingerprint
from coretune.errors import RequestError, UnfitError
from coretune.spec.cells import final_seed
from coretune.spec.load import resolve_study
from coretune.spec.yamlfile import parse_yaml
from coretune.study.resolved import only_matching, resolve

LOADED = resolve_study(parse_yaml(STUDY, "tiny.yaml"))


def refused(*sets: str) -> str:
    with pytest.raises(RequestError) as error:
        resolved(*sets)
    assert error.value.exit_code == 2
    return str(error.value)


def test_only() -> None:
    assert [cell.key for cell in only_matching(LOADED, {"method": "ce"})] == ["digits--ce--plain"]
    assert len(only_matching(LOADED, {})) == 2
    assert len(resolve(LOADED, {"dataset": "digits", "method": "core_tuning"}).cells) == 1
    with pytest.raises(RequestError, match="--only method=cee: no such method in the study; it has ce, core_tuning"):
        only_matching(LOADED, {"method": "cee"})
    with pytest.raises(RequestError, match="needs dataset=, method= or backbone="):
        only_matching(LOADED, {"seed": "1"})


def test_only_a_data_set_is_all_its_held_out_domains_and_one_of_them() -> None:
    loaded = resolve_study(parse_yaml(STUDY, "tiny.yaml"), ["datasets={pacs: {held_out_domain: all}}", "methods=[ce]"])
    assert len(only_matching(loaded, {"dataset": "pacs"})) == 4
    assert [cell.key for cell in only_matching(loaded, {"dataset": "pacs-photo"})] == ["pacs-photo--ce--plain"]


def test_runs_of_several_workers_are_the_same_runs() -> None:
    alone, together = resolved(), resolved("resources.workers=2")
    ids = [[spec.run_id for cell in study.cells for spec in study.final_specs(cell, {})] for study in (alone, together)]
    assert ids[0] == ids[1]


def test_a_continuous_grid_is_refused_at_once() -> None:
    assert "write a choice" in refused("search.sampler=grid")


def test_a_backbone_that_cannot_be_segmented_with_is_refused_unless_its_cells_are_left_out() -> None:
    pixels = ("datasets={streets: {dataset: voc, path: /absent}}", "data={}", "objective.metric=miou")
    sets = (*pixels, "backbones=[resnet18, swin_t]")
    assert "backbones.swin_t: backbone swin_t: its feature maps are too coarse" in refused(*sets)
    loaded = resolve_study(parse_yaml(STUDY, "tiny.yaml"), sets)
    with pytest.raises(UnfitError, match="there is no such folder"):
        resolve(loaded, {"backbone": "resnet18"})


def test_absent_data_are_told_with_their_label_and_place(tmp_path: Path) -> None:
    where = tmp_path / "absent"
    with pytest.raises(UnfitError, match=f"^data set photos: {where} is no folder; expected"):
        resolved(f"datasets={{photos: {{dataset: folder, path: {where}}}}}")


def test_what_a_cell_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {cell.weights for cell in resolved().cells} == {"random"}
    trained = resolved("backbones.plain.pretrain={method: moco_v2}")
    (needed,) = {cell.pretraining.run_id for cell in trained.cells if cell.pretraining is not None}
    assert {cell.weights for cell in trained.cells} == {f"run:{needed}"}
    assert trained.run_spec(trained.cells[0], {}, 1).needs == (needed,)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"weights")
    read: list[bytes] = []
    hash_file = fingerprint.hash_file

    def counted(path: Path) -> str:
        read.append(b"")
        return hash_file(path)

    monkeypatch.setattr(fingerprint, "hash_file", counted)
    loaded = resolved(f"backbones.plain.checkpoint={file}")
    assert {cell.weights for cell in loaded.cells} == {f"sha256:{hashlib.sha256(b'weights').hexdigest()}"}
    assert loaded.checkpoints == {"plain": hashlib.sha256(b"weights").hexdigest()}
    assert resolved().checkpoints == {}
    assert len(read) == 1, "a checkpoint of two cells is read once"
    file.write_bytes(b"others!")
    changed = resolved(f"backbones.plain.checkpoint={file}")
    assert changed.cells[0].weights != loaded.cells[0].weights


def test_a_checkpoint_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match=r"^checkpoint of plain is missing: no checkpoint at .*absent$"):
        resolved(f"backbones.plain.checkpoint={tmp_path / 'absent'}")


def test_the_labelled_subset_is_fixed_or_drawn_by_each_seed() -> None:
    def subsets(*sets: str) -> set[int]:
        study = resolved(*sets)
        seeds = [final_seed(3, index) for index in range(3)]
        return {study.run_spec(cell, {}, seed).data.subset_seed for cell in study.cells for seed in seeds}

    assert len(subsets("data.subset_seed=fixed")) == 1
    assert len(subsets("data.subset_seed=per_seed")) == 3, "the same for both methods: they are paired"


def test_finals_are_evaluated_on_the_test_part() -> None:
    spec = resolved("finals.weights=best").final_evaluation()
    assert (spec.split, spec.weights, spec.evaluation.name) == ("test", "best", "classification")


def test_the_metric_of_the_best_epoch_is_part_of_a_run_only_where_it_matters() -> None:
    def run_id(*sets: str) -> str:
        study = resolved(*sets)
        return study.run_spec(study.cells[0], {}, 1).run_id

    last = run_id()
    assert run_id("objective.metric=cross_entropy") == last == run_id("finals.weights=best")
    assert run_id("objective.metric=cross_entropy", "finals.weights=best") != last


ROBUST = "objective={metric: robust_top1, attack: {eps: 2/255, limit: 50}}"


def test_robust_accuracy_is_measured_under_one_attack_however_a_method_is_trained() -> None:
    own = "own: {method: ce, adversary: {attack: pgd, eps: 2/255, validation_limit: 50}}"
    methods = f"methods={{ce: , {own}, strong: {{method: ce, adversary: {{attack: pgd, eps: 8/255}}}}}}"
    plain, study = resolved(methods), resolved(methods, ROBUST)
    before, after = ([s.run_spec(cell, {}, 1) for cell in s.cells] for s in (plain, study))
    assert {str(spec.attack) for spec in after} == {str(study.loaded.attack)}
    assert [one.run_id == two.run_id for one, two in zip(before, after, strict=True)] == [False, True, False]
    assert [spec.validation_attack is None for spec in after] == [False, True, False]
    assert {spec.best_by for spec in after} == {"top1"}
    best = resolved(methods, ROBUST, "finals.weights=best")
    assert {best.run_spec(cell, {}, 1).best_by for cell in best.cells} == {"robust_top1"}


def test_finals_are_attacked_on_the_test_part_where_robust_accuracy_is_the_objective() -> None:
    spec = resolved(ROBUST, "finals.weights=best").final_evaluation()
    assert (spec.split, spec.weights, spec.evaluation.name, spec.limit) == ("test", "best", "attack", 50)
    assert spec.evaluation.params["eps"] == ["2/255"]


GEOMETRY = "evaluations.geometry={}"
BEST = "evaluations.best={evaluation: classification, weights: best}"


def test_further_evaluations_are_made_once_each_and_never_in_place_of_the_main_one() -> None:
    assert resolved().further_evaluations() == ()
    study = resolved(GEOMETRY, "evaluations.again={evaluation: geometry}", "evaluations.classification={}", BEST)
    assert [(spec.evaluation.name, spec.weights) for spec in study.further_evaluations()] == [
        ("geometry", "last"),
        ("classification", "best"),
    ]
    assert study.final_evaluation() == resolved().final_evaluation()
    assert resolved(BEST, "finals.weights=best").further_evaluations() == ()


def test_final_runs_are_those_of_the_final_seeds_and_evaluations_do_not_change_their_ids() -> None:
    plain, more = resolved(), resolved(GEOMETRY, BEST)
    cell = plain.cells[0]
    specs = plain.final_specs(cell, {})
    assert [spec.seed for spec in specs] == [final_seed(3, index) for index in range(2)]
    assert specs == more.final_specs(more.cells[0], {}) == tuple(plain.run_spec(cell, {}, s.seed) for s in specs)


def test_the_best_epoch_is_part_of_a_final_run_only_where_its_weights_are_evaluated() -> None:
    def specs(*sets: str) -> tuple[tuple[str, ...], ...]:
        study = resolved("objective.metric=cross_entropy", *sets)
        cell = study.cells[0]
        groups = (study.trial_specs(cell, {}), study.final_specs(cell, {}))
        return tuple(tuple(spec.best_by for spec in group) for group in groups)

    assert specs() == specs(GEOMETRY) == (("top1",), ("top1", "top1"))
    assert specs(BEST) == (("top1",), ("cross_entropy", "cross_entropy")), "trials are scored by their last epoch"
    assert specs("finals.weights=best") == (("cross_entropy",), ("cross_entropy", "cross_entropy"))


FEW = "datasets.few={dataset: digits, labels_per_class: 2, validation: 20}"
MANY = "datasets.many={dataset: digits, validation: 60}"


def test_cells_may_share_the_pretraining_on_one_of_their_data_sets() -> None:
    study = resolved(FEW, MANY, "backbones.plain.pretrain={dataset: many}")
    assert len({cell.cell.dataset.label for cell in study.cells}) == 3
    (needed,) = {cell.pretraining.run_id: cell.pretraining for cell in study.cells if cell.pretraining}.values()
    assert needed.data.validation == 60 and needed.data.labels_per_class is None
    own = resolved(FEW, MANY, "backbones.plain.pretrain={}")
    assert needed.run_id in {cell.pretraining.run_id for cell in own.cells if cell.pretraining}
    assert len({cell.pretraining.run_id for cell in own.cells if cell.pretraining}) == 3


def test_the_data_of_the_pretraining_are_looked_at_although_no_cell_of_them_is_wanted(tmp_path: Path) -> None:
    absent = f"datasets.photos={{dataset: folder, path: {tmp_path / 'absent'}}}"
    loaded = resolve_study(parse_yaml(STUDY, "tiny.yaml"), ["backbones.plain.pretrain={dataset: photos}", absent])
    with pytest.raises(UnfitError, match=r"^data set photos: "):
        resolve(loaded, {"dataset": "digits"})


def test_the_precisions_of_all_runs() -> None:
    assert resolved().precisions == {"fp32"}
    assert resolved("train.precision=bf16").precisions == {"bf16"}
    mixed = resolved("backbones.plain.pretrain={method: moco_v2, train: {precision: fp16}}")
    assert mixed.precisions == {"fp32", "fp16"}
    assert resolved("train.precision={choice: [fp32, bf16]}").precisions == {"fp32", "bf16"}
