"""LP-FT: linear probing, then fine-tuning."""

from __future__ import annotations

from typing import Self

from torch import nn

from coretune.nets.scale_shift import BATCH_NORM
from coretune.spec.catalog.methods.baselines import LpFtParameters
from coretune.tuning.methods.cross_entropy import CrossEntropy


class LpFt(CrossEntropy):
    """Cross-entropy, of the classifier alone first and then of everything.

    Kumar, Raghunathan, Jones, Ma and Liang (ICLR 2022, arXiv 2202.10054, section 3.4): a classifier that fits the
    pre-trained features before they move distorts them less. The backbone rests (evaluation mode, no gradient, no
    weight decay) in every step whose progress lies below `probe`.

    The authors train the two parts one after the other, each with a schedule of its own: logistic regression on stored
    features, then as many epochs as plain fine-tuning has. Here both share the epochs of one training, so that no
    method gets more than another; half and half is what the authors' runs on ImageNet have (5 epochs each). **One
    schedule runs over both parts**: with a cosine, fine-tuning begins at (1 + cos(π probe)) / 2 of the peak learning
    rate, half of it by default, and a warm-up falls to the classifier. Fine-tuning begins without momentum for the
    backbone, and with what the classifier has gathered.

    In the second part batch norm uses and updates the batch's statistics, as with every other method.
    `batch_norm: pretrained` keeps the pre-trained ones, as the authors' runs do (`use_net_val_mode`), since the
    classifier was fitted to features that were computed with them; scales and shifts are trained. That bears smaller
    learning rates only (the authors report 3e-7 where plain fine-tuning had 1e-3, on DomainNet).

    Args:
        params: Length of the first part, batch norm in the second.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    def __init__(self, params: LpFtParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self._resting: tuple[nn.Module, ...] = ()

    def prepare(self, encoder: nn.Module) -> None:
        """Notes the batch-norm layers that stay in evaluation mode.

        Args:
            encoder: Its layers, not copies of them, are what the model trains.
        """
        if self.params.batch_norm == "pretrained":
            # In a tuple, since an attribute would make them a part of this module too.
            self._resting = tuple(module for module in encoder.modules() if isinstance(module, BATCH_NORM))

    def train(self, mode: bool = True) -> Self:
        """Sets the mode, and puts the batch norm that keeps its statistics back into evaluation mode.

        The training loop calls this after it has put the model into training mode, before each epoch and on a resume.
        """
        for module in self._resting:
            module.eval()
        return super().train(mode)

    def frozen(self, progress: float) -> bool:
        """Returns whether the classifier is still trained alone."""
        return progress < self.params.probe
