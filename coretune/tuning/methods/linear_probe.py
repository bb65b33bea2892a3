"""The linear probe."""

from __future__ import annotations

from torch import nn

from coretune.tuning.methods.cross_entropy import CrossEntropy


class LinearProbe(CrossEntropy):
    """Cross-entropy of a linear classifier on a backbone that rests.

    The backbone keeps its weights, and is in evaluation mode, so that its batch norm keeps the pre-trained statistics
    (as in MoCo's linear evaluation, He, Fan, Wu, Xie, Girshick, CVPR 2020, arXiv 1911.05722, section 4.1). Its images
    are augmented like those of every other method. The declared recipe trains the classifier at 10 times the common
    learning rate.

    Args:
        params: None are needed.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    def prepare(self, encoder: nn.Module) -> None:
        """Leaves the backbone out of the optimiser, and so out of weight decay."""
        encoder.requires_grad_(False)

    def frozen(self, progress: float) -> bool:
        """Returns True: the backbone rests in every step."""
        return True
