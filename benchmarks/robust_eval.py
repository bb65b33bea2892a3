"""How long robust accuracy takes against torchattacks' plain loop over the same images, attack and budget.

    python benchmarks/robust_eval.py

The net is the ResNet-20 for CIFAR-10 of `CORETUNE_TEST_DATA` (akamaster/pytorch_resnet_cifar10) on the first test
images; without these, a small residual net that is trained on scikit-learn's digits first. There are three settings:

- `pgd`: 200 images, PGD of 40 steps of ε/4 with 3 random restarts, at an ε of which 30 to 70 % of the images survive;
- `autoattack`: 50 images, the four attacks of AutoAttack with torchattacks' budget (10 steps, 5,000 queries), at the
  first of 1/255, 2/255, 4/255, ... that leaves next to nothing: where AutoAttack is usually asked for of a net that was
  not trained against attacks;
- `survivors`: the same on few images at the ε of `pgd`. An image that survives takes the whole budget of any
  implementation, most of it in 5,000 forward passes of Square, so that no set of active images can spare much. This has
  no goal.

The rival is a loop as torchattacks' documentation has it: each restart (or `AutoAttack`) on the whole batch, then one
forward pass to see who is left; per image the worst counts. Ours is the worst case of the evaluation `attack`: what is
fooled leaves, and no parameter gets a gradient. Ours counts any iterate, theirs the last, so that ours may find more:
a setting counts only if ours leaves as many images or fewer, at most one (of `pgd`, 2 %) fewer.

On a CPU all is done on one thread and compares CPU time, which for one thread that never waits is the wall time of an
idle machine; on a GPU, which is taken if there is one, it is wall time. `ratio` is the lower one of `pgd` and
`autoattack`. Each is measured once, after a warm-up, but alternately by halves of the images.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
import torchattacks
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor, nn

from coretune.nets.checkpoints.classifier import load_classifier
from coretune.nets.checkpoints.read import read_checkpoint
from coretune.nets.model import Model
from coretune.nets.weights import load_encoder
from coretune.robust.attack import Subjects, attackable, predictions
from coretune.robust.worst_case import Plan, worst_case
from coretune.spec.catalog import load_catalog
from coretune.spec.catalog.attack_choice import AttackParameters
from coretune.spec.epsilon import parse_eps

GOAL = 2.0
IMAGES, AUTO_IMAGES, SURVIVOR_IMAGES = 200, 50, 12
STEPS, RESTARTS, AUTO_STEPS, QUERIES = 40, 3, 10, 5000
GRID = [*(f"{k}/2040" for k in range(2, 32)), *(f"{k}/255" for k in (4, 6, 8, 12, 16, 24, 32, 48))]
SURVIVING = 0.35
EPOCHS = 6
LARGE = [f"{2**k}/255" for k in range(8)]
CHECKPOINT = "checkpoints/resnet20-12fca82f.th"


@dataclass(frozen=True)
class Problem:
    """A net and images.

    Attributes:
        name: Of the net and the data.
        model: In evaluation mode.
        images: (n, 3, H, W) in [0, 1].
        labels: (n,).
        classes: C.
    """

    name: str
    model: Model
    images: Tensor
    labels: Tensor
    classes: int

    def first(self, n: int) -> Problem:
        """Returns the first n images."""
        return Problem(self.name, self.model, self.images[:n], self.labels[:n], self.classes)


def problem(device: torch.device) -> Problem:
    """Returns somebody else's net on CIFAR-10 or, without it, a net of our own on digits."""
    root = Path(os.environ.get("CORETUNE_TEST_DATA", "") or "/nowhere")
    found = foreign(root) if (root / CHECKPOINT).is_file() else digits()
    found.model.to(device).eval()
    return Problem(found.name, found.model, found.images.to(device), found.labels.to(device), found.classes)


def foreign(root: Path) -> Problem:
    """Returns the ResNet-20 of a checkpoint, and the first test images of CIFAR-10."""
    encoder = backbone("resnet20", {})
    load_encoder(encoder, root / CHECKPOINT, "resnet20")
    head = load_classifier(read_checkpoint(root / CHECKPOINT), features=64, classes=10)
    rows = pq.read_table(sorted((root / "cifar10").glob("test*.parquet"))[0]).slice(0, IMAGES)
    pixels = [np.asarray(Image.open(BytesIO(row["bytes"])).convert("RGB")) for row in rows["img"].to_pylist()]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous().float() / 255
    return Problem("ResNet-20, CIFAR-10", Model(encoder, head), images, torch.tensor(rows["label"].to_pylist()), 10)


def digits() -> Problem:
    """Returns a small residual net that was trained for a few epochs on the digits that are not attacked."""
    torch.manual_seed(0)
    data = load_digits()
    images = torch.from_numpy(data.images).float()[:, None].expand(-1, 3, -1, -1).div(16).repeat_interleave(2, dim=2)
    images = images.repeat_interleave(2, dim=3).contiguous()
    labels = torch.from_numpy(data.target).long()
    encoder = backbone("small_resnet", {"widths": [16, 32]})
    model = Model(encoder, nn.Linear(32, 10), (0.5,) * 3, (0.5,) * 3).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(EPOCHS):
        for rows in torch.split(IMAGES + torch.randperm(len(labels) - IMAGES), 64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    return Problem("small_resnet, digits", model, images[:IMAGES], labels[:IMAGES], 10)


def backbone(name: str, params: dict[str, Any]) -> Any:
    """Returns a backbone with random weights."""
    catalog = load_catalog()
    ref = catalog.ref("backbone", name, params)
    return catalog.get("backbone", name).load()(catalog.parameters("backbone", ref))


def ours(data: Problem, eps: str, attacks: Sequence[dict[str, Any]]) -> int:
    """Returns how many images the worst case leaves."""
    plan = Plan.of(AttackParameters.model_validate({"attacks": list(attacks), "eps": [eps]}))
    subjects = Subjects(data.images, data.labels, data.classes, np.arange(len(data.labels)), 0)
    with attackable(data.model, data.images.device):
        correct = predictions(data.model, data.images) == data.labels
        found = worst_case(data.model, subjects, correct, plan, len(data.labels))
    return int((found.level == plan.never).sum())


def theirs(data: Problem, attacks: Sequence[Any]) -> int:
    """Returns how many images a plain loop leaves."""
    left = torch.ones_like(data.labels, dtype=torch.bool)
    for attack in attacks:
        adversarial = attack(data.images, data.labels)
        left &= predictions(data.model, adversarial) == data.labels
    return int(left.sum())


PGD = {"name": "pgd", "steps": STEPS, "step_size": "eps/4", "restarts": RESTARTS}
AUTO = {"name": "autoattack", "steps": AUTO_STEPS, "queries": QUERIES}


def their_pgd(data: Problem, eps: float) -> list[Any]:
    """Returns the restarts as torchattacks' attacks."""
    return [torchattacks.PGD(data.model, eps=eps, alpha=eps / 4, steps=STEPS, random_start=True)] * RESTARTS


def their_autoattack(data: Problem, eps: float) -> list[Any]:
    """Returns torchattacks' AutoAttack."""
    return [torchattacks.AutoAttack(data.model, eps=eps, n_classes=data.classes, seed=0)]


def surviving_eps(data: Problem) -> str:
    """Returns the ε of the grid at which a short PGD leaves nearest to the wanted share."""
    plan = Plan.of(AttackParameters.model_validate({"attacks": [{"name": "pgd", "steps": 10}], "eps": GRID}))
    subjects = Subjects(data.images, data.labels, data.classes, np.arange(len(data.labels)), 1)
    with attackable(data.model, data.images.device):
        correct = predictions(data.model, data.images) == data.labels
        level = worst_case(data.model, subjects, correct, plan, len(data.labels)).level
    shares = [float((level > number).float().mean()) for number in range(1, len(GRID) + 1)]
    return GRID[int(np.argmin(np.abs(np.array(shares) - SURVIVING)))]


def emptying_eps(data: Problem) -> str:
    """Returns the first of the usual ε that a short PGD leaves no image at."""
    return next((eps for eps in LARGE if not ours(data, eps, [{"name": "pgd", "steps": 20}])), LARGE[-1])


def compared(
    data: Problem, eps: str, attacks: Sequence[dict[str, Any]], rival: Callable[[Problem, float], list[Any]], slack: int
) -> dict[str, Any]:
    """Times both on halves of the images in turn; each half begins with the other one."""
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    left = {"ours": 0, "theirs": 0}
    size = float(parse_eps(eps))
    half = (len(data.labels) + 1) // 2
    for number, begin in enumerate(range(0, len(data.labels), half)):
        part = Problem(data.name, data.model, data.images[begin:][:half], data.labels[begin:][:half], data.classes)
        work: dict[str, Callable[[], int]] = {
            "ours": lambda part=part: ours(part, eps, attacks),  # type: ignore[misc]
            "theirs": lambda part=part: theirs(part, rival(part, size)),  # type: ignore[misc]
        }
        for name in list(work)[:: 1 if number % 2 else -1]:
            spent, robust = timed(work[name], data.images.device)
            seconds[name].append(spent)
            left[name] += robust
    equal = 0 <= left["theirs"] - left["ours"] <= slack
    total = {name: sum(values) for name, values in seconds.items()}
    return {
        "eps": eps,
        "images": len(data.labels),
        "left": left,
        "equal": equal,
        "seconds": {name: round(value, 2) for name, value in total.items()},
        "ratio": round(total["theirs"] / total["ours"], 3) if equal else 0.0,
    }


def timed(work: Callable[[], int], device: torch.device) -> tuple[float, int]:
    """Returns the seconds that it took, of CPU time on a CPU, and what it returned."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    found = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - start, found


def measure() -> dict[str, object]:
    """Measures all settings."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    data = problem(device)
    predictions(data.model, data.images)
    eps, large = surviving_eps(data), emptying_eps(data.first(AUTO_IMAGES))
    settings = {
        "pgd": compared(data, eps, [PGD], their_pgd, slack=IMAGES // 50),
        "autoattack": compared(data.first(AUTO_IMAGES), large, [AUTO], their_autoattack, slack=1),
        "survivors": compared(data.first(SURVIVOR_IMAGES), eps, [AUTO], their_autoattack, slack=1),
    }
    return {
        "name": "robust_eval",
        "ratio": min(settings[name]["ratio"] for name in ("pgd", "autoattack")),
        "goal": GOAL,
        "better": "higher",
        "rival": "torchattacks' plain loop over the same images, attack and budget",
        "detail": {
            "device": torch.cuda.get_device_name() if device.type == "cuda" else f"CPU, {os.cpu_count()} cores, 1 used",
            "net": data.name,
            "clean": int((predictions(data.model, data.images) == data.labels).sum()),
            **settings,
        },
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
