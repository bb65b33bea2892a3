"""SSF: only scales and shifts after the layers of a resting backbone are tuned, and the classifier."""

from __future__ import annotations

from torch import nn

from coretune.nets.scale_shift import insert_scale_shift
from coretune.spec.catalog.methods.transfer import SSFParameters
from coretune.tuning.methods.cross_entropy import CrossEntropy


class SSF(CrossEntropy):
    """Scaling and shifting features (Lian, Zhou, Feng, Wang, NeurIPS 2022, arXiv 2210.08823).

        L = 1/n Σ_i ℓ(g(z_i), y_i),    x ← γ ⊙ layer(x) + β after each convolution, linear and norm layer (eq. 3)

    Only γ, β and the classifier g are trained; they start from N(1, std²) and N(0, std²). `nets.scale_shift.merged`
    folds γ and β into the layers of a trained backbone, which then costs and looks like the original.

    The authors' nets have layer norm alone. Here batch norm rests with all else that is pre-trained: it uses its
    running statistics and keeps them, in training too, so that what is trained is what is evaluated and merged.

    The recipe is the authors' for small data sets: AdamW with learning rate 5e-3 (theirs are between 1e-3 and 1e-2)
    and weight decay 0.05 on the classifier alone (γ, β and biases are spared), but without their ten epochs of warm-up
    and their average of weights.

    Args:
        params: The spread of the initial scales and shifts.
        features: Width d of the backbone's features.
        classes: Number of classes C.
    """

    def __init__(self, params: SSFParameters, *, features: int, classes: int) -> None:
        super().__init__(params, features=features, classes=classes)
        self.init_std = params.init_std

    def prepare(self, encoder: nn.Module) -> None:
        """Puts a scale and a shift after every layer, and lets the rest of the encoder rest.

        Raises:
            RequestError: The encoder has no layer to scale, or one that hides its output.
        """
        insert_scale_shift(encoder, self.init_std)
