"""The contents of image files in the row groups of parquet files; those used last are kept."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from coretune.data.sources.shard import ImageColumn

WINDOW = 512
"""Images that the decoding threads have in work at most: the row groups of so many are kept, and two at least."""


class RowGroups:
    """The row groups of all files, one after the other; those used last are kept."""

    def __init__(self, shards: Sequence[ImageColumn]) -> None:
        self._shards = shards
        self._places = [(shard, group) for shard in shards for group in range(len(shard.groups))]
        self._starts = np.cumsum([0, *(shard.groups[group] for shard, group in self._places)])
        self._kept: dict[int, Any] = {}
        self._held = threading.local()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[RowGroups], tuple[Sequence[ImageColumn]]]:
        # A process that decodes reads its own groups, behind a lock of its own.
        return RowGroups, (self._shards,)

    def content(self, index: int) -> bytes | None:
        """Returns the content of one image's file, or None where it is null."""
        place = int(np.searchsorted(self._starts, index, side="right")) - 1
        content: bytes | None = self._read(place)[index - int(self._starts[place])].as_py()
        return content

    def _read(self, place: int) -> Any:
        # Each thread holds on to its group: one that falls behind neither waits for the lock nor reads it again.
        if getattr(self._held, "place", None) != place:
            self._held.images = self._shared(place)
            self._held.place = place
        return self._held.images

    def _shared(self, place: int) -> Any:
        with self._lock:  # a second thread waits for the group rather than reading it too
            images = self._kept.pop(place, None)
            if images is None:
                shard, group = self._places[place]
                images = shard.images(group)
            self._kept[place] = images
            while len(self._kept) > 2 and sum(map(len, self._kept.values())) > WINDOW:
                del self._kept[next(iter(self._kept))]
            return images
