"""DELTA: the feature maps are held near those of the backbone before fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coretune.spec.catalog.methods.regularisers import DeltaParameters
from coretune.tuning.ablation import channel_rises
from coretune.tuning.arguments import computing_dtype, full_precision
from coretune.tuning.copies import EncoderCopy
from coretune.tuning.feature_maps import FeatureMaps, Maps, channels_of, joined, stage_ends
from coretune.tuning.linear_fit import fit_linear
from coretune.tuning.method import LossTerms, Start, Step
from coretune.tuning.methods.cross_entropy import CrossEntropy
from coretune.tuning.penalties import half_squared_norm

FIT_IMAGES = 10_000
CHUNK = 64
SOFTNESS = 5.0


class Delta(CrossEntropy):
    """Cross-entropy with DELTA's penalty (Li et al., ICLR 2019, arXiv 1901.09229).

        L = CE + α/n Σ_i D(x_i) + β/2 ‖w_head‖²,    D(x) = Σ_l Σ_c W_lc ‖FM_lc(w, x) − FM_lc(w⁰, x)‖²

    FM_lc is channel c of C_l of the feature map of layer l; the layers are the last convolutions of the last stages
    (`stage_ends`), before batch norm. w⁰ is the backbone before fine-tuning; as in the authors' script it rests in
    evaluation mode, while the live one normalises by its batch, so that D is not 0 at the start. The images are the
    augmented ones. The recipe's weight decay is off, as in the script. The live maps are taken from the training's own
    forward pass, so they stay in memory for the whole batch, also with a micro-batch.

    The channel weights W_l, which add up to 1, follow from `weighting`:

    - `none`, our default since it costs nothing: W_lc = 1/C_l.
    - `ablation`, the paper's (section 3.3): W_l = softmax_c(R_lc), R_lc by how many nats the cross-entropy of a
      classifier on the frozen net rises, on average, when channel c of layer l is 0. A rise is mostly far below a nat,
      so that these weights are near equal for many channels.
    - `ablation_released`, the authors' script's: W_l = softmax_c((R_lc − mean R_l) / (5 std R_l)).

    The paper's net has a classifier of its own; a self-supervised one has none, so ours is a linear one, fitted by
    `fit_linear` to the frozen features of the labelled images, of 10,000 at most, without augmentation (the script:
    10 epochs of SGD on augmented ones). R_l is the mean over `ablation_images` of them. This is done once, before the
    first step, in evaluation mode and float32, with draws of its own, and kept with the state. **It costs a forward
    pass of those images per channel, of the layer's block and what follows it alone**: for ResNet-50's 3,840 channels
    that of 750 whole passes, about 190,000 images. It is not part of the time of steps, nor of `plan --cost`. Several
    workers all do all of it.

    What differs:
    - The paper sums cross-entropy and penalty over the same samples; here both are means, so that α keeps its meaning.
      **An α for a penalty that is summed over a batch of n beside a mean cross-entropy is n α here.** The authors'
      script does that with n = 64 and multiplies each layer by C_l/(2 H_l W_l): at one α it is 32 C_l/(H_l W_l) times
      as strong, for ResNet-50 at 224 pixels from 2.6 (first stage) to 1,337 (last). Transfer-Learning-Library does the
      same with batches of 48.
    - The script sets a convolution's weights to 0, which leaves its bias, if it has one; here the channel itself is 0.

    Args:
        params: α, β, number of layers, weighting.
        features: Width d of the backbone's features.
        classes: Number of classes C.

    Attributes:
        source: The backbone before fine-tuning, made by `prepare`.
        channel_weights: (Σ C_l,) W, layer by layer; equal ones before `begin`. There is none with `weighting: none`.
    """

    compilable = False
    channel_weights: Tensor

    def __init__(self, params: DeltaParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self.source: EncoderCopy | None = None
        self.looks_first = params.weighting != "none"
        self._channels: dict[str, int] = {}
        self._maps: FeatureMaps | None = None

    def prepare(self, encoder: nn.Module) -> None:
        """Copies the initial encoder, and listens to the feature maps of the trained one.

        Args:
            encoder: The one that `Step.encode` runs.

        Raises:
            RequestError: It has no feature maps.
        """
        self.source = EncoderCopy(encoder, resting=True)
        layers = stage_ends(encoder, self.params.layers)
        self._maps = FeatureMaps(encoder, layers)
        if self.looks_first:
            self._channels = channels_of(encoder, layers)
            equal = [torch.full((size,), 1 / size) for size in self._channels.values()]
            self.register_buffer("channel_weights", torch.cat(equal))

    @torch.no_grad()
    def begin(self, start: Start) -> Iterator[None]:
        """Weighs the channels by the labelled images."""
        labels, size = start.examples.labels, start.examples.labels.shape[0]
        chosen = torch.randperm(size, generator=start.generator)[:FIT_IMAGES]
        features = []
        for images in start.examples.images(chosen):
            features.append(start.encode(images))
            yield
        classifier = fit_linear(torch.cat(features), labels[chosen.to(labels.device)], self.classifier.out_features)
        chosen = chosen[: self.params.ablation_images]
        rises, seen = torch.zeros_like(self.channel_weights, dtype=torch.float64), 0
        for batch in start.examples.images(chosen):
            for images in torch.split(batch, CHUNK):
                own = labels[chosen[seen : seen + len(images)].to(labels.device)]
                seen, place = seen + len(images), 0
                for found in self._rises(start, classifier, images, own):
                    rises[place : place + len(found)] += found.sum(dim=1)
                    place += len(found)
                    yield
        parts = torch.split(rises / seen, list(self._channels.values()))
        released = self.params.weighting == "ablation_released"
        self.channel_weights.copy_(torch.cat([weights_of(part, released) for part in parts]))

    def _rises(self, start: Start, classifier: nn.Module, images: Tensor, labels: Tensor) -> Iterator[Tensor]:
        def losses(features: Tensor) -> Tensor:
            repeated = labels.repeat(len(features) // len(labels))
            return F.cross_entropy(classifier(features.double()), repeated, reduction="none")

        return channel_rises(start.encoder, start.encode, self._channels, images, losses, start.examples.rows)

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
        weights = torch.split(self.channel_weights, list(self._channels.values())) if self.looks_first else None
        return map_distances(live or frozen, frozen, weights)


def weights_of(rises: Tensor, released: bool) -> Tensor:
    """Returns the weights (C,) of a layer's channels, which add up to 1, by the rises (C,) of the loss without them.

    Args:
        rises: In nats.
        released: Whether they are scaled as in the authors' script: to mean 0 and standard deviation 1/5.
    """
    if released:
        std = rises.std(correction=0)
        rises = (rises - rises.mean()) / (SOFTNESS * torch.where(std > 0, std, 1.0))
    return torch.softmax(rises, dim=0)


def map_distances(live: Maps, frozen: Maps, weights: Sequence[Tensor] | None = None) -> Tensor:
    """Squared distances of feature maps, D_i = Σ_l Σ_c W_lc ‖live_ilc − frozen_ilc‖² for each sample i.

    Computed in float32 (float64 for float64), also under autocast.

    Args:
        live: (n, C_l, H_l, W_l) by layer l.
        frozen: The same shapes.
        weights: (C_l,) by layer l; None for 1/C_l.

    Returns:
        (n,), attached to the graph of both.
    """
    with full_precision(live[0].device):
        squares = [
            (one.to(computing_dtype(one)) - other.to(computing_dtype(one))).square().sum(dim=(2, 3))
            for one, other in zip(live, frozen, strict=True)
        ]
        if weights is None:
            distances = [square.mean(dim=1) for square in squares]
        else:
            distances = [square @ share.to(square) for square, share in zip(squares, weights, strict=True)]
        return torch.stack(distances).sum(dim=0)
