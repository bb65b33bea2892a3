"""The evaluation `attack`: the worst of several attacks on each image, checked, and with a verdict.

Workers divide the images among them; what they found is gathered, so that all of them know the same. The keys of the
details are those of docs/robustness.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coretune.data.draws import permutation
from coretune.data.pack import Packed
from coretune.errors import CheckError, RunError
from coretune.nets.model import Model
from coretune.robust.attack import Subjects, attackable, logits_of
from coretune.robust.checks import check_again, check_distances, check_monotone
from coretune.robust.describe import notes, threat_line, threat_lines
from coretune.robust.kept import Kept, rows_of
from coretune.robust.reliability import Probes, is_drawn, probe, reasons
from coretune.robust.smallest import median_of, smallest_perturbations
from coretune.robust.threat import ThreatModel
from coretune.robust.worst_case import Outcome, Plan, worst_case
from coretune.spec.catalog.attack_choice import AttackParameters
from coretune.spec.catalog.attacks import PgdParameters
from coretune.spec.epsilon import eps_text
from coretune.tuning.classification import evaluate_classification
from coretune.tuning.context import Context
from coretune.tuning.judgement import Judgement
from coretune.tuning.sampling import plain_images, to_device
from coretune.tuning.shard import Shard

Indices = NDArray[np.int64]

BATCHES = 4
"""Batches of an evaluation that are attacked together: as images leave, those that are left still fill one."""


@dataclass(frozen=True)
class _Scene:
    model: Model
    packed: Packed
    context: Context
    params: AttackParameters
    plan: Plan
    seed: int
    rows: bool
    kept: Kept

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
        partial: A folder of this evaluation alone, where blocks that are done are kept, and from where they are taken;
            None, or with `rows`: every image is attacked.

    Returns:
        `clean_top1` and `robust_top1` in per cent, `median_perturbation` in units of pixels unless it is not known.
        Nothing where there is a single class, or no image.

    Raises:
        RunError: A logit is not finite.
        CheckError: The result contradicts itself.
        RequestError: An attack does not take images of this size.
    """
    params = params or AttackParameters()
    if not len(indices) or len(packed.classes) < 2:
        return Judgement({})
    kept = Kept.of(None if rows else partial, model)
    scene = _Scene(model, packed, context, params, Plan.of(params), seed, rows, kept)
    with attackable(model, context.device):
        found = _attacked(scene, indices)
        _check_clean(scene, indices, found)
        probes = _probed(scene, indices)
        median = _median(scene, indices)
    curve = curve_of(found.table, scene.plan)
    _refuse(context.shard, context.device, check_monotone(_carried(curve)))
    at = next(entry for entry in curve if entry["eps"] == eps_text(scene.headline.eps))
    scale_free = any(choice.name in ("apgd-dlr", "apgd-t", "fab-t", "square", "cw") for choice in scene.plan.attacks)
    scale_free |= any(choice.params.get("loss") in ("dlr", "margin") for choice in scene.plan.attacks)
    against = reasons(probes, scale_free=scale_free)
    metrics = {"clean_top1": curve[0]["robust_top1"], "robust_top1": at["robust_top1"]}
    if median is not None and median["value"] is not None:
        metrics["median_perturbation"] = median["value"]
    details = {
        "threat": threat_line(scene.plan, scene.headline, len(indices), seed),
        "threats": threat_lines(scene.plan),
        "curve": curve,
        "attacks": at["attacks"],
        "verdict": {"reliable": not against, "reasons": against, "probes": probes.numbers()},
        "median_perturbation": median,
        "notes": notes(scene.plan, params, len(packed.classes), ties=found.ties, drawn=found.drawn),
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


def _attacked(scene: _Scene, indices: Indices) -> _Found:
    """Attacks this worker's images, block by block, checks them, and gathers what became of all."""
    shard, device = scene.context.shard, scene.context.device
    own = indices[shard.rank :: shard.workers]
    known = scene.kept.read()
    left = own[[image not in known for image in own.tolist()]]
    faults, images = list[str](), list[Tensor]()
    bad = 0
    for block in _blocks(scene, left):
        with torch.no_grad():
            logits = torch.cat([logits_of(scene.model, part) for part in torch.split(block.images, _chunk(scene))])
        bad += int((~logits.isfinite().all(dim=1)).sum())
        if bad:
            continue  # the others have to be told, and nothing else matters
        correct = logits.argmax(dim=1) == block.labels
        outcome = worst_case(scene.model, block, correct, scene.plan, _chunk(scene))
        rows, wrong = _checked(scene, block, outcome)
        faults += wrong
        if not faults:
            scene.kept.put(block.index, rows)
        known |= dict(zip(block.index.tolist(), rows.long().tolist(), strict=True))
        if scene.rows:
            images.append(outcome.images.permute(0, 2, 3, 1).cpu())
    bad = int(shard.sum(torch.tensor([bad], device=device)))
    if bad:
        raise RunError(
            f"logits of {bad} of {len(indices)} images are not finite: no accuracy of this model means anything"
        )
    _refuse(shard, device, faults)
    mine = rows_of(known, own.tolist())
    arrays = _arrays(scene, own, mine, images) if scene.rows else {}
    return _Found(_gathered(mine.to(device), len(indices), shard).cpu(), arrays)


def _checked(scene: _Scene, block: Subjects, outcome: Outcome) -> tuple[Tensor, list[str]]:
    """Returns the rows of a block, and what is wrong with it."""
    faults = outcome.faults + check_distances(outcome, block.images, scene.plan)
    drawn = is_drawn(scene.model, block.images[: _chunk(scene)])
    tied = torch.zeros_like(block.labels, dtype=torch.bool)
    if not drawn:
        again, tied = check_again(scene.model, outcome, block.labels, scene.plan, _chunk(scene))
        faults += again
    rows = torch.stack([outcome.level, outcome.by, tied.long(), torch.full_like(block.labels, drawn)], dim=1)
    return rows.float().cpu(), faults


def _blocks(scene: _Scene, own: Indices) -> Iterator[Subjects]:
    size = BATCHES * scene.context.evaluation_batch
    for begin in range(0, len(own), size):
        yield _subjects(scene, own[begin : begin + size])


def _subjects(scene: _Scene, chosen: Indices) -> Subjects:
    images = torch.cat(list(plain_images(scene.packed, chosen, scene.context)))
    labels = to_device(torch.from_numpy(scene.packed.labels[chosen]), scene.context.device)
    images = images.contiguous(memory_format=scene.context.memory_format)
    return Subjects(images, labels, len(scene.packed.classes), chosen, scene.seed)


def _chunk(scene: _Scene) -> int:
    return scene.context.evaluation_batch


def _check_clean(scene: _Scene, indices: Indices, found: _Found) -> None:
    """ε = 0 has to be the clean accuracy, as the evaluation of classification has it, to the last image."""
    measured = evaluate_classification(scene.model, scene.packed, indices, scene.context)["top1"]
    ours = 100 * int((found.table[:, 0] > 0).sum()) / len(indices)
    same = round(measured * len(indices) / 100) == round(ours * len(indices) / 100)
    said = f"the accuracy at ε = 0 is {ours:.6g} %, the clean accuracy is {measured:.6g} %"
    _refuse(scene.context.shard, scene.context.device, [] if same or found.drawn else [said])


def _sample(scene: _Scene, indices: Indices, purpose: str, most: int) -> Indices:
    """Returns this worker's part of at most so many images, drawn by the seed."""
    chosen = np.sort(indices[permutation(scene.seed, purpose, 0, len(indices))[:most]])
    return chosen[scene.context.shard.rank :: scene.context.shard.workers]


def _probed(scene: _Scene, indices: Indices) -> Probes:
    total = Probes().tensor(scene.context.device)
    own = _sample(scene, indices, "attack probes", scene.params.probe_images)
    pgd = next((choice.parameters for choice in scene.plan.attacks if choice.name == "pgd"), PgdParameters())
    assert isinstance(pgd, PgdParameters)
    for begin in range(0, len(own), _chunk(scene)):
        subjects = _correct(scene, own[begin : begin + _chunk(scene)])
        total = total + probe(scene.model, subjects, scene.headline, pgd).tensor(scene.context.device)
    return Probes.from_tensor(scene.context.shard.sum(total).cpu())


def _median(scene: _Scene, indices: Indices) -> dict[str, Any] | None:
    if not scene.params.median_images:
        return None
    most = min(scene.params.median_images, len(indices))
    own = _sample(scene, indices, "attack median", most)
    lengths = [torch.zeros(0, dtype=torch.float64)]
    for begin in range(0, len(own), _chunk(scene)):
        subjects = _subjects(scene, own[begin : begin + _chunk(scene)])
        lengths.append(smallest_perturbations(scene.model, subjects, scene.plan.norm, scene.params.median_steps).cpu())
    column = torch.cat(lengths).to(scene.context.device)[:, None]
    return median_of(_gathered(column, most, scene.context.shard)[:, 0].cpu(), scene.plan.norm)


@torch.no_grad()
def _correct(scene: _Scene, chosen: Indices) -> Subjects:
    subjects = _subjects(scene, chosen)
    right = logits_of(scene.model, subjects.images).argmax(dim=1) == subjects.labels
    return subjects.pick(right.nonzero().squeeze(1))


def _gathered(own: Tensor, n: int, shard: Shard) -> Tensor:
    """Returns the rows (n, c) of all images in their order; worker r of W has rows r, r + W, ..."""
    if shard.workers == 1:
        return own
    padded = own.new_zeros(-(-n // shard.workers), own.shape[1])
    padded[: len(own)] = own
    return shard.everyone(padded).transpose(0, 1).flatten(0, 1)[:n]


def _refuse(shard: Shard, device: torch.device, faults: Sequence[str]) -> None:
    """Raises on all workers if one of them has found a contradiction."""
    if not int(shard.sum(torch.tensor([len(faults)], device=device))):
        return
    raise CheckError("a self-check failed: " + ("; ".join(dict.fromkeys(faults)) or "on another worker"))


def _carried(curve: Sequence[Mapping[str, Any]]) -> list[int]:
    """Returns how many images are left after each attack at each ε, from the clean accuracy on."""
    found = [int(curve[0]["robust"])]
    for entry in curve[1:]:
        found += [attack["attacked"] - attack["fooled"] for attack in entry["attacks"]] + [int(entry["robust"])]
    return found


def _arrays(scene: _Scene, own: Indices, table: Tensor, images: Sequence[Tensor]) -> dict[str, NDArray[np.generic]]:
    shape = (0, *scene.packed.images.shape[1:])
    return {
        "adversarial": torch.cat(list(images)).numpy() if images else np.zeros(shape, np.float32),
        "index": own,
        "label": scene.packed.labels[own],
        "level": table[:, 0].numpy().astype(np.int64),
    }
