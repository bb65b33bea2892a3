"""What it brings to send gradients while the backward pass goes on: two machines and a slow network between them.

Needs root, for network namespaces and `tc`. Prints one row of docs/scaling.md per rate:

    python docs/evidence/overlap.py 1gbit 2gbit
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torchvision

from coretune.tuning.gradient_sum import GradientSum
from coretune.tuning.shard import Shard

IMAGES, SIDE, PORT = 32, 64, 29511
WARM_UP, STEPS = 2, 9
NEVER_FULL = 1 << 40


def main() -> None:
    """Measures at each rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rates", nargs="*", default=["1gbit"], help="as `tc` writes them")
    parser.add_argument("--worker", nargs=2, metavar=("RANK", "ADDRESS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker is not None:
        work(int(arguments.worker[0]), arguments.worker[1])
        return
    print("| network | buckets, ms | one sum afterwards, ms | no sum, ms |\n| --- | --- | --- | --- |")
    for rate in arguments.rates:
        measure(rate)


def measure(rate: str) -> None:
    """Trains on two machines with a network of this rate between them."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    from support.network import Network

    with Network(2) as network:
        for machine in (0, 1):
            limit = [
                "tc",
                "qdisc",
                "add",
                "dev",
                "eth0",
                "root",
                "tbf",
                "rate",
                rate,
                "burst",
                "256kb",
                "latency",
                "50ms",
            ]
            subprocess.run([*network.on(machine), *limit], check=True)
        print(f"| {rate} ", end="", flush=True)
        workers = [
            subprocess.Popen(
                [*network.on(machine), sys.executable, __file__, "--worker", str(machine), network.address(0)],
                env={**os.environ, "GLOO_SOCKET_IFNAME": "eth0", "TORCH_CPP_LOG_LEVEL": "ERROR"},
            )
            for machine in (0, 1)
        ]
        if any([worker.wait() for worker in workers]):
            raise SystemExit(1)


def work(rank: int, address: str) -> None:
    """One of the two workers: a ResNet-18 on noise, its gradients summed in three ways in turn."""
    torch.set_num_threads(1)
    meeting, patience = f"tcp://{address}:{PORT}", datetime.timedelta(seconds=120)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2, timeout=patience)
    torch.manual_seed(0)
    net, images = torchvision.models.resnet18(num_classes=10), torch.rand(IMAGES, 3, SIDE, SIDE)
    parameters, shard = list(net.parameters()), Shard(rank, 2)
    ways = [
        GradientSum(parameters, shard),
        GradientSum(parameters, shard, first_bytes=NEVER_FULL, bucket_bytes=NEVER_FULL),
        GradientSum(parameters, Shard()),
    ]
    seconds: list[list[float]] = [[] for _ in ways]
    for step in range(WARM_UP + STEPS):
        for way, spent in zip(ways, seconds, strict=True):
            net.zero_grad(set_to_none=True)
            dist.barrier()
            started = time.perf_counter()
            with way.of_backward():
                net(images).square().mean().backward()
            if step >= WARM_UP:
                spent.append(time.perf_counter() - started)
    if rank == 0:
        print("".join(f"| {statistics.median(spent) * 1e3:.0f} " for spent in seconds) + "|", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
