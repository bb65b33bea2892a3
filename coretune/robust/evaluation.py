"""The evaluation `attack`: the worst of several attacks on each image, checked, and with a verdict.

Workers divide the images among them; what they found is gathered, so that all of them know the same. The keys of the
details are those of docs/robustness.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.pack import Packed
from coretune.errors import RunError
from coretune.nets.model import Model
from coretune.robust.attack import Subjects, attackable, logits_of
from coretune.robust.checks import check_again, check_distances, check_monotone
from coretune.robust.describe import notes, threat_line, threat_lines
from coretune.robust.headway import Tell, Teller
from coretune.robust.kept import Kept, rows_of
from coretune.robust.reliability import STAGES, UNTESTED, Probes, is_drawn, probe, reasons
from coretune.robust.scene import Indices, Scene
from coretune.robust.smallest import median_of, smallest_perturbations
from coretune.robust.threat import ThreatModel
from coretune.robust.worst_case import Outcome, Plan, worst_case
from coretune.spec.catalog.attack_choice import AttackParameters
from coretune.spec.catalog.attacks import PgdParameters
from coretune.spec.epsilon import eps_text
from coretune.tuning.classification import evaluate_classification
from coretune.tuning.context import Context
from coretune.tuning.judgement import Judgement

BATCHES = 4
"""Batches of an evaluation that are attacked together: as images leave, those that are left still fill one."""

LEAST, PARTS = 64, 8
"""Of few images blocks are smaller, so that a kill loses no more than an eighth of a worker's images, or so many."""

SCALE_FREE = ("apgd-dlr", "apgd-t", "fab-t", "square", "cw")
"""Attacks whose loss does not depend on the logits' scale."""


@dataclass(frozen=True)
class _Attacks(Scene):
    params: AttackParameters = field(kw_only=True)
    plan: Plan = field(kw_only=True)
    rows: bool = field(kw_only=True)
    kept: Kept = field(kw_only=True)

    @property
    def headline(self) -> ThreatModel:
        return ThreatModel.parse(self.plan.norm, self.params.headline_eps)


@dataclass(frozen=True)
class _Found:
    """Of all workers: a row by image, (n, 4), in the order of the indices, as `kept.COLUMNS` says."""

    table: Tensor
    arrays: Mapping[str, NDArray[np.generic]]

    @property
    def ties(self) -> int:
        return int(self.table[:, 2].sum())

    @property
    def drawn(self) -> bool:
        return bool(self.table[:, 3].any())


def evaluate_attack(
    model: Model,
    packed: Packed,
    indices: Indices,
    context: Context,
    *,
    params: AttackParameters | None = None,
    seed: int = 0,
    rows: bool = False,
    partial: Path | None = None,
    tell: Tell | None = None,
) -> Judgement:
    """Attacks a classifier on some images.

    Args:
        model: On the context's device. Mode, gradients, flags of parameters and random numbers are put back.
        packed: The images.
        indices: (n,) which of them.
        context: Device and batch size, and the workers.
        params: Attacks, norm, grid of ε, and the size of the samples for median and verdict.
        seed: Of all that is drawn.
        rows: Whether the adversarial images are returned: `adversarial` (n, H, W, 3) float32, `index`, `label`, and
            `level`, the number of the ε in the curve that fooled the model (0: misclassified without; one more than
            there are: robust).
        partial: A folder of this evaluation alone, where blocks that are done are kept, and from where they are taken,
            with `rows` those whose images are there; None: every image is attacked.
        tell: Is told how far this worker is.

    Returns:
        `clean_top1` and `robust_top1` in per cent, `reliable`, 1 or 0, `median_perturbation` in units of pixels unless
        it is not known.
        Nothing where there is a single class, or no image.

    Raises:
        RunError: A logit is not finite.
        CheckError: The result contradicts itself.
        RequestError: An attack does not take images of this size.
    """
    params = params or AttackParameters()
    if not len(indices) or len(packed.classes) < 2:
        return Judgement({})
    kept = Kept.of(partial, model, images=rows)
    plan = Plan.of(params)
    scene = _Attacks(model, packed, context, seed, Teller(tell), params=params, plan=plan, rows=rows, kept=kept)
    with attackable(model, context.device), scene.teller.watching(model):
        found = _attacked(scene, indices)
        _check_clean(scene, indices, found)
        probes = _probed(scene, indices)
        median = _median(scene, indices)
    curve = curve_of(found.table, plan)
    scene.refuse(check_monotone(_carried(curve)))
    at = next(entry for entry in curve if entry["eps"] == eps_text(scene.headline.eps))
    against = reasons(probes, scale_free=_is_scale_free(plan))
    metrics = {"clean_top1": curve[0]["robust_top1"], "robust_top1": at["robust_top1"], "reliable": float(not against)}
    if median is not None and median["value"] is not None:
        metrics["median_perturbation"] = median["value"]
    details = {
        "threat": threat_line(plan, scene.headline, len(packed.classes), len(indices), seed),
        "threats": threat_lines(plan, len(packed.classes)),
        "curve": curve,
        "attacks": at["attacks"],
        "verdict": {"reliable": not against, "reasons": against, "probes": probes.numbers(), "transfer": UNTESTED},
        "median_perturbation": median,
        "notes": notes(plan, params, len(packed.classes), ties=found.ties, drawn=found.drawn),
    }
    return Judgement(metrics, details, found.arrays)


def curve_of(table: Tensor, plan: Plan) -> list[dict[str, Any]]:
    """Returns how many images are left at each ε, ascending from 0, and after each attack at it.

    Args:
        table: (n, 2 or more), by image the level and the number of the attack, as in `Outcome`.
        plan: The grid.
    """
    level, by = table[:, 0], table[:, 1]
    n = len(table)

    def entry(eps: str, robust: int, attacks: list[dict[str, Any]]) -> dict[str, Any]:
        return {"eps": eps, "robust_top1": 100 * robust / n, "robust": robust, "attacks": attacks}

    robust = int((level > 0).sum())
    curve = [entry("0", robust, [])]
    for number, eps in enumerate(plan.grid, 1):
        attacks: list[dict[str, Any]] = []
        for place, choice in enumerate(plan.attacks):
            fooled = int(((level == number) & (by == place)).sum())
            attacks.append({"name": choice.name, "attacked": robust, "fooled": fooled})
            robust -= fooled
            attacks[-1]["robust_top1"] = 100 * robust / n
        curve.append(entry(eps_text(eps), int((level > number).sum()), attacks))
    return curve


def _is_scale_free(plan: Plan) -> bool:
    return any(each.name in SCALE_FREE or each.params.get("loss") in ("dlr", "margin") for each in plan.attacks)


def _attacked(scene: _Attacks, indices: Indices) -> _Found:
    """Attacks this worker's images, block by block, checks them, and gathers what became of all."""
    own = scene.own(indices)
    known, images = scene.kept.read()
    left = own[[image not in known for image in own.tolist()]]
    tries = len(scene.plan.grid) * len(scene.plan.attacks)
    scene.teller.begin("attack", len(own) * tries)
    scene.teller.advance((len(own) - len(left)) * tries)
    faults = list[str]()
    bad = 0
    for chosen in scene.chunks(left, block_size(len(own), scene.chunk)):
        block = scene.subjects(chosen)
        with torch.no_grad():
            logits = torch.cat([logits_of(scene.model, part) for part in torch.split(block.images, scene.chunk)])
        bad += int((~logits.isfinite().all(dim=1)).sum())
        if bad:
            continue  # the others have to be told, and nothing else matters
        correct = logits.argmax(dim=1) == block.labels
        outcome = worst_case(scene.model, block, correct, scene.plan, scene.chunk, scene.teller)
        rows, wrong = _checked(scene, block, outcome)
        faults += wrong
        found = outcome.images.permute(0, 2, 3, 1).cpu() if scene.rows else None
        if not faults:
            scene.kept.put(block.index, rows, found)
        known |= dict(zip(block.index.tolist(), rows.long().tolist(), strict=True))
        images |= {} if found is None else dict(zip(block.index.tolist(), found.numpy(), strict=True))
    bad = scene.summed(bad)
    if bad:
        raise RunError(
            f"logits of {bad} of {len(indices)} images are not finite: no accuracy of this model means anything"
        )
    scene.refuse(faults)
    mine = rows_of(known, own.tolist())
    arrays = _arrays(scene, own, mine, images) if scene.rows else {}
    return _Found(scene.gathered(mine.to(scene.device), len(indices)).cpu(), arrays)


def block_size(images: int, chunk: int) -> int:
    """Returns how many images are attacked together, and kept when they are done."""
    return min(BATCHES * chunk, max(LEAST, -(-images // PARTS)))


def _checked(scene: _Attacks, block: Subjects, outcome: Outcome) -> tuple[Tensor, list[str]]:
    """Returns the rows of a block, and what is wrong with it."""
    faults = outcome.faults + check_distances(outcome, block.images, scene.plan)
    drawn = is_drawn(scene.model, block.images[: scene.chunk])
    tied = torch.zeros_like(block.labels, dtype=torch.bool)
    if not drawn:
        again, tied = check_again(scene.model, outcome, block.labels, scene.plan, scene.chunk)
        faults += again
    rows = torch.stack([outcome.level, outcome.by, tied.long(), torch.full_like(block.labels, drawn)], dim=1)
    return rows.float().cpu(), faults


def _check_clean(scene: _Attacks, indices: Indices, found: _Found) -> None:
    """ε = 0 has to be the clean accuracy, as the evaluation of classification has it, to the last image."""
    measured = evaluate_classification(scene.model, scene.packed, indices, scene.context)["top1"]
    ours = 100 * int((found.table[:, 0] > 0).sum()) / len(indices)
    same = round(measured * len(indices) / 100) == round(ours * len(indices) / 100)
    said = f"the accuracy at ε = 0 is {ours:.6g} %, the clean accuracy is {measured:.6g} %"
    scene.refuse([] if same or found.drawn else [said])


def _probed(scene: _Attacks, indices: Indices) -> Probes:
    total = Probes().tensor(scene.device)
    own = scene.sample(indices, "attack probes", scene.params.probe_images)
    scene.teller.begin("probes", len(own) * STAGES)
    pgd = next((choice.parameters for choice in scene.plan.attacks if choice.name == "pgd"), PgdParameters())
    assert isinstance(pgd, PgdParameters)
    for chosen in scene.chunks(own, scene.chunk):
        found = probe(scene.model, scene.correct(chosen), scene.headline, pgd, scene.teller)
        scene.teller.advance((len(chosen) - int(found.images)) * STAGES)  # what was wrong already has nothing to probe
        total = total + found.tensor(scene.device)
    return Probes.from_tensor(scene.shard.sum(total).cpu())


def _median(scene: _Attacks, indices: Indices) -> dict[str, Any] | None:
    if not scene.params.median_images:
        return None
    most = min(scene.params.median_images, len(indices))
    own = scene.sample(indices, "attack median", most)
    scene.teller.begin("median", len(own))
    scene.teller.at("fab-t")
    lengths = [torch.zeros(0, dtype=torch.float64)]
    for chosen in scene.chunks(own, scene.chunk):
        subjects = scene.subjects(chosen)
        lengths.append(smallest_perturbations(scene.model, subjects, scene.plan.norm, scene.params.median_steps).cpu())
        scene.teller.advance(len(chosen))
    column = torch.cat(lengths).to(scene.device)[:, None]
    return median_of(scene.gathered(column, most)[:, 0].cpu(), scene.plan.norm)


def _carried(curve: Sequence[Mapping[str, Any]]) -> list[int]:
    """Returns how many images are left after each attack at each ε, from the clean accuracy on."""
    found = [int(curve[0]["robust"])]
    for entry in curve[1:]:
        found += [attack["attacked"] - attack["fooled"] for attack in entry["attacks"]] + [int(entry["robust"])]
    return found


def _arrays(
    scene: _Attacks, own: Indices, table: Tensor, images: Mapping[int, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    shape = scene.packed.images.shape[1:]
    found = [images[image] for image in own.tolist()]
    return {
        "adversarial": np.stack(found) if found else np.zeros((0, *shape), np.float32),
        "index": own,
        "label": scene.packed.labels[own],
        "level": table[:, 0].numpy().astype(np.int64),
    }
