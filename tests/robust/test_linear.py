"""Two classes, linear logits, pixels at least ε from the box: robust accuracy is known, and is met to the last image.

an image of margin m = y s(x) > 0 is robust in L∞ iff m > ε |w|₁, in L2 iff m > ε |w|₂
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attacked import ALL, TwoClasses

from coretune.robust.attack import Subjects, attackable
from coretune.robust.worst_case import Plan, worst_case
from coretune.spec.catalog.attack_choice import AttackChoice, AttackParameters
from coretune.spec.epsilon import Norm

EXACT: dict[str, dict[str, object]] = {
    "fgsm": {},
    "pgd": {"steps": 10},
    "mi-fgsm": {},
    "apgd-ce": {"steps": 20},
    "apgd-t": {"steps": 20},
    "fab-t": {"steps": 10},
    "eot-pgd": {"eot": 2},
    "deepfool": {"overshoot": 1e-4},
}
"""Those that are exact on a linear model: not the black box, nor what minimises a penalty or ignores the label."""


def problem(norm: Norm, seed: int, n: int = 12) -> tuple[TwoClasses, Subjects, list[Fraction], torch.Tensor]:
    """A model, images, a grid of ε, and by image its smallest ε that fools, known in closed form."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 6, 6, generator=generator)
    grid = [Fraction(1, 100), Fraction(1, 40)] if norm == "linf" else [Fraction(1, 20), Fraction(1, 8)]
    far = float(grid[-1])
    images = 0.5 + 0.5 * (torch.rand(n, 3, 6, 6, generator=generator) - 0.5)
    length = weight.abs().sum() if norm == "linf" else weight.norm()
    # Margins are set so that distances are spread over the grid, none within 2 % of an ε.
    model = TwoClasses(weight, -0.5 * float(weight.sum()))
    distances = torch.linspace(0.05, 1.6, n) * far
    for eps in map(float, grid):
        near = (distances / eps - 1).abs() < 0.02
        distances[near] *= 1.05
    labels = torch.arange(n) % 2
    wanted = (2 * labels - 1) * distances * length
    shift = (wanted - model.score(images)).view(-1, 1, 1, 1) * weight / weight.norm() ** 2
    images = (images + shift).detach()
    inside = ((images >= far) & (images <= 1 - far)).flatten(1).all(dim=1)
    keep = inside.nonzero().squeeze(1)
    aim = Subjects(images[keep], labels[keep], 2, np.arange(n)[keep.numpy()], seed)
    return model, aim, grid, distances[keep]


@pytest.mark.parametrize(("name", "norm"), [(name, norm) for name, norm in ALL if name in EXACT])
def test_the_closed_form_is_met(name: str, norm: Norm) -> None:
    seen = 0

    @settings(deadline=None, max_examples=10)
    @given(st.integers(0, 2**20))
    def check(seed: int) -> None:
        nonlocal seen
        model, aim, grid, distances = problem(norm, seed)
        seen += len(aim)
        plan = Plan(norm, tuple(grid), (AttackChoice.model_validate({"name": name, "params": EXACT[name]}),))
        with attackable(model, torch.device("cpu")):
            found = worst_case(model, aim, torch.ones(len(aim), dtype=torch.bool), plan, 5)
        expected = 1 + torch.stack([distances > float(eps) for eps in grid]).sum(dim=0)
        assert found.level.tolist() == expected.tolist()

    check()
    assert seen > 50


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_autoattack_meets_it_too_with_two_classes(norm: Norm) -> None:
    model, aim, grid, distances = problem(norm, 7)
    said = {"name": "autoattack", "steps": 15, "queries": 20}
    params = AttackParameters.model_validate({"norm": norm, "attacks": [said], "eps": [float(eps) for eps in grid]})
    with attackable(model, torch.device("cpu")):
        found = worst_case(model, aim, torch.ones(len(aim), dtype=torch.bool), Plan.of(params), 64)
    expected = 1 + torch.stack([distances > float(eps) for eps in grid]).sum(dim=0)
    assert found.level.tolist() == expected.tolist()
