"""What images weights were trained on, written into their file, so that it is known wherever the file goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from coretune.spec.run import DataSpec

TRAINED_ON = "trained_on"
"""Key of the metadata of a safetensors file: a JSON list of `DataSpec`, the images of the first training first."""


def trained_on(path: Path) -> tuple[DataSpec, ...]:
    """Returns the images that the weights of a file were trained on, as far as the file says.

    Nothing of a file that is absent, unreadable, none of coretune's, or older than this knowledge.
    """
    try:
        with safe_open(path, framework="np") as file:
            said = json.loads((file.metadata() or {}).get(TRAINED_ON, "[]"))
        return tuple(map(DataSpec.model_validate, said if isinstance(said, list) else ()))
    except (OSError, SafetensorError, ValueError, ValidationError):
        return ()


def as_metadata(seen: Sequence[DataSpec]) -> str:
    """Returns what `trained_on` reads back, each once."""
    distinct = list(dict.fromkeys(data.replace(augment={}).model_dump_json(exclude_defaults=True) for data in seen))
    return json.dumps([json.loads(text) for text in distinct])
