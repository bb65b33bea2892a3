"""Ray Train's trainer, as a group of workers needs it."""

from __future__ import annotations

from typing import Any

from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.torch.torch_trainer import TorchTrainer


class GroupTrainer(TorchTrainer):
    """A `TorchTrainer` without its placement-group cleaner.

    The cleaner is a detached actor that removes the placement group when the trainer's controller dies. It outlives a
    driver that is killed while it starts, for ever (ray 2.60), and is one process of some 600 MB for each group. A
    group needs none: its placement group belongs to an actor of the driver's job, and Ray removes it with either.
    """

    def _create_default_callbacks(self) -> list[Any]:
        made = super()._create_default_callbacks()
        return [callback for callback in made if not isinstance(callback, PlacementGroupCleanerCallback)]
