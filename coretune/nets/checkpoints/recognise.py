"""Finds the layout of a checkpoint by its keys, and the backbone in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from coretune.nets.checkpoints.layouts import CONVERTED, LAYOUTS, OWN, Layout
from coretune.nets.checkpoints.read import Contents

WRAPPERS = ("module.", "_orig_mod.")
"""What data parallelism and compilation put before every key."""

FIRST = ("", "state_dict", "model_state_dict", "model", "net", "network", "teacher")
"""Dictionaries that are looked at before others."""

LAST = re.compile(r"ema|student|target|predictor|head|contrast|optimi[sz]er|queue|momentum")
"""Dictionaries that are looked at after others."""

STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")

OTHER_SECTION = "another part of the file"
OTHER_KEY = "not in the backbone"

_CHILDREN = {"0.": "conv1.", "1.": "bn1.", "4.": "layer1.", "5.": "layer2.", "6.": "layer3.", "7.": "layer4."}
"""A torchvision ResNet's modules by their number among its children: what `Sequential(*children)` calls them."""


@dataclass(frozen=True)
class Found:
    """The backbone in a checkpoint.

    Attributes:
        layout: The layout that was recognised.
        section: Name of the dictionary in which it stands, "" for the file itself.
        prefix: What is stripped from each key.
        tensors: The backbone's tensors by key.
        dropped: How many tensors were left, by what they are.
    """

    layout: Layout
    section: str
    prefix: str
    tensors: Mapping[str, Tensor]
    dropped: Mapping[str, int]

    @property
    def parameters(self) -> int:
        """Number of the backbone's parameters: elements of all but batch norm's statistics."""
        return sum(tensor.numel() for key, tensor in self.tensors.items() if not key.endswith(STATISTICS))

    @property
    def how(self) -> str:
        """Returns by what it was recognised."""
        where = f" in {self.section!r}" if self.section else ""
        keys = f"keys that begin with {self.prefix!r}" if self.prefix else "keys without a prefix"
        marks = f", with {' and '.join(self.layout.marks)}" if self.layout.marks else ""
        metadata = f", metadata {' and '.join(self.layout.metadata)}" if self.layout.metadata else ""
        return keys + where + marks + metadata


def recognise(contents: Contents) -> Found:
    """Returns the backbone of a checkpoint by the first layout that fits; the last one fits any."""
    for layout in LAYOUTS:
        if not set(layout.metadata) <= set(contents.metadata):
            continue
        for section in _sections(layout, contents):
            found = _find(layout, section, contents)
            if found is not None:
                return found
    raise AssertionError("the last layout takes any file")  # pragma: no cover


def _sections(layout: Layout, contents: Contents) -> Iterator[str]:
    """Yields the dictionaries to look at, in order of preference."""
    names = [name for name, tensors in contents.sections.items() if tensors]
    if layout.sections:
        yield from (name for name in layout.sections if name in names)
        return
    yield from (name for name in FIRST if name in names)
    others = [name for name in names if name not in FIRST]
    yield from sorted(others, key=lambda name: LAST.search(name) is not None)


def _find(layout: Layout, section: str, contents: Contents) -> Found | None:
    tensors, wrapper = unwrapped(contents.sections[section])
    if not all(any(re.search(mark, key) for key in tensors) for mark in layout.marks):
        return None
    prefix = next((prefix for prefix in layout.prefixes if any(key.startswith(prefix) for key in tensors)), None)
    if prefix is None:
        return None
    kept: dict[str, Tensor] = {}
    dropped: dict[str, int] = {}
    for key, tensor in tensors.items():
        reason = next((said for pattern, said in layout.dropped if re.search(pattern, key)), None)
        if reason is None and key.startswith(prefix):
            kept[key.removeprefix(prefix)] = tensor
        else:
            reason = reason or OTHER_KEY
            dropped[reason] = dropped.get(reason, 0) + 1
    if not kept:
        return None
    others = sum(len(tensors) for name, tensors in contents.sections.items() if name != section)
    if others:
        dropped[OTHER_SECTION] = others
    if layout.name in (OWN, CONVERTED):  # its names are the backbone's own, whatever they look like
        return Found(layout, section, wrapper + prefix, kept, dropped)
    kept, inner = unwrapped(kept)
    return Found(layout, section, wrapper + prefix + inner, named_children(kept), dropped)


def unwrapped(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Returns tensors without what wrappers put before every key, and what that was."""
    found, stripped = dict(tensors), ""
    while wrapper := next((each for each in WRAPPERS if all(key.startswith(each) for key in found)), ""):
        found = {key.removeprefix(wrapper): tensor for key, tensor in found.items()}
        stripped += wrapper
    return found, stripped


def named_children(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns a ResNet's tensors by torchvision's names, also where `Sequential(*children)` has numbered them."""
    if "0.weight" not in tensors or "4.0.conv1.weight" not in tensors:
        return dict(tensors)
    return {_CHILDREN.get(key[:2], key[:2]) + key[2:]: tensor for key, tensor in tensors.items()}
