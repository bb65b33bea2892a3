"""Vision transformers: the same tensors by timm's names and by torchvision's, and grids of other sizes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from coretune.nets.position_embedding import resize_position_embedding

_BLOCK = ("blocks.{}.", "encoder.layers.encoder_layer_{}.")

_OUTSIDE = (
    ("cls_token", "class_token"),
    ("pos_embed", "encoder.pos_embedding"),
    ("patch_embed.proj.weight", "conv_proj.weight"),
    ("patch_embed.proj.bias", "conv_proj.bias"),
    ("norm.weight", "encoder.ln.weight"),
    ("norm.bias", "encoder.ln.bias"),
)

_INSIDE = (
    ("norm1.", "ln_1."),
    # Both are q, k and v below one another, (3d, d); only the joint is written in another way.
    ("attn.qkv.", "self_attention.in_proj_"),
    ("attn.proj.", "self_attention.out_proj."),
    ("norm2.", "ln_2."),
    ("mlp.fc1.", "mlp.0."),
    ("mlp.fc2.", "mlp.3."),
)
"""Names within a block: timm's, torchvision's. torchvision's `mlp.linear_1.` of before 0.13 is taken as well."""

_OLD = {"mlp.linear_1.": "mlp.0.", "mlp.linear_2.": "mlp.3."}

POSITIONS = ("pos_embed", "encoder.pos_embedding")


def renamed_as(wanted: Iterable[str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a vision transformer's tensors by the names that are wanted, timm's or torchvision's; others as they are.

    Args:
        wanted: Keys of the backbone.
        tensors: The file's, by either names.
    """
    theirs = {key: theirs_of(key) for key in tensors}
    if "class_token" in set(wanted):
        return {theirs[key]: tensor for key, tensor in tensors.items()}
    if "cls_token" in set(wanted):
        return {ours_of(theirs[key]): tensor for key, tensor in tensors.items()}
    return dict(tensors)


def theirs_of(key: str) -> str:
    """Returns torchvision's name for timm's."""
    outside = dict(_OUTSIDE)
    if key in outside:
        return outside[key]
    block = re.match(r"(?:blocks\.|encoder\.layers\.encoder_layer_)(\d+)\.(.+)", key)
    if block is None:
        return key
    rest = next((new + block[2].removeprefix(old) for old, new in _OLD.items() if block[2].startswith(old)), block[2])
    rest = next((new + rest.removeprefix(old) for old, new in _INSIDE if rest.startswith(old)), rest)
    return _BLOCK[1].format(block[1]) + rest


def ours_of(key: str) -> str:
    """Returns timm's name for torchvision's."""
    outside = {new: old for old, new in _OUTSIDE}
    if key in outside:
        return outside[key]
    block = re.match(r"encoder\.layers\.encoder_layer_(\d+)\.(.+)", key)
    if block is None:
        return key
    rest = next((old + block[2].removeprefix(new) for old, new in _INSIDE if block[2].startswith(new)), block[2])
    return _BLOCK[0].format(block[1]) + rest


def resized_positions(positions: Tensor, length: int) -> Tensor | None:
    """Returns position embeddings (1, N, d) of a square grid for another square grid, (1, length, d).

    The embeddings of the tokens that stand before it (class, distillation) are kept.

    Returns:
        None if the lengths are those of no two grids with equally many tokens before them.
    """
    if positions.ndim != 3 or positions.shape[0] != 1:
        return None
    for before in (1, 0, 2):
        old, new = positions.shape[1] - before, length - before
        if old > 0 and new > 0 and _is_square(old) and _is_square(new):
            return resize_position_embedding(positions, math.isqrt(new), math.isqrt(new), prefix=before)
    return None


def _is_square(number: int) -> bool:
    return math.isqrt(number) ** 2 == number
