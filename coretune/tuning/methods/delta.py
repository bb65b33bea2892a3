"""DELTA: the feature maps are held near those of the backbone before fine-tuning."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coretune.spec.catalog.methods.regularisers import DeltaParameters
from coretune.tuning.arguments import computing_dtype, full_precision
from coretune.tuning.copies import EncoderCopy
from coretune.tuning.feature_maps import FeatureMaps, Maps, joined, stage_ends
from coretune.tuning.method import LossTerms, Step
from coretune.tuning.methods.cross_entropy import CrossEntropy
from coretune.tuning.penalties import half_squared_norm


class Delta(CrossEntropy):
    """Cross-entropy with DELTA's penalty (Li et al., ICLR 2019, arXiv 1901.09229), all channels weighted equally.

        L = CE + α/n Σ_i D(x_i) + β/2 ‖w_head‖²,    D(x) = Σ_l Σ_c 1/C_l ‖FM_lc(w, x) − FM_lc(w⁰, x)‖²

    FM_lc is channel c of C_l of the feature map of layer l; the layers are the last convolutions of the last stages
    (`stage_ends`), before batch norm. w⁰ is the backbone before fine-tuning; as in the authors' script it rests in
    evaluation mode, while the live one normalises by its batch, so that D is not 0 at the start. The images are the
    augmented ones. The recipe's weight decay is off, as in the script. The live maps are taken from the training's own
    forward pass, so they stay in memory for the whole batch, also with a micro-batch.

    What differs:
    - The paper sums cross-entropy and penalty over the same samples; here both are means, so that α keeps its meaning.
      The authors' script adds a penalty that is summed over a batch of 64 to a mean cross-entropy, and multiplies each
      layer by C_l/(2 H_l W_l): at one α it is 32 C_l/(H_l W_l) times as strong, for ResNet-50 at 224 pixels from 2.6
      (first stage) to 1,337 (last). Transfer-Learning-Library does the same with batches of 48.
    - The paper's channel weights are a softmax, 1/C_l on average, of how much the loss of a classifier that was trained
      on the frozen net rises without the channel. That takes a training of its own and a forward pass per channel
      (3,840 for ResNet-50). The script divides the standardised rises by 5 before the softmax, so that most of its
      weights are near equal ones.

    Args:
        params: α, β, number of layers.
        features: Width d of the backbone's features.
        classes: Number of classes C.

    Attributes:
        source: The backbone before fine-tuning, made by `prepare`.
    """

    compilable = False

    def __init__(self, params: DeltaParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self.source: EncoderCopy | None = None
        self._maps: FeatureMaps | None = None

    def prepare(self, encoder: nn.Module) -> None:
        """Copies the initial encoder, and listens to the feature maps of the trained one.

        Args:
            encoder: The one that `Step.encode` runs.

        Raises:
            RequestError: It has no feature maps.
        """
        self.source = EncoderCopy(encoder, resting=True)
        self._maps = FeatureMaps(encoder, stage_ends(encoder, self.params.layers))

    def mix(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> None:
        """Mixes nothing: it is called before a batch is encoded, and feature maps are collected from then on."""
        if self._maps is not None:
            self._maps.start()

    def loss(self, step: Step) -> LossTerms:
        """Returns the mean cross-entropy in nats plus both penalties.

        Returns:
            Terms `cross_entropy`, `distance` (mean of D over the samples) and `head` (½ ‖w_head‖²).

        Raises:
            RuntimeError: `prepare` was not called, or the features were not encoded after `mix`.
        """
        if self.source is None or self._maps is None:
            raise RuntimeError("Delta.loss before Delta.prepare(encoder): there is no frozen backbone yet")
        plain = super().loss(step)
        distance = step.gather(self._distances(self.source, self._maps, step)).mean()
        head = half_squared_norm(self.classifier.parameters())
        return LossTerms(
            total=plain.total + self.params.alpha * distance + self.params.beta * head,
            terms={**plain.terms, "distance": distance.detach(), "head": head.detach()},
        )

    def _distances(self, source: EncoderCopy, maps: FeatureMaps, step: Step) -> Tensor:
        """Returns D (m,) of the images that this worker encodes."""
        images = step.views[0]
        live = maps.take(images.shape[0])
        with maps.aside() as calls:
            source(images, step.encode)
        frozen = joined(calls)
        return map_distances(live or frozen, frozen)


def map_distances(live: Maps, frozen: Maps) -> Tensor:
    """Squared distances of feature maps, D_i = Σ_l Σ_c 1/C_l ‖live_ilc − frozen_ilc‖² for each sample i.

    Computed in float32 (float64 for float64), also under autocast.

    Args:
        live: (n, C_l, H_l, W_l) by layer l.
        frozen: The same shapes.

    Returns:
        (n,), attached to the graph of both.
    """
    with full_precision(live[0].device):
        distances = [
            (one.to(computing_dtype(one)) - other.to(computing_dtype(one))).square().sum(dim=(2, 3)).mean(dim=1)
            for one, other in zip(live, frozen, strict=True)
        ]
        return torch.stack(distances).sum(dim=0)
