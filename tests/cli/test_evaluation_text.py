"""Further evaluations in words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coretune_cli.evaluation_text import described


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, ""),
        ({"evaluation": {"name": "attack", "version": 9, "params": {"of": "tomorrow"}}}, ""),
        ({"evaluation": {"name": "calibration", "version": 1}}, "calibration"),
        ({"evaluation": {"name": "attack", "version": 1}}, "attack; autoattack, robust at ε = 1/255"),
        (
            {
                "evaluation": {
                    "name": "attack",
                    "version": 1,
                    "params": {
                        "attacks": [{"name": "fgsm"}, {"name": "pgd", "steps": 40}],
                        "norm": "l2",
                        "eps": ["0.25", "0.5"],
                        "headline": "0.25",
                        "median_images": 0,
                    },
                },
                "weights": "best",
                "limit": 1000,
                "seed": 3,
            },
            "attack; fgsm, pgd, robust at ε = 0.25; norm l2; eps 0.25, 0.5; median_images 0; best weights; "
            "1,000 images; seed 3",
        ),
    ],
)
def test_what_differs_from_the_defaults_is_said(spec: dict[str, Any], said: str) -> None:
    assert described(json.dumps(spec)) == said
