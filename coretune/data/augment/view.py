"""A view of each image: all operations, one after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from coretune.data.augment.blur import blurred
from coretune.data.augment.colour import recolour
from coretune.data.augment.geometry import place
from coretune.data.augment.pixels import to_float
from coretune.spec.augment import AugmentSpec


def augment(images: Tensor, draws: Tensor, spec: AugmentSpec, size: int | None = None) -> Tensor:
    """Rotates, crops, flips, recolours and blurs each image by its own draws.

    The order is torchvision's usual one: rotation about the centre (bilinear; outside is filled by reflection, unless
    the spec says black), crop of the rotated image, flips, jitter of brightness, contrast, saturation, hue (in this
    order, unless the spec says shuffled), grey, blur. Without a crop the whole image is resized. The spec that changes
    nothing gives exactly `to_float`; flips alone are exact mirrors; a sample whose colours are left alone keeps its
    exact pixels.

    Args:
        images: (n, H, H, 3) uint8, or (n, 3, H, H) float in [0, 1].
        draws: (n, columns) uniform in [0, 1), on any device; the columns are those of `streams(spec)`, or more.
        spec: What to do.
        size: Side of the result; None keeps H.

    Returns:
        (n, 3, size, size) float32 in [0, 1], on the images' device.
    """
    size = images.shape[2] if size is None else size
    if not len(images):  # torch refuses to make a grid for none
        return to_float(images).new_zeros(0, 3, size, size)
    draws = draws.to(device=images.device, dtype=torch.float32)
    placed = place(images, draws, spec, size)
    return blurred(recolour(placed, draws, spec), draws, spec)
