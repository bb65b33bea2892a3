"""DR-Tune: the classifier also has to be right on calibrated features of the pre-trained encoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coretune.spec.catalog.methods.transfer import DRTuneParameters
from coretune.tuning.arguments import full_precision
from coretune.tuning.calibration import calibrate, rotation_between
from coretune.tuning.copies import EncoderCopy
from coretune.tuning.heads import linear_classifier
from coretune.tuning.method import LossTerms, Method, Step
from coretune.tuning.queues import enqueue

EMPTY = -1
"""The label of a row of the queue that no sample has filled yet."""


class DRTune(Method):
    """Distribution regularisation with semantic calibration (Zhou, Chen, Huang, ICCV 2023, arXiv 2308.12058).

        L = 1/(n + K) [ Σ_{i<=n} ℓ(g(z_i), y_i) + Σ_{k<=K} ℓ(g(ẑ_k), y_k) ],    ℓ the cross-entropy, g the classifier

    z_i are the live features of a batch, ẑ_k calibrated features of K past samples, by the encoder as it was before
    fine-tuning; a queue keeps these and the fine-tuned features of the same images (see `calibrate` for ẑ). A batch
    joins the queue, and the oldest rows leave it, once its loss is computed. No gradient goes through ẑ. While the
    queue fills, the rows that it has stand for all K: their mean keeps the weight K / (n + K), and a batch its own.

    The mean over n + K rows leaves a batch n / (n + K) of the weight, and the backbone that part of CE-tuning's
    gradient: 1/33 at n = 64 and K = 2048. The authors' learning rates are 0.33 for the classifier and 0.01 for the
    backbone, which hardly moves then. The defaults here are 1 for the backbone and 0.03 for the classifier, so that
    both move as in CE-tuning at 0.03: one rate for both that suits the backbone is too much for the classifier.
    `train: {lr: 0.01, head_lr: 33}` is the authors'.

    The rotation follows from the queue after every `rotation_every`-th optimiser step, counted over the whole
    training, and is used until the next; at first it is the identity.

    The released code (weeknan/DR-Tune) differs: before the first step it fills the queue by a pass over the images,
    with pre-trained features in place of the fine-tuned ones too; it rotates in every tenth iteration of an epoch
    only, and leaves out the rotation in the nine others; where the rows leave the rotation open, it takes what the
    decomposition happens to return; all features of a class with a single row are moved by one and the same number
    (a dimension is lost there); its classifier starts from N(0, 0.01²).

    Args:
        params: Size of the queue, steps between rotations.
        features: Width d of the backbone's features.
        classes: Number of classes C.

    Attributes:
        pretrained_queue: (K, d) features by the pre-trained encoder, in evaluation mode.
        tuned_queue: (K, d) features of the same images by the encoder as it was then.
        label_queue: (K,) int64 labels, `EMPTY` where there is no row yet.
        pointer: () int64, where the oldest row is.
        rotation: (d, d), applied from the right.
        pretrained: Copy of the initial encoder, made by `prepare`.
    """

    classifier: nn.Linear
    pretrained_queue: Tensor
    tuned_queue: Tensor
    label_queue: Tensor
    pointer: Tensor
    rotation: Tensor

    def __init__(self, params: DRTuneParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self.classifier = linear_classifier(features, classes)
        self.register_buffer("pretrained_queue", torch.zeros(params.queue, features))
        self.register_buffer("tuned_queue", torch.zeros(params.queue, features))
        self.register_buffer("label_queue", torch.full((params.queue,), EMPTY))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.register_buffer("rotation", torch.eye(features))
        self.pretrained: EncoderCopy | None = None
        self._steps = 0

    def prepare(self, encoder: nn.Module) -> None:
        """Copies the initial encoder."""
        self.pretrained = EncoderCopy(encoder, resting=True)

    def loss(self, step: Step) -> LossTerms:
        """Returns the mean cross-entropy over the batch and the K rows, computed in float32 also under autocast.

        Returns:
            Terms `cross_entropy`, the mean over the batch, and `regularisation`, the mean over the queue (0 while it
            is empty), in nats.

        Raises:
            RuntimeError: `prepare` was not called.
        """
        if self.pretrained is None:
            raise RuntimeError("DRTune.loss before DRTune.prepare(encoder): there is no pre-trained encoder yet")
        dtype, count = self.rotation.dtype, step.labels.shape[0]
        # Copied, because the backward pass needs the labels as they were.
        labels = torch.cat([step.labels, self.label_queue])
        with full_precision(step.features.device):
            scale = step.features.detach().to(dtype).norm(dim=1).mean()
            calibrated = scale * self._calibrated()
        logits = self.classifier(torch.cat([step.features, calibrated.to(step.features.dtype)]))
        losses = F.cross_entropy(logits.to(dtype), labels, reduction="none", ignore_index=EMPTY)
        batch = losses[:count].mean()
        queue = losses[count:].sum() / (self.label_queue != EMPTY).sum().clamp_min(1)
        if self.training:
            earlier = self.pretrained(step.views[0], step.encode)
            enqueue(
                self.pointer,
                (self.pretrained_queue, earlier),
                (self.tuned_queue, step.features.detach()),
                (self.label_queue, step.labels),
            )
        size = self.params.queue
        return LossTerms(
            total=(count * batch + size * queue) / (count + size),
            terms={"cross_entropy": batch.detach(), "regularisation": queue.detach()},
        )

    @torch.no_grad()
    def after_step(self, encoder: nn.Module) -> None:
        """Computes the rotation anew after every `rotation_every`-th step."""
        self._steps += 1
        if self._steps % self.params.rotation_every == 0:
            weights = (self.label_queue != EMPTY).to(self.rotation.dtype)
            source, target = F.normalize(self.pretrained_queue, dim=1), F.normalize(self.tuned_queue, dim=1)
            self.rotation.copy_(rotation_between(source, target, weights))

    def get_extra_state(self) -> Tensor:
        """Returns the number of finished steps; a buffer of it would have to be read from the device to be used."""
        return torch.tensor(self._steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Takes what `get_extra_state` returned."""
        self._steps = int(state)

    @torch.no_grad()
    def _calibrated(self) -> Tensor:
        return calibrate(
            self.pretrained_queue, self.tuned_queue, self.label_queue, self.rotation, self.classifier.weight
        )
