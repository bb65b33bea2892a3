"""RIFLE: the classifier is begun anew from time to time, so that the backbone gets larger gradients."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from coretune.spec.catalog.methods.regularisers import RifleParameters
from coretune.tuning.heads import redraw
from coretune.tuning.methods.cross_entropy import CrossEntropy


class Rifle(CrossEntropy):
    """Cross-entropy with a classifier that is begun anew, RIFLE of Li et al. (ICML 2020, arXiv 2007.03349).

    The training is divided into `periods` of whole epochs, as equal as can be, the last among the longest. Before the
    first epoch of each period but the first the classifier is drawn as at the start of a training, and the optimiser
    forgets its momentum. Of a training with fewer epochs than periods each epoch is a period; one epoch is CE-tuning.

    What differs from the authors' script: it draws the classifier anew after the last period too, so that the net that
    it ends with has an untrained one; it keeps the momentum of the old one; it leaves out epochs until the periods are
    equal. Its learning rate is one cosine for backbone and classifier, as in our recipe. A cosine per period for the
    classifier alone is an option of the script, off by default, that does not exist here: every method has the one
    schedule, and the later a period, the lower the learning rate with which its classifier begins.

    Args:
        params: Number of periods.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    def __init__(self, params: RifleParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.periods = params.periods

    def start_epoch(self, epoch: int, epochs: int, generator: torch.Generator) -> Iterable[nn.Parameter]:
        """Draws the classifier anew where a period begins; returns its parameters then."""
        if epoch not in period_starts(epochs, self.periods):
            return ()
        redraw(self.classifier, generator)
        return tuple(self.classifier.parameters())


def period_starts(epochs: int, periods: int) -> frozenset[int]:
    """Returns the zero-based epochs with which periods begin, ⌊j E / N⌋ for j = 1 … N − 1, without epoch 0.

    Args:
        epochs: E, at least 1.
        periods: N, at least 1.
    """
    return frozenset(number * epochs // periods for number in range(1, periods)) - {0}
