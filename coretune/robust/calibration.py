"""Whether a model is as often right as it says: calibration, raw and with a temperature of the validation part.

With logits z_i, labels y_i, probabilities p_i = softmax(z_i / T), confidence c_i = max_k p_ik and the prediction that
has it, over n images and bins B_1, ..., B_M of the confidence (Guo, Pleiss, Sun, Weinberger, ICML 2017,
arXiv 1706.04599, sections 2 and 4):

    ECE   = Σ_m |B_m| / n · |accuracy(B_m) − mean confidence(B_m)|          here in per cent
    Brier = 1/n Σ_i Σ_k (p_ik − [k = y_i])²                                in [0, 2]; the sum over classes, as Brier's
    NLL   = −1/n Σ_i log p_i,y_i                                           in nats
    T     = argmin of the NLL over the validation part
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from coretune.data.pack import Packed
from coretune.errors import RunError
from coretune.nets.model import Model
from coretune.spec.catalog.evaluations import CalibrationParameters
from coretune.tuning.arguments import check_choice, check_finite, check_tensor, check_whole_number
from coretune.tuning.context import Context
from coretune.tuning.judgement import Judgement
from coretune.tuning.shared_rows import Indices, shared_rows

Binning = Literal["equal_width", "equal_mass"]

COLDEST, HOTTEST = 0.01, 100.0
"""Temperatures between which the best one is looked for."""

HALVINGS = 60
"""Of the interval of log T, which is then far below the resolution of a float64."""


@dataclass(frozen=True)
class Bin:
    """A bar of the reliability diagram.

    Attributes:
        low: Lower end of the confidence, not included (except 0).
        high: Upper end, included; of bins of equal mass, the largest confidence in it.
        images: How many images fall into it.
        confidence: Their mean confidence, or None of an empty bin.
        accuracy: The share of them that is classified correctly, or None.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


def reliability(
    probabilities: Tensor, labels: Tensor, *, bins: int = 15, binning: Binning = "equal_width"
) -> tuple[Bin, ...]:
    """Returns the bins of a reliability diagram, by rising confidence.

    Bins of equal width are ((m − 1) / M, m / M], the first with 0. Bins of equal mass have ⌊n / M⌋ or ⌈n / M⌉ images
    each, in the order of their confidence; with fewer images than bins, one bin for each image.

    Args:
        probabilities: (n, C) in [0, 1], rows sum to 1.
        labels: (n,) integers in [0, C).
        bins: M.
        binning: Their kind.

    Raises:
        ValueError: An argument has a wrong shape, dtype or value.
    """
    _check(probabilities, labels, "probabilities")
    check_whole_number("bins", bins, 1)
    check_choice("binning", binning, ("equal_width", "equal_mass"))
    confidence, predicted = probabilities.double().cpu().max(dim=1)
    confidence, order = confidence.sort(stable=True)
    hits = (predicted == labels.cpu())[order].double()
    if binning == "equal_width":
        # Rounded as the product is, so that confidence 0.2 is in the third of 15 bins though 0.2 · 15 > 3 by an ulp.
        place = (confidence * bins).sub(1e-12).ceil().clamp(1, bins).long() - 1
        sizes = torch.bincount(place, minlength=bins).tolist()
        ends = [m / bins for m in range(bins + 1)]
    else:
        sizes = [len(part) for part in torch.tensor_split(confidence, min(bins, len(confidence)))]
        last = torch.tensor(sizes).cumsum(0) - 1
        ends = [0.0, *confidence[last].tolist()]
    parts = zip(ends[:-1], ends[1:], torch.split(confidence, sizes), torch.split(hits, sizes), strict=True)
    return tuple(
        Bin(low, high, len(sure), *((float(sure.mean()), float(right.mean())) if len(sure) else (None, None)))
        for low, high, sure, right in parts
    )


def expected_calibration_error(diagram: tuple[Bin, ...]) -> float:
    """Returns the ECE of a reliability diagram, in per cent."""
    gaps = [(each.images, each.accuracy, each.confidence) for each in diagram]
    total = sum(images for images, *_ in gaps)
    return 100 * sum(n / total * abs(right - sure) for n, right, sure in gaps if right is not None and sure is not None)


def brier_score(probabilities: Tensor, labels: Tensor) -> float:
    """Returns the Brier score of probabilities (n, C) and labels (n,), in [0, 2].

    Raises:
        ValueError: An argument has a wrong shape, dtype or value.
    """
    _check(probabilities, labels, "probabilities")
    wanted = torch.nn.functional.one_hot(labels.long(), probabilities.shape[1])
    return float((probabilities.double() - wanted).square().sum(dim=1).mean())


def negative_log_likelihood(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """Returns the mean of −log softmax(z / T)_y of logits (n, C) and labels (n,), in nats.

    Raises:
        ValueError: An argument has a wrong shape, dtype or value.
    """
    _check(logits, labels, "logits")
    return float(torch.nn.functional.cross_entropy(logits.double() / temperature, labels.long()))


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Returns the temperature in [0.01, 100] with the least negative log-likelihood.

    With β = 1 / T the likelihood is convex, and its derivative 1/n Σ_i (Σ_k p_ik z_ik − z_i,y_i) grows with β: its
    zero is found by halving an interval of log T. A model that is right on all images has its least at the lower end,
    one that is worse than chance at the upper.

    Args:
        logits: (n, C).
        labels: (n,) integers in [0, C).

    Raises:
        ValueError: An argument has a wrong shape, dtype or value.
    """
    _check(logits, labels, "logits")
    values = logits.double().cpu()
    values = values - values.amax(dim=1, keepdim=True)
    own = values.gather(1, labels.long().cpu()[:, None]).squeeze(1)

    def derivative(log_t: float) -> float:
        shares = (values / math.exp(log_t)).softmax(dim=1)
        return float(((shares * values).sum(dim=1) - own).mean())

    cold, hot = math.log(COLDEST), math.log(HOTTEST)
    if derivative(cold) <= 0:
        return COLDEST
    if derivative(hot) >= 0:
        return HOTTEST
    for _ in range(HALVINGS):
        middle = (cold + hot) / 2
        cold, hot = (middle, hot) if derivative(middle) > 0 else (cold, middle)
    return math.exp((cold + hot) / 2)


@torch.no_grad()
def evaluate_calibration(
    model: Model,
    packed: Packed,
    indices: Indices,
    context: Context,
    *,
    validation: Indices,
    params: CalibrationParameters | None = None,
    seed: int = 0,
) -> Judgement:
    """Measures calibration on some images, without augmentation. Workers divide the images among them.

    The temperature is fitted on the validation part, never on the images that are judged: where the two share an
    image, or there is no validation part, nothing is scaled and the details say why.

    Args:
        model: In evaluation mode, on the context's device.
        packed: The images.
        indices: (n,) which of them to judge.
        context: Device and batch size, and the workers.
        validation: (m,) which of them the temperature is fitted on.
        params: Number and kind of bins.
        seed: Without effect: nothing is drawn.

    Returns:
        `ece` (per cent), `brier`, `nll` (nats), `top1` (per cent), the mean `confidence` (per cent); the first three
        also as `ece_scaled` and so on, with `temperature`. Details: `bins`, `binning`, both reliability diagrams as
        bins, and what the temperature was fitted on. Nothing if there is no image.

    Raises:
        RunError: A logit is not finite.
    """
    params = params or CalibrationParameters()
    if not len(indices):
        return Judgement({}, {"nothing": "there is no image to judge"})
    logits, labels = _logits(model, packed, indices, context)
    metrics, diagram = _measured(logits, labels, params)
    details: dict[str, Any] = {"bins": params.bins, "binning": params.binning, "reliability": diagram}
    shared = len(set(indices.tolist()) & set(validation.tolist()))
    if shared or not len(validation):
        what = f"{shared} of the judged images are in it" if shared else "there is none"
        return Judgement(metrics, {**details, "not_scaled": f"no temperature of the validation part: {what}"})
    temperature = fit_temperature(*_logits(model, packed, validation, context))
    scaled, details["reliability_scaled"] = _measured(logits / temperature, labels, params)
    details["temperature"] = {
        "fitted_on": "validation",
        "images": len(validation),
        "range": [COLDEST, HOTTEST],
        "at_its_end": temperature in (COLDEST, HOTTEST),
    }
    metrics |= {f"{name}_scaled": scaled[name] for name in ("ece", "brier", "nll")} | {"temperature": temperature}
    return Judgement(metrics, details)


def _measured(
    logits: Tensor, labels: Tensor, params: CalibrationParameters
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    probabilities = logits.softmax(dim=1)
    diagram = reliability(probabilities, labels, bins=params.bins, binning=params.binning)
    metrics = {
        "ece": expected_calibration_error(diagram),
        "brier": brier_score(probabilities, labels),
        "nll": negative_log_likelihood(logits, labels),
        "top1": 100 * float((logits.argmax(dim=1) == labels).double().mean()),
        "confidence": 100 * float(probabilities.amax(dim=1).mean()),
    }
    return metrics, [asdict(each) for each in diagram]


def _logits(model: Model, packed: Packed, indices: Indices, context: Context) -> tuple[Tensor, Tensor]:
    """Returns logits (n, C) in float64 and labels (n,) of some images, on the CPU."""
    logits = shared_rows(model, packed, indices, context).cpu().double()
    if not bool(logits.isfinite().all()):
        broken = int((~logits.isfinite().all(dim=1)).sum())
        raise RunError(f"calibration: logits of {broken} of {len(indices)} images are not finite (NaN or infinity)")
    return logits, torch.from_numpy(packed.labels[indices])


def _check(values: Tensor, labels: Tensor, name: str) -> None:
    check_tensor(name, values, "floating", ("n", "C"), values)
    check_tensor("labels", labels, "integer", (values.shape[0],), values)
    check_finite(name, values)
