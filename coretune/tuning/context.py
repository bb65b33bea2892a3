"""How a training is executed. Nothing here changes its result beyond rounding."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from coretune.tuning.shard import Shard


@dataclass(frozen=True)
class Context:
    """Where and how a training runs.

    Attributes:
        device: Where the model and the pixels live.
        micro_batch: Samples whose activations are in memory at once, or None for the whole batch. It is rounded up to
            whole batch-norm groups, which cannot be divided (`TrainSpec.bn_group`; by default one contrast batch). The
            encoder is run again for the backward pass, which gives the same gradient.
        channels_last: Memory format of images and convolutions.
        compile: Whether a training compiles its backbone (torch.compile); that takes up to a minute, once a process.
            A method that is not `compilable`, or several workers, train without.
        evaluation_batch: Samples per forward pass of an evaluation.
        tick_s: Seconds between two `Tick`s, at most, as far as single steps and evaluations allow.
        shard: This process's place among those that train the model together.
    """

    device: torch.device
    micro_batch: int | None = None
    channels_last: bool = False
    compile: bool = False
    evaluation_batch: int = 256
    tick_s: float = 1.0
    shard: Shard = field(default_factory=Shard)

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory format of images."""
        return torch.channels_last if self.channels_last else torch.contiguous_format
