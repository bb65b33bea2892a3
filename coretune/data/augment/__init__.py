"""Batched augmentation: parameters from a table of uniform numbers, pixels by operations on whole batches.

A sample's result depends on its pixels, its row of draws and the spec, never on the batch around it.
"""

from __future__ import annotations

from coretune.data.augment.columns import streams
from coretune.data.augment.pixels import to_float
from coretune.data.augment.plain import plain
from coretune.data.augment.view import augment

__all__ = ["augment", "plain", "streams", "to_float"]
