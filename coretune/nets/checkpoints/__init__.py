"""Checkpoints that other projects wrote: read safely, recognised by their keys, put on a backbone, or refused."""

from __future__ import annotations

from coretune.nets.checkpoints.architecture import architecture
from coretune.nets.checkpoints.classifier import load_classifier
from coretune.nets.checkpoints.match import Match, match, put
from coretune.nets.checkpoints.read import Contents, read_checkpoint
from coretune.nets.checkpoints.recognise import Found, recognise

__all__ = [
    "Contents",
    "Found",
    "Match",
    "architecture",
    "load_classifier",
    "match",
    "put",
    "read_checkpoint",
    "recognise",
]
