"""What a fine-tuning or pre-training method is: it sees features and labels, never the task's plumbing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from coretune.spec.frozen import Frozen


def _all_of_them(rows: Tensor) -> Tensor:
    return rows


@dataclass(frozen=True)
class Step:
    """What a method sees of one contrast batch.

    Attributes:
        features: (n, d) features of the first view, attached to the backbone's graph.
        labels: (n,) int64 classes; of no meaning in pre-training.
        views: The augmented images in [0, 1], one tensor (m, 3, H, W) per view: those that this worker encodes, which
            are all n with one worker, and may be none with several.
        encode: Images (m, 3, H, W) to features (n, d), through the model's normalisation and backbone: each worker
            puts its own in (all of them, if the method wants `whole_images`), all get all. Every worker has to call it
            alike.
        generator: CPU generator of this contrast batch alone, seeded by (seed, epoch, batch), so that a method's
            draws never shift the order of batches or the augmentation.
        epoch: Zero-based epoch.
        progress: Finished fraction of the training, in [0, 1).
        targets: (n, C) soft labels that `Method.mix` gave, or None.
        gather: Rows (m, ...) of the images that this worker encodes to rows (n, ...) of all of them; with one worker
            it returns what it gets. For what a method computes of images by itself.
        regroup: What `encode_in_groups` does where it is not `encode`, or None.
        domain: (n,) int64 in [0, D), which of the D domains that are trained on a sample is of; None where the data
            have none.
    """

    features: Tensor
    labels: Tensor
    views: tuple[Tensor, ...]
    encode: Callable[[Tensor], Tensor]
    generator: torch.Generator
    epoch: int
    progress: float
    targets: Tensor | None = None
    gather: Callable[[Tensor], Tensor] = _all_of_them
    regroup: Callable[[Tensor], Tensor] | None = None
    domain: Tensor | None = None

    def encode_in_groups(self, images: Tensor) -> Tensor:
        """Encodes as `encode` does, in batch-norm groups of other samples than those of the features.

        With `train.bn_group` smaller than the contrast batch, groups of that size are drawn by (seed, epoch, step), so
        that an image's features and those of its other view have statistics of different samples. Otherwise one group
        holds the whole contrast batch, and there is nothing to draw. For a method that says `regroups`.
        """
        return (self.regroup or self.encode)(images)


@dataclass(frozen=True)
class LossTerms:
    """A loss and what it is made of.

    Attributes:
        total: Scalar to minimise, attached to the graph.
        terms: Scalars to log, by name; not `loss`, which names the total. Kept on their device: reading one would
            wait for it.
        counts: Integer scalars that are summed over the training, e.g. anchors without a positive.
    """

    total: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)
    counts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Examples:
    """The images that a training trains on, without augmentation.

    Attributes:
        labels: (N,) int64 on the device; of no meaning in pre-training.
        images: (k,) int64 on the CPU, which of the N, to batches (m, 3, H, W) in [0, 1] of them in turn.
        rows: Images of a batch, at most: as many as an evaluation encodes at once.
    """

    labels: Tensor
    images: Callable[[Tensor], Iterator[Tensor]]
    rows: int


@dataclass(frozen=True)
class Start:
    """What a method may look at before the first step.

    Attributes:
        encoder: The initial encoder, in evaluation mode.
        encode: Images (m, 3, H, W) in [0, 1] to features (m, d), through the model's normalisation and the encoder.
        examples: The images that are trained on. Each of several workers sees all of them.
        generator: CPU generator of this call alone, seeded by the run's seed.
    """

    encoder: nn.Module
    encode: Callable[[Tensor], Tensor]
    examples: Examples
    generator: torch.Generator


class Method(nn.Module):
    """Base of all methods. Sub-modules are trained and buffers are saved together with the model.

    A method whose classifier is the first module that it makes starts from the same classifier as every other method
    of the same seed, so that methods are compared in pairs.

    Args:
        params: The method's declared parameters.
        features: Width d of the backbone's features.
        classes: Number of classes C; 0 in pre-training.

    Attributes:
        views: How many augmented views of each image the method needs.
        whole_images: Whether `mix` and `loss` need the images of all samples also where several workers encode them;
            else each worker makes only its own.
        regroups: Whether `loss` encodes images by `Step.encode_in_groups`, and none by `Step.encode`.
        compilable: Whether the backbone may be compiled. Not where the method listens to layers by forward hooks:
            torch.compile takes code that it made for an earlier encoder without hooks for one with hooks, too.
        looks_first: Whether `begin` is called before the first step.
        classifier: The head that predicts classes, (n, d) → (n, C), or None in pre-training.
    """

    views: int = 1
    whole_images: bool = False
    regroups: bool = False
    compilable: bool = True
    looks_first: bool = False

    def __init__(self, params: Frozen, *, features: int, classes: int) -> None:
        super().__init__()
        self.classifier: nn.Module | None = None

    def tell_domains(self, number: int) -> None:
        """Called once, before `prepare`, where the data have domains.

        Parameters with a true `needs_domains` are refused on other data, so that their method sees a domain of every
        sample (`Step.domain`).

        Args:
            number: How many domains D are trained on; a held-out one is none of them.
        """

    def notes(self, counts: Mapping[str, int]) -> list[str]:
        """Returns what a record says of the counts of a training; by default each that is not zero.

        Args:
            counts: Sums of `LossTerms.counts` over the training, by name.
        """
        return [f"{name}: {count}" for name, count in counts.items() if count]

    def prepare(self, encoder: nn.Module) -> None:
        """Called once, with the initial encoder, before the optimiser is made: freeze, copy, remember."""

    def begin(self, start: Start) -> Iterator[None]:
        """Looks at the images before the first step, in evaluation mode; yields now and then, as a sign of life.

        What it learns has to lie in buffers or the extra state: a resume after the first step does not call it again.
        An earlier one does, from the start, so that it may not depend on what it did before.
        """
        return iter(())

    def start_epoch(self, epoch: int, epochs: int, generator: torch.Generator) -> Iterable[nn.Parameter]:
        """Called before each epoch; returns the parameters that it has set anew, whose momentum is then forgotten.

        Args:
            epoch: Zero-based epoch that begins.
            epochs: Number of epochs in all.
            generator: CPU generator of this call alone, seeded by (seed, epoch).
        """
        return ()

    def frozen(self, progress: float) -> bool:
        """Returns whether the backbone rests in this step: in evaluation mode, without a gradient."""
        return False

    def mix(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor] | None:
        """Returns what is encoded in place of the images of a contrast batch, and its soft labels.

        A method mixes all contrast batches or none: None each time.

        Args:
            images: (n, 3, H, W) in [0, 1], the first view; with several workers, those that this one encodes unless the
                method wants `whole_images`.
            labels: (n,) int64.
            generator: That of the step, before `loss` draws from it.
        """
        return None

    def loss(self, step: Step) -> LossTerms:
        """Returns the loss of one contrast batch, as a mean over its samples."""
        raise NotImplementedError(type(self).__name__)

    def after_step(self, encoder: nn.Module) -> None:
        """Called after every optimiser step."""
