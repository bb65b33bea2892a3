"""What images weights were trained on, written into their file, so that it is known wherever the file goes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from coretune.results.contents import Contents
from coretune.spec.run import DataSpec

TRAINED_ON = "trained_on"
"""Key of the metadata of a safetensors file: a JSON list of `DataSpec`, the images of the first training first."""

CONTENTS = "trained_on_contents"
"""Another key: a JSON list, as long, of the texts of `Contents`, or null where they are not known."""

BEGAN_WITH = "trained_on_began_with"
"""Another key, which is there where the first training began with weights of unknown origin."""


@dataclass(frozen=True)
class Seen:
    """The images of one training.

    Attributes:
        data: Which, and how they were divided.
        contents: Their contents; None in files that are older than this knowledge.
    """

    data: DataSpec
    contents: Contents | None = None


@dataclass(frozen=True)
class Provenance:
    """What weights were trained on.

    Attributes:
        seen: The trainings that are known, the first one first.
        whole: Whether these are all: false where the first one began with weights of unknown origin, and of a file that
            says nothing.
    """

    seen: tuple[Seen, ...] = ()
    whole: bool = True

    def then(self, data: DataSpec, contents: Contents | None) -> Provenance:
        """Returns what is known after a further training, each once; augmentation says nothing of images."""
        data = data.replace(augment={})
        if any(each.data == data and each.contents is not None for each in self.seen):
            return self
        return replace(self, seen=(*(each for each in self.seen if each.data != data), Seen(data, contents)))


UNKNOWN = Provenance(whole=False)
"""Of a file of somebody else."""


def provenance(path: Path) -> Provenance:
    """Returns what the weights of a file were trained on, as far as the file says.

    `UNKNOWN` for a file that is absent, unreadable, none of coretune's, or older than this knowledge.
    """
    try:
        with safe_open(path, framework="np") as file:
            said = file.metadata() or {}
        seen = tuple(_seen(said))
    except (OSError, SafetensorError, ValueError, ValidationError):
        return UNKNOWN
    return Provenance(seen, whole=BEGAN_WITH not in said) if seen else UNKNOWN


def as_metadata(known: Provenance) -> dict[str, str]:
    """Returns what `provenance` reads back, as metadata of a safetensors file; nothing where nothing is known."""
    if not known.seen:
        return {}
    data = [json.loads(each.data.model_dump_json(exclude_defaults=True)) for each in known.seen]
    contents = [None if each.contents is None else each.contents.to_text() for each in known.seen]
    began = {} if known.whole else {BEGAN_WITH: "unknown"}
    return {TRAINED_ON: json.dumps(data), CONTENTS: json.dumps(contents), **began}


def _seen(said: Mapping[str, str]) -> Iterator[Seen]:
    data = _listed(said, TRAINED_ON)
    contents = _listed(said, CONTENTS)
    if len(contents) != len(data):
        contents = [None] * len(data)
    for each, text in zip(data, contents, strict=True):
        yield Seen(DataSpec.model_validate(each), Contents.from_text(text))


def _listed(said: Mapping[str, str], key: str) -> list[Any]:
    found = json.loads(said.get(key, "[]"))
    return found if isinstance(found, list) else []
