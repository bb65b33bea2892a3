"""Position embeddings of vision transformers, for images of another size."""

from __future__ import annotations

import math

from torch import Tensor, cat
from torch.nn import functional

from coretune.errors import RequestError


def resize_position_embedding(embedding: Tensor, rows: int, columns: int, *, prefix: int = 1) -> Tensor:
    """Returns the position embedding of a square grid of patches, interpolated for another grid.

    Bicubic with aligned edges of the outer patches (`align_corners=False`), without smoothing, as DINO's authors do;
    the positions of the class token and its like stay as they are. Computed in float32 (float64 for float64).

    Args:
        embedding: (1, prefix + s², d), the grid row by row.
        rows: Rows of patches of the new grid.
        columns: Columns of the new grid.
        prefix: Positions before the grid's: the class token, registers.

    Returns:
        (1, prefix + rows · columns, d), of the same type; the embedding itself where both are s.

    Raises:
        RequestError: The positions behind the prefix are no square grid.
    """
    count = embedding.shape[1] - prefix
    old = math.isqrt(max(count, 0))
    if old < 1 or old * old != count or embedding.shape[0] != 1:
        raise RequestError(f"a position embedding {tuple(embedding.shape)} is no square grid behind {prefix} positions")
    if old == rows == columns:
        return embedding
    grid = embedding[:, prefix:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    exact = grid if grid.element_size() > 4 else grid.float()
    resized = functional.interpolate(exact, size=(rows, columns), mode="bicubic", align_corners=False)
    return cat([embedding[:, :prefix], resized.to(embedding.dtype).flatten(2).transpose(1, 2)], dim=1)
