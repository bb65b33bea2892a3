"""Bi-tuning: cross-entropy, and two contrasts with a queue of keys for each class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coretune.spec.catalog.methods.contrast import BiTuningParameters
from coretune.tuning.arguments import computing_dtype, full_precision
from coretune.tuning.copies import EncoderCopy, follow, frozen_copy
from coretune.tuning.heads import ProjectionHead, linear_classifier
from coretune.tuning.losses import soft_cross_entropy
from coretune.tuning.method import LossTerms, Method, Step


class BiTuning(Method):
    """L = L_ce + η (L_cce + L_ccl) of Zhong, Ma, Wang, Kou and Long (ECML PKDD 2023, arXiv 2011.06182).

        L_cce = −1/n Σ_i 1/|P_i| Σ_{h∈P_i} log exp(w_{y_i}·h/τ) / Σ_{h'∈A_i} exp(w_{y_i}·h'/τ)    on the classifier
        L_ccl = −1/n Σ_i 1/|P_i| Σ_{z∈P_i} log exp(z_i·z/τ) / Σ_{z'∈A_i} exp(z_i·z'/τ)            on the projector

    A_i is one entry of i itself and all keys in the queue, P_i that entry and the keys of i's class. The own entry is
    the query's h_i in L_cce, and in L_ccl the z of the key: of i's second view by a copy of the encoder and the
    projection head that follows with momentum m. h is the feature with a 1 appended, w_c the classifier's weights of
    class c with its bias appended, z the projection, all scaled to unit length. Gradients reach queries and w, no key.

    In training mode a batch's keys replace the oldest K of their class once its loss is computed. Places that were
    never filled are seen by nobody, so that both contrasts are defined while the queue fills: with nothing in it, 0.

    Cost: a second view of every image, and a second forward pass without gradient, so about 4/3 of CE-tuning's
    arithmetic; the queue holds C K (d + 1 + projection_dim) numbers.

    The released code (thuml/Transfer-Learning-Library) differs: its queue starts with random vectors that count as
    keys, w gets no gradient from L_cce, the loss is shifted by the constant −2 log(K + 1), and the projection is one
    linear layer; here it is the head of MoCo-v2. Its learning rates are a tenth for the backbone: `head_lr` here.

    Args:
        params: η, τ, m, K, and the projection head's widths.
        features: Width d of the backbone's features.
        classes: Number of classes C.

    Attributes:
        hidden_keys: (C K, d + 1) keys h, K rows for each class in turn.
        projected_keys: (C K, projection_dim) keys z.
        enqueued: (C,) int64, how many keys of a class have come so far; the next goes to row `enqueued` mod K of its.
        key_encoder: Copy of the encoder, made by `prepare`.
    """

    views = 2
    classifier: nn.Linear
    hidden_keys: Tensor
    projected_keys: Tensor
    enqueued: Tensor

    def __init__(self, params: BiTuningParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self.classifier = linear_classifier(features, classes)
        self.projector = ProjectionHead(features, params.projection_dim, params.projection_hidden)
        self.key_projector = frozen_copy(self.projector)
        self.key_encoder: EncoderCopy | None = None
        self.register_buffer("hidden_keys", torch.zeros(classes * params.queue, features + 1))
        self.register_buffer("projected_keys", torch.zeros(classes * params.queue, params.projection_dim))
        self.register_buffer("enqueued", torch.zeros(classes, dtype=torch.int64))

    def prepare(self, encoder: nn.Module) -> None:
        """Copies the initial encoder for the keys.

        Args:
            encoder: The one that `Step.encode` runs.
        """
        self.key_encoder = EncoderCopy(encoder)

    def loss(self, step: Step) -> LossTerms:
        """Returns the loss of one contrast batch.

        Returns:
            Terms `cross_entropy`, `classifier_contrast` (L_cce) and `category_contrast` (L_ccl), in nats.

        Raises:
            RuntimeError: `prepare` was not called.
        """
        logits = self.classifier(step.features)
        cross_entropy = F.cross_entropy(logits.to(computing_dtype(logits)), step.labels)
        queries = self.projector(step.features)
        hidden_keys, projected_keys = self._keys(step)
        with full_precision(queries.device):
            weights = F.normalize(torch.cat([self.classifier.weight, self.classifier.bias[:, None]], dim=1), dim=1)
            own = weights[step.labels]
            hidden = _with_one(step.features)
            classifier_contrast = self._contrast(own, hidden, self.hidden_keys, step.labels)
            category_contrast = self._contrast(queries, projected_keys, self.projected_keys, step.labels)
        if self.training:
            self._enqueue(hidden_keys, projected_keys, step.labels)
        terms = {
            "cross_entropy": cross_entropy,
            "classifier_contrast": classifier_contrast,
            "category_contrast": category_contrast,
        }
        return LossTerms(
            total=cross_entropy + self.params.eta * (classifier_contrast + category_contrast),
            terms={name: value.detach() for name, value in terms.items()},
        )

    @torch.no_grad()
    def after_step(self, encoder: nn.Module) -> None:
        """Moves the key encoder and its projection: key ← m key + (1 − m) trained. Batch-norm buffers are its own."""
        if self.key_encoder is not None:
            self.key_encoder.follow(encoder, self.params.momentum)
            follow(self.key_projector, self.projector, self.params.momentum)

    @torch.no_grad()
    def _keys(self, step: Step) -> tuple[Tensor, Tensor]:
        """Returns the keys of the second view, h (n, d + 1) and z (n, projection_dim)."""
        if self.key_encoder is None:
            raise RuntimeError("BiTuning.loss before BiTuning.prepare(encoder): there is no key encoder yet")
        features = self.key_encoder(step.views[1], step.encode)
        return _with_one(features), self.key_projector(features)

    def _contrast(self, anchors: Tensor, own: Tensor, queue: Tensor, labels: Tensor) -> Tensor:
        """Returns the contrast of anchors (n, D) with their own entries (n, D) and a queue (C K, D)."""
        place = torch.arange(queue.shape[0], device=labels.device)
        classes = place // self.params.queue
        seen = place % self.params.queue < self.enqueued[classes]
        positive = F.pad(seen & (labels[:, None] == classes), (1, 0), value=True).to(own.dtype)
        # Copied, because the backward pass needs the queue as it was.
        similarity = torch.cat([(anchors * own).sum(dim=1, keepdim=True), anchors @ queue.clone().T], dim=1)
        # A finite floor, since a target of 0 times −inf were NaN.
        logits = (similarity / self.params.temperature).masked_fill(
            ~F.pad(seen, (1, 0), value=True), torch.finfo(own.dtype).min
        )
        return soft_cross_entropy(logits, positive / positive.sum(dim=1, keepdim=True), validate=False)

    @torch.no_grad()
    def _enqueue(self, hidden_keys: Tensor, projected_keys: Tensor, labels: Tensor) -> None:
        order = torch.arange(labels.shape[0], device=labels.device)
        earlier = ((labels[:, None] == labels) & (order[:, None] > order)).sum(dim=1)
        place = labels * self.params.queue + (self.enqueued[labels] + earlier) % self.params.queue
        # With more than K samples of a class some share a place: all of them write the key of the last.
        last = torch.where(place[:, None] == place, order, -1).amax(dim=1)
        self.hidden_keys.index_copy_(0, place, hidden_keys[last].to(self.hidden_keys.dtype))
        self.projected_keys.index_copy_(0, place, projected_keys[last].to(self.projected_keys.dtype))
        self.enqueued.index_add_(0, labels, torch.ones_like(labels))


def _with_one(features: Tensor) -> Tensor:
    """Returns unit vectors (n, d + 1) of features (n, d) with a 1 appended, which meets the classifier's bias."""
    return F.normalize(F.pad(features.to(computing_dtype(features)), (0, 1), value=1.0), dim=1)
