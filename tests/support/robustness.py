"""Evaluations of robustness as they lie on disk, with numbers that are easy to find again."""

from __future__ import annotations

from typing import Any

from coretune.results.record import Evaluation

TIME = "2026-01-01T00:00:00.000+00:00"
NAMES = ("gaussian_noise", "frost")


def evaluation(name: str, metrics: dict[str, float], details: dict[str, Any], **changes: Any) -> Evaluation:
    """An evaluation of the run `a`."""
    spec = {"evaluation": {"name": name, "version": 1, **changes.pop("ref", {})}, **changes.pop("spec", {})}
    said = {"eval_id": f"e-{name}", "run_id": "a", "timings": {"total_s": 61.0}, "created": TIME, **changes}
    return Evaluation(spec=spec, metrics=metrics, details={"images": 200, "classes": ["x", "y"], **details}, **said)


def attack(*, reliable: bool = False) -> Evaluation:
    """PGD and Square at two sizes."""

    def point(eps: str, *values: float) -> dict[str, Any]:
        names = ("pgd", "square")
        attacks = [
            {"name": n, "robust_top1": v, "attacked": 9, "fooled": 1} for n, v in zip(names, values, strict=True)
        ]
        return {"eps": eps, "robust_top1": min(values), "robust": 1, "attacks": attacks}

    curve = [{"eps": "0", "robust_top1": 92.0, "robust": 184, "attacks": []}]
    curve += [point("1/255", 18.5, 17.25), point("2/255", 0.75, 0.5)]
    details = {
        "threat": "L∞, ε = 1/255, pgd and square, 200 images, seed 0",
        "threats": ["pgd: 20 steps of eps/4, white box", "square: 5,000 queries, black box"],
        "curve": curve,
        "attacks": curve[1]["attacks"],
        "verdict": {
            "reliable": reliable,
            "reasons": [] if reliable else ["zero gradients: of 40 % of the images"],
            "probes": {},
        },
        "median_perturbation": {"norm": "linf", "value": 0.002, "images": 100, "unbroken": 3},
        "notes": ["2 classes: DLR is not defined"],
    }
    params = {"attacks": ["pgd", "square"], "eps": ["1/255", "2/255"], "headline": "1/255"}
    metrics = {"clean_top1": 92.0, "robust_top1": 17.25, "median_perturbation": 0.002}
    return evaluation("attack", metrics, details, ref={"params": params}, spec={"limit": 200})


def corruptions() -> Evaluation:
    """Two corruptions at two severities."""
    error = {"gaussian_noise": [10.0, 30.0], "frost": [20.0, 40.5]}
    details = {
        "error": error,
        "mean_error": {name: sum(values) / 2 for name, values in error.items()},
        "severities": [1, 5],
        "table": "CIFAR-10-C, of images of 32 pixels",
        "side": 32,
        "frost": "drawn by coretune",
    }
    return evaluation("corruptions", {"corruption_error": 25.125, "clean_error": 8.0}, details)


def calibration(*, scaled: bool = True) -> Evaluation:
    """Four bins, one of them empty."""

    def parts(shift: float) -> list[dict[str, Any]]:
        found = [
            (0.0, 0.25, 0, None, None),
            (0.25, 0.5, 20, 0.4, 0.5),
            (0.5, 0.75, 80, 0.6, 0.6),
            (0.75, 1.0, 100, 0.9, 0.8),
        ]
        keys = ("low", "high", "images", "confidence", "accuracy")
        return [dict(zip(keys, (*row[:4], row[4] and row[4] + shift), strict=True)) for row in found]

    metrics = {"ece": 6.0, "brier": 0.25, "nll": 0.5, "top1": 72.0, "confidence": 78.0}
    details: dict[str, Any] = {"bins": 4, "binning": "equal_width", "reliability": parts(0.0)}
    if scaled:
        metrics |= {"ece_scaled": 3.0, "brier_scaled": 0.24, "nll_scaled": 0.45, "temperature": 1.5}
        details["reliability_scaled"] = parts(0.1)
        fit = {"fitted_on": "validation", "images": 50, "range": [0.01, 100.0], "at_its_end": False}
        details["temperature"] = fit
    else:
        details["not_scaled"] = "no temperature of the validation part: there is none"
    return evaluation("calibration", metrics, details)
