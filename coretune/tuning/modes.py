"""Training mode, evaluation mode, and torch's own random numbers: set for a while, then put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn

from coretune.spec.seeds import derive_seed


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Puts modules into evaluation mode; afterwards each sub-module has the mode that it had, whatever happened."""
    parts = [part for module in modules for part in module.modules()]
    modes = [part.training for part in parts]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


def private_random_numbers(device: torch.device) -> AbstractContextManager[None]:
    """Returns a context that leaves torch's global generators as it found them."""
    devices = [_index(device)] if device.type == "cuda" else []
    return torch.random.fork_rng(devices=devices)


def seed_random_numbers(seed: int, device: torch.device) -> None:
    """Seeds torch's global generators, which dropout draws from, on the CPU and on one device.

    `torch.manual_seed` does the same for all devices, and takes a hundred times as long without a GPU.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[_index(device)].manual_seed(seed)


@contextmanager
def random_numbers_of(rank: int, device: torch.device) -> Iterator[None]:
    """Gives a worker random numbers of its own, e.g. for dropout on its own samples.

    The workers come with the same state of torch's global generators, and leave with the same one.

    Args:
        rank: The worker.
        device: Where it computes.
    """
    common = int(torch.randint(2**62, ()).item())
    with private_random_numbers(device):
        seed_random_numbers(derive_seed(common, "worker", rank), device)
        yield


def _index(device: torch.device) -> int:
    return torch.cuda.current_device() if device.index is None else device.index
