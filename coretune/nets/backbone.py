"""The one contract of all backbones: normalised images in, features out, and what others need to know of them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from coretune.errors import RequestError
from coretune.nets.model import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class Level:
    """Feature maps of one resolution.

    Attributes:
        name: The sub-module that they come from; of several, the last.
        channels: C of (n, C, H, W).
        stride: Pixels of the image per position; the map of s pixels has ⌈s / stride⌉ or ⌊s / stride⌋ positions.
    """

    name: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Sizes:
    """Which images a backbone takes.

    Attributes:
        least: Smallest side in pixels.
        multiple: What each side must be a multiple of.
        only: The one side of the square images that it takes; None if it takes others.
    """

    least: int = 1
    multiple: int = 1
    only: int | None = None

    def check(self, name: str, height: int, width: int) -> None:
        """Refuses images of other sizes.

        Raises:
            RequestError: The message says which sizes the backbone of this name takes.
        """
        sides = (height, width)
        if all(side == self.only if self.only else side >= self.least and side % self.multiple == 0 for side in sides):
            return
        taken = f"of {self.only}×{self.only} pixels" if self.only else f"with sides of at least {self.least} pixels"
        if not self.only and self.multiple > 1:
            taken += f" that are multiples of {self.multiple}"
        raise RequestError(
            f"backbone {name} takes images {taken}, got {height}×{width}; data.image_size sets them, or input_size"
        )


class Backbone(nn.Module):
    """Normalised images (n, 3, H, W) → features (n, d), in evaluation mode also of n = 0 images.

    A backbone sets `features` and, where its own differ from those below, the other attributes. Everything random in
    it is drawn from torch's global generator when it is made. In evaluation mode the features of an image do not
    depend on the others in its batch.

    Attributes:
        features: Width d of the features.
        levels: Resolutions of its feature maps, finest first; empty if it has none.
        mean: Mean by channel that it wants images normalised with.
        std: Standard deviation by channel, likewise.
        input_size: Side in pixels of the images that it was made for.
        sizes: Sides that it takes.
        map_sizes: Sides that `maps` takes, where they are others; None where they are those.
        undecayed: Names of parameters that are neither biases nor of norm layers, and that weight decay spares as it
            does these where `decay_norm_and_bias` is off: position embeddings, class tokens, layer scales.
    """

    features: int
    levels: tuple[Level, ...] = ()
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    input_size: int = 224
    sizes: Sizes = Sizes()
    map_sizes: Sizes | None = None
    undecayed: frozenset[str] = frozenset()

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the feature maps (n, C, H / stride, W / stride) of normalised images, one for each of `levels`.

        Raises:
            RequestError: It has none.
        """
        raise RequestError(f"{type(self).__name__} has no feature maps by level")


class LevelledBackbone(Backbone):
    """A stem, then the modules that `levels` names, one after another, then a global average."""

    def stem(self, images: Tensor) -> Tensor:
        """Returns what the first level sees of normalised images."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """Returns features (n, d) of normalised images (n, 3, H, W)."""
        hidden = self.stem(images)
        for level in self.levels:
            hidden = self.get_submodule(level.name)(hidden)
        return hidden.mean((2, 3))

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the outputs of the levels."""
        found: list[Tensor] = []
        hidden = self.stem(images)
        for level in self.levels:
            hidden = self.get_submodule(level.name)(hidden)
            found.append(hidden)
        return tuple(found)
