"""torchvision's Swin transformers and ConvNeXts without their classifiers, from random weights."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torchvision.models import get_model

from coretune.nets.backbone import Backbone, Level, Sizes
from coretune.spec.frozen import Frozen


class Hierarchical(Backbone):
    """A patch embedding, then four stages, with a halving of the resolution between each two.

    State-dict keys are torchvision's with `stages.` in the place of `features.`, since the width of the features has
    that name here, and without the classifier.

    Args:
        name: Name in torchvision.
        stages: Patch embedding, stages and halvings, alternating.
        features: Width d of the last stage.
        sizes: Images that it takes.
        undecayed: What the names of the parameters end with that weight decay spares.
    """

    def __init__(self, name: str, stages: nn.Sequential, features: int, sizes: Sizes, undecayed: str) -> None:
        super().__init__()
        self.name = name
        self.features = features
        self.stages = stages
        self.levels = tuple(Level(f"stages.{2 * i + 1}", features // 8 * 2**i, 4 * 2**i) for i in range(4))
        self.sizes = sizes
        self.undecayed = frozenset(key for key, _ in self.named_parameters() if key.endswith(undecayed))

    def hidden(self, images: Tensor) -> Tensor:
        """Returns the last stage's output, in its own layout.

        Raises:
            RequestError: The backbone does not take images of this size.
        """
        self.sizes.check(self.name, *images.shape[2:])
        found: Tensor = self.stages(images)
        return found

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns what the four stages put out, in their own layout.

        Raises:
            RequestError: The backbone does not take images of this size.
        """
        self.sizes.check(self.name, *images.shape[2:])
        found: list[Tensor] = []
        hidden = images
        for index, stage in enumerate(self.stages):
            hidden = stage(hidden)
            if index % 2:
                found.append(hidden)
        return tuple(found)


class TorchvisionSwin(Hierarchical):
    """Swin transformer (Liu et al., ICCV 2021); features are the average of the normed tokens.

    Windows that a map does not fill are padded, so that other sizes than the paper's need no other weights.

    Args:
        name: Name in torchvision.
        params: Without effect: it has no parameters.
    """

    def __init__(self, name: str, params: Frozen) -> None:
        net = get_model(name, weights=None)
        sizes = Sizes(least=32, multiple=4)
        super().__init__(name, net.features, net.head.in_features, sizes, "relative_position_bias_table")
        self.norm = net.norm

    def forward(self, images: Tensor) -> Tensor:
        """Returns features (n, d) of normalised images (n, 3, H, W).

        Raises:
            RequestError: The images do not divide into patches, or are smaller than a position of the last stage.
        """
        found: Tensor = self.norm(self.hidden(images)).mean((1, 2))
        return found

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns what the four stages put out, before the last norm.

        Raises:
            RequestError: As `forward`.
        """
        return tuple(tokens.permute(0, 3, 1, 2) for tokens in super().maps(images))


class TorchvisionConvNeXt(Hierarchical):
    """ConvNeXt (Liu et al., CVPR 2022); features are globally averaged, then normed.

    The last norm's keys are torchvision's with `norm.` in the place of `classifier.0.`.

    Args:
        name: Name in torchvision.
        params: Without effect: it has no parameters.
    """

    def __init__(self, name: str, params: Frozen) -> None:
        net = get_model(name, weights=None)
        super().__init__(name, net.features, net.classifier[2].in_features, Sizes(least=32), "layer_scale")
        # It norms vectors; torchvision's has the same parameters, and norms maps.
        self.norm = nn.LayerNorm(self.features, eps=net.classifier[0].eps)

    def forward(self, images: Tensor) -> Tensor:
        """Returns features (n, d) of normalised images (n, 3, H, W).

        Raises:
            RequestError: The images are smaller than a position of the last stage.
        """
        found: Tensor = self.norm(self.hidden(images).mean((2, 3)))
        return found


swin_t = partial(TorchvisionSwin, "swin_t")
swin_s = partial(TorchvisionSwin, "swin_s")
swin_b = partial(TorchvisionSwin, "swin_b")
convnext_tiny = partial(TorchvisionConvNeXt, "convnext_tiny")
convnext_small = partial(TorchvisionConvNeXt, "convnext_small")
convnext_base = partial(TorchvisionConvNeXt, "convnext_base")
