"""MoCo-v2: contrast of two views of an image against a queue of keys from a slowly moving encoder."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coretune.spec.catalog.pretraining import MoCoParameters
from coretune.tuning.arguments import full_precision
from coretune.tuning.copies import EncoderCopy, follow, frozen_copy
from coretune.tuning.heads import ProjectionHead
from coretune.tuning.method import LossTerms, Method, Step
from coretune.tuning.queues import enqueue

QUEUE_SEED = 20030


class MoCo(Method):
    """MoCo-v2 (Chen, Fan, Girshick, He, arXiv 2003.04297).

        L = −1/n Σ_i log exp(q_i·k_i/τ) / (exp(q_i·k_i/τ) + Σ_{u in queue} exp(q_i·u/τ))

    q comes from the first view by the trained encoder, k from the second by a copy of it that follows with momentum
    after every optimiser step; no gradient reaches keys. Both have a projection head (Linear, ReLU, Linear to unit
    vectors). In training mode a batch's keys replace the oldest of the queue once its loss is computed.

    A query could find its key by the batch statistics that both share. As in the paper, where each GPU is a group,
    keys are therefore shuffled into batch-norm groups of their own if `train.bn_group` is smaller than the contrast
    batch (`Step.encode_in_groups`). Otherwise a contrast batch is one group, with nothing to shuffle.

    Args:
        params: Temperature, momentum, queue size, width of the projection.
        features: Width d of the backbone's features.
        classes: Not used; 0.

    Attributes:
        queue: (K, projection_dim) unit vectors, at first random ones from a fixed generator.
        pointer: () int64, where the oldest key is.
        key_encoder: Copy of the encoder, made by `prepare`.
    """

    views = 2
    regroups = True
    queue: Tensor
    pointer: Tensor

    def __init__(self, params: MoCoParameters, *, features: int, classes: int = 0) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self.projector = ProjectionHead(features, params.projection_dim)
        self.key_projector = frozen_copy(self.projector)
        keys = torch.randn(params.queue, params.projection_dim, generator=torch.Generator().manual_seed(QUEUE_SEED))
        self.register_buffer("queue", F.normalize(keys, dim=1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))
        self.key_encoder: EncoderCopy | None = None

    def prepare(self, encoder: nn.Module) -> None:
        """Copies the initial encoder for the keys.

        Args:
            encoder: The one that `Step.encode` runs.
        """
        self.key_encoder = EncoderCopy(encoder)

    def loss(self, step: Step) -> LossTerms:
        """Returns InfoNCE in nats; term `contrastive`. Computed in float32, also under autocast.

        Raises:
            RuntimeError: `prepare` was not called.
        """
        queries = self.projector(step.features)
        keys = self._keys(step.views[1], step.encode_in_groups)
        with full_precision(queries.device):
            # Copied, because the backward pass needs the queue as it was.
            negatives = queries @ self.queue.clone().T
            positives = (queries * keys).sum(dim=1, keepdim=True)
            logits = torch.cat([positives, negatives], dim=1) / self.params.temperature
            total = F.cross_entropy(logits, torch.zeros_like(logits[:, 0], dtype=torch.int64))
        if self.training:
            enqueue(self.pointer, (self.queue, keys))
        return LossTerms(total=total, terms={"contrastive": total.detach()})

    @torch.no_grad()
    def after_step(self, encoder: nn.Module) -> None:
        """Moves the key encoder and its projection: key ← m key + (1 − m) trained. Batch-norm buffers are its own."""
        if self.key_encoder is not None:
            self.key_encoder.follow(encoder, self.params.momentum)
            follow(self.key_projector, self.projector, self.params.momentum)

    @torch.no_grad()
    def _keys(self, images: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        if self.key_encoder is None:
            raise RuntimeError("MoCo.loss before MoCo.prepare(encoder): there is no key encoder yet")
        keys: Tensor = self.key_projector(self.key_encoder(images, encode))
        return keys
