"""torchvision's Swin transformers and ConvNeXts: the same tensors by torchvision's names and by this package's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

_NAMES = (("features.", "stages."), ("classifier.0.", "norm."))
"""What keys begin with: torchvision's, and `nets.torchvision_hierarchical`'s."""


def renamed_stages(wanted: Iterable[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors by the names that are wanted; those of other networks as they are.

    Args:
        wanted: Keys of the backbone.
        tensors: The file's.
    """
    if not any(key.startswith("stages.") for key in wanted):
        return dict(tensors)
    return {_ours(key): tensor for key, tensor in tensors.items()}


def _ours(key: str) -> str:
    return next((ours + key.removeprefix(theirs) for theirs, ours in _NAMES if key.startswith(theirs)), key)
