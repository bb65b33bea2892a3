"""How the workers of a group find each other. It imports torch: only the group's own processes need it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import psutil
import ray.train.torch


class _Connection(type(ray.train.torch.TorchConfig().backend_cls())):  # type: ignore[misc]
    """Train's own way of connecting workers, over the network interface by which Ray knows each of them."""

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Connects the workers."""
        worker_group.execute(_choose_interface)
        super().on_start(worker_group, backend_config)


@dataclass
class ConnectionConfig(ray.train.torch.TorchConfig):
    """Train's configuration of torch's process group, with our way of connecting."""

    @property
    def backend_cls(self) -> type:
        """The class that connects."""
        return _Connection


def _choose_interface() -> None:
    """Names gloo's network interface: a host's name often leads to another one, or to none."""
    own = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == own for address in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
