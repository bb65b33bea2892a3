"""L2-SP: the weights are held near those that fine-tuning starts from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coretune.spec.catalog.methods.regularisers import L2SPParameters
from coretune.tuning.method import LossTerms, Step
from coretune.tuning.methods.cross_entropy import CrossEntropy
from coretune.tuning.optimizer import is_norm_or_bias
from coretune.tuning.penalties import as_vector, half_squared_norm


class L2SP(CrossEntropy):
    """Cross-entropy with L2-SP of Li, Grandvalet and Davoine (ICML 2018, arXiv 1802.01483).

        L = CE + α/2 ‖w − w⁰‖² + β/2 ‖w_head‖²

    w are the parameters of the backbone, w⁰ what they were before fine-tuning, w_head those of the classifier. As the
    paper speaks of all parameters of the network, so do we by default: norm layers' scales and shifts and biases too
    (`penalised: all`; also Transfer-Learning-Library). The authors' script penalises what it calls weights alone, and
    leaves the others free (`penalised: weights`). Running statistics of batch norm are no parameters. The recipe's
    weight decay is off, since the penalty takes its place.

    A batch's loss is the weighted mean of its contrast batches' losses, so the penalties count once per step.

    Args:
        params: α, β, and which parameters count.
        features: Width d of the backbone's features.
        classes: Number of classes C.

    Attributes:
        start: (P,) w⁰, set by `prepare`.
    """

    start: Tensor

    def __init__(self, params: L2SPParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.params = params
        self.register_buffer("start", torch.zeros(0))
        # In a tuple, since an attribute would make the encoder a part of this module too.
        self._encoder: tuple[nn.Module, ...] = ()

    def prepare(self, encoder: nn.Module) -> None:
        """Remembers the initial encoder's parameters.

        Args:
            encoder: The one that is trained.
        """
        self._encoder = (encoder,)
        self.start = as_vector(self._penalised(encoder)).detach()

    def loss(self, step: Step) -> LossTerms:
        """Returns the mean cross-entropy in nats plus both penalties.

        Returns:
            Terms `cross_entropy`, `drift` (½ ‖w − w⁰‖²) and `head` (½ ‖w_head‖²), before α and β.

        Raises:
            RuntimeError: `prepare` was not called.
        """
        if not self._encoder:
            raise RuntimeError("L2SP.loss before L2SP.prepare(encoder): there are no weights to start from yet")
        plain = super().loss(step)
        drift = half_squared_norm(self._penalised(self._encoder[0]), self.start)
        head = half_squared_norm(self._penalised(self.classifier))
        return LossTerms(
            total=plain.total + self.params.alpha * drift + self.params.beta * head,
            terms={**plain.terms, "drift": drift.detach(), "head": head.detach()},
        )

    def _penalised(self, module: nn.Module) -> list[Tensor]:
        if self.params.penalised == "all":
            return list(module.parameters())
        return [
            parameter
            for owner in module.modules()
            for name, parameter in owner.named_parameters(recurse=False)
            if not is_norm_or_bias(owner, name)
        ]
