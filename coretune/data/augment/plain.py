"""Images as an evaluation sees them: resized and cut in the centre, nothing drawn."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from coretune.data.augment.pixels import to_float
from coretune.spec.augment import Sides


def plain(images: Tensor, sides: Sides | None = None) -> Tensor:
    """Returns images as an evaluation sees them, which is exactly `to_float` where nothing changes.

    It is torchvision's `Resize(resize, BICUBIC, antialias=True)` and `CenterCrop(crop)`, on float images.

    Args:
        images: (n, H, H, 3) uint8, or (n, 3, H, H) float in [0, 1].
        sides: What of them; the crop is at most as large as what it is cut from. None: all.

    Returns:
        (n, 3, crop, crop) float32 in [0, 1].
    """
    if sides is None:
        return to_float(images)
    start = round((sides.resize - sides.crop) / 2)
    inside = slice(start, start + sides.crop)
    return resize(to_float(images), sides.resize)[..., inside, inside]


def resize(images: Tensor, size: int) -> Tensor:
    """Resizes (n, 3, H, H) to (n, 3, size, size) by an antialiased bicubic filter, as packs are resized."""
    if images.shape[-1] == size:
        return images
    resized = functional.interpolate(images, (size, size), mode="bicubic", antialias=True, align_corners=False)
    return resized.clamp_(0, 1)
