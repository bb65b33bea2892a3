"""Small models to be attacked, and images that they classify."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from coretune.robust.attack import Subjects, predictions
from coretune.spec.catalog.attack_choice import AttackChoice
from coretune.spec.catalog.attacks import ATTACKS
from coretune.spec.epsilon import Norm

CHEAP: dict[str, dict[str, object]] = {
    "fgsm": {},
    "pgd": {"steps": 4, "restarts": 2},
    "mi-fgsm": {"steps": 4},
    "apgd-ce": {"steps": 5},
    "apgd-dlr": {"steps": 5, "restarts": 2},
    "apgd-t": {"steps": 5, "targets": 3},
    "fab-t": {"steps": 4, "targets": 3, "restarts": 2},
    "square": {"queries": 20},
    "cw": {"steps": 12, "c": 10.0, "lr": 0.05},
    "deepfool": {"steps": 4},
    "tpgd": {"steps": 4},
    "eot-pgd": {"steps": 3, "eot": 2},
}
"""Every attack that is no set, with a budget of milliseconds."""

ALL: list[tuple[str, Norm]] = [(name, norm) for name in CHEAP for norm in ATTACKS[name].norms]


class ConvNet(nn.Module):
    """A random net with a batch norm and a dropout: its mode matters."""

    def __init__(self, classes: int = 4, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.norm = nn.BatchNorm2d(8)
            self.linear = nn.Linear(32, classes)
            self.drop = nn.Dropout(0.5)
            with torch.no_grad():
                self.norm.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
                self.linear.weight.mul_(20)
                self.eval()
                self.linear.bias -= self(torch.rand(64, 3, 8, 8)).mean(dim=0)  # every class is somebody's
                self.train()

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.tanh(self.norm(self.conv(images)))
        logits: Tensor = self.linear(self.drop(nn.functional.adaptive_avg_pool2d(hidden, 2).flatten(1)))
        return logits


class TwoClasses(nn.Module):
    """Logits (−s/2, s/2) with s = ⟨w, x⟩ + b."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = bias

    def score(self, images: Tensor) -> Tensor:
        return (images * self.weight).flatten(1).sum(dim=1) + self.bias

    def forward(self, images: Tensor) -> Tensor:
        score = self.score(images)
        return torch.stack([-score, score], dim=1) / 2


def chosen(name: str) -> AttackChoice:
    """An attack with a small budget."""
    return AttackChoice.model_validate({"name": name, "params": CHEAP[name]})


def subjects(model: nn.Module, n: int, *, side: int = 8, classes: int = 4, seed: int = 0) -> Subjects:
    """Random images, labelled as the model classifies them."""
    images = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))
    model.eval()
    labels = predictions(model, images) if n else torch.zeros(0, dtype=torch.int64)
    return Subjects(images, labels, classes, np.arange(10, 10 + n), seed=seed)
