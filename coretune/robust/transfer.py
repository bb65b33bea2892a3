"""The evaluation `transfer`: images made on another model, the surrogate, against what gradients of the model find.

Whoever hides gradients hides them from white-box attacks alone: images that fool another model of the task fool this
one, too (Papernot, McDaniel, Goodfellow, arXiv 1605.07277). So a model that falls to images of a surrogate, and to none
that its own gradients lead to, masks them (Athalye, Carlini, Wagner, ICML 2018, arXiv 1802.00420, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from coretune.data.pack import Packed
from coretune.nets.model import Model
from coretune.robust.attack import Subjects, attackable, predictions
from coretune.robust.foreign import mi_fgsm
from coretune.robust.headway import Tell, Teller
from coretune.robust.losses import cross_entropy, margin
from coretune.robust.pgd import Ascent, climb
from coretune.robust.reliability import ENOUGH, SHARE, white_box
from coretune.robust.scene import Indices, Scene
from coretune.robust.threat import ThreatModel
from coretune.spec.catalog.attacks import MomentumParameters
from coretune.spec.catalog.evaluations import TransferParameters
from coretune.tuning.context import Context
from coretune.tuning.judgement import Judgement


@dataclass(frozen=True)
class TransferProbes:
    """What was counted on images that the model classifies correctly.

    Attributes:
        images: How many.
        surrogate_fooled: On which the surrogate is wrong once they are attacked on it.
        transfer: Fooled by images made on the surrogate.
        transfer_alone: Fooled so, and by none of the verdict's gradient steps on the model itself.
        outside: Images that left the threat model; there may be none.
    """

    images: int = 0
    surrogate_fooled: int = 0
    transfer: int = 0
    transfer_alone: int = 0
    outside: int = 0

    def tensor(self, device: torch.device) -> Tensor:
        """Returns all of them as an int64 tensor, to be summed over workers."""
        return torch.tensor([getattr(self, item.name) for item in fields(self)], device=device)

    @classmethod
    def from_tensor(cls, values: Tensor) -> TransferProbes:
        """Returns what `tensor` returned."""
        return cls(*values.tolist())

    def numbers(self) -> dict[str, int]:
        """Returns what was found by name."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "outside"}


def evaluate_transfer(
    model: Model,
    packed: Packed,
    indices: Indices,
    context: Context,
    *,
    params: TransferParameters,
    surrogate: Model,
    seed: int = 0,
    tell: Tell | None = None,
) -> Judgement:
    """Attacks a surrogate, and shows what comes of it to the model.

    Workers divide the images among them.

    Args:
        model: On the context's device. Mode, gradients, flags of parameters and random numbers are put back.
        packed: The images.
        indices: (n,) which of them.
        context: Device and batch size, and the workers.
        params: Norm, ε, and steps.
        surrogate: On the context's device, of the same classes; it is put back likewise.
        seed: Of all that is drawn.
        tell: Is told how far this worker is.

    Returns:
        `clean_top1`, and `transfer_top1`, the accuracy on the images made on the surrogate, both in per cent. Nothing
        where there is no image.

    Raises:
        CheckError: An image left the threat model.
    """
    if not len(indices) or len(packed.classes) < 2:
        return Judgement({})
    threat = ThreatModel.parse(params.norm, params.eps)
    scene = Scene(model, packed, context, seed, Teller(tell))
    own = scene.own(indices)
    scene.teller.begin("transfer", len(own))
    total = TransferProbes().tensor(context.device)
    with (
        attackable(model, context.device),
        attackable(surrogate, context.device),
        scene.teller.watching(model),
        scene.teller.watching(surrogate),
    ):
        for chosen in scene.chunks(own, scene.chunk):
            found = transferred(model, surrogate, scene.correct(chosen), threat, params.steps)
            total = total + found.tensor(context.device)
            scene.teller.advance(len(chosen))
    probes = TransferProbes.from_tensor(scene.shard.sum(total).cpu())
    outside = f"{probes.outside} images made on the surrogate left the threat model ({threat})"
    scene.refuse([outside] if probes.outside else [])
    return _judgement(probes, len(indices), threat, params, seed)


def transferred(
    model: nn.Module, surrogate: nn.Module, subjects: Subjects, threat: ThreatModel, steps: int
) -> TransferProbes:
    """Attacks a surrogate on some images, and counts whom that fools.

    Args:
        model: Ready to be attacked.
        surrogate: Likewise.
        subjects: n ≥ 0 images, which the model classifies correctly.
        threat: The ball.
        steps: Gradient steps on the surrogate.
    """
    if not len(subjects):
        return TransferProbes()
    fooled = torch.zeros_like(subjects.labels, dtype=torch.bool)
    theirs, outside = fooled.clone(), fooled.clone()
    for images in _made(surrogate, subjects, threat, steps):
        outside |= ~threat.inside(images, subjects.images)
        theirs |= predictions(surrogate, images) != subjects.labels
        fooled |= predictions(model, images) != subjects.labels
    rows = fooled.nonzero().squeeze(1)
    alone = ~white_box(model, subjects.pick(rows), threat).any if len(rows) else rows
    return TransferProbes(
        len(subjects), int(theirs.sum()), int(fooled.sum()), int(alone.sum()), outside=int(outside.sum())
    )


def _made(surrogate: nn.Module, subjects: Subjects, threat: ThreatModel, steps: int) -> Iterator[Tensor]:
    """Yields adversarial images (n, 3, H, W) of the surrogate, all steps of them: to stop at once carries less over.

    PGD on the cross-entropy and on the margin, and in L∞ steps with momentum, which transfer best (MI-FGSM; Dong et
    al., CVPR 2018, arXiv 1710.06081).
    """
    for loss in (cross_entropy, margin):
        ascent = Ascent(threat, steps, threat.radius / 4, loss, "last")
        yield climb(surrogate, subjects, subjects.images, ascent).images
    if threat.norm == "linf":
        yield mi_fgsm(surrogate, subjects, threat, MomentumParameters(steps=steps)).images


def transfer_reasons(found: TransferProbes) -> list[str]:
    """Returns in words why white-box attacks on the model are not to be believed; empty if nothing speaks against them.

    Args:
        found: The counts, of all workers.
    """
    n = found.images
    if found.transfer_alone < max(2.0, SHARE * n):
        return []
    return [f"transfer beats white box: images of another model alone fool {found.transfer_alone} of {n} images"]


def _judgement(
    probes: TransferProbes, images: int, threat: ThreatModel, params: TransferParameters, seed: int
) -> Judgement:
    against = transfer_reasons(probes)
    weak = probes.images < ENOUGH or 2 * probes.surrogate_fooled < probes.images
    details: dict[str, Any] = {
        "threat": f"{threat}; made on {params.surrogate} ({params.steps} steps); {images} images; seed {seed}",
        "surrogate": params.surrogate,
        "verdict": {"reliable": not against, "reasons": against, "probes": probes.numbers()},
        "notes": [_weakness(probes)] if weak and not against else [],
    }
    share = 100 / images
    metrics = {
        "clean_top1": share * probes.images,
        "transfer_top1": share * (probes.images - probes.transfer),
        "reliable": float(not against),
    }
    return Judgement(metrics, details)


def _weakness(probes: TransferProbes) -> str:
    """Returns why finding nothing says little."""
    if probes.images < ENOUGH:
        return f"{probes.images} images are classified correctly, {ENOUGH} are needed to find nothing on"
    return (
        f"the attack fools its own surrogate on {probes.surrogate_fooled} of {probes.images} images: that nothing "
        "transfers says little"
    )
