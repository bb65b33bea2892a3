"""Somebody else's net on real images: what others have measured of it is what comes out here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from support.scripts import load_script

from coretune.data.pack import Packed
from coretune.robust.evaluation import evaluate_attack
from coretune.spec.catalog.attack_choice import AttackParameters
from coretune.tuning.context import Context

ROOT = Path(os.environ.get("CORETUNE_TEST_DATA", "") or "/nowhere")
CHECKPOINT = ROOT / "checkpoints" / "resnet20-12fca82f.th"


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not CHECKPOINT.is_file(), reason="needs CORETUNE_TEST_DATA with checkpoints/resnet20-12fca82f.th")
def test_pgd_leaves_of_a_resnet_20_what_it_is_known_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    found = load_script("benchmarks/robust_eval.py", monkeypatch).foreign(ROOT)
    pixels = (found.images * 255).round().byte().permute(0, 2, 3, 1).numpy()
    n = len(pixels)
    packed = Packed(
        pixels,
        found.labels.numpy(),
        np.zeros(n, np.int8),
        tuple(map(str, range(10))),
        tuple(map(str, range(n))),
        "0" * 64,
    )
    attacks = [{"name": "pgd", "steps": 20, "step_size": "eps/4", "start": "none"}]
    params = AttackParameters.model_validate(
        {"attacks": attacks, "eps": ["1/255", "2/255"], "median_images": 8, "median_steps": 5, "probe_images": 16}
    )
    judgement = evaluate_attack(found.model.eval(), packed, np.arange(n), Context(torch.device("cpu")), params=params)
    clean, one, two = (entry["robust_top1"] for entry in judgement.details["curve"])
    assert n == 200 and clean == pytest.approx(94.5, abs=1)
    assert one == pytest.approx(18, abs=2) and two == pytest.approx(0.5, abs=0.5)
    verdict = judgement.details["verdict"]
    assert verdict["reliable"] and not verdict["reasons"] and verdict["transfer"] == "not tested"
