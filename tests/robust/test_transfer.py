"""Transfer: a model that sends gradients astray falls to images of another, and one that does not is left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attacked import ConvNet, TwoClasses, subjects
from support.training import context
from torch import Tensor, nn

from coretune.data.pack import Packed
from coretune.errors import CheckError
from coretune.nets.model import Model
from coretune.robust import transfer as transfer_module
from coretune.robust.attack import Subjects, attackable, predictions
from coretune.robust.reliability import probe, reasons
from coretune.robust.threat import ThreatModel
from coretune.robust.transfer import TransferProbes, evaluate_transfer, transfer_reasons, transferred
from coretune.spec.catalog.attacks import PgdParameters
from coretune.spec.catalog.evaluations import TransferParameters

CPU = torch.device("cpu")
EPS = ThreatModel.parse("linf", "8/255")


class Astray(nn.Module):
    """The logits of one model with the gradients of another, which lead nowhere."""

    def __init__(self, net: nn.Module, decoy: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.decoy = decoy

    def forward(self, images: Tensor) -> Tensor:
        led = self.decoy(images)
        logits: Tensor = self.net(images.detach()).detach() + led - led.detach()
        return logits


def fine_pattern(seed: int) -> Tensor:
    """A weight of a random sign in each value: squares of one colour, which a black box tries, average it away."""
    return torch.randint(0, 2, (3, 16, 16), generator=torch.Generator().manual_seed(seed)).float() * 2 - 1


def two_classes(n: int = 24, margin: float = 0.5) -> tuple[TwoClasses, Subjects]:
    """A linear model, and grey images that lie at a share of its reach at ε from its boundary."""
    weight = fine_pattern(0)
    reach = EPS.radius * float(weight.abs().sum())
    images = torch.full((n, 3, 16, 16), 0.5)
    images += 0.05 * torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(n) % 2
    model = TwoClasses(weight, 0.0)
    wanted = (2 * labels.float() - 1) * margin * reach
    moved = (wanted - model.score(images).detach()) / float((weight * weight).sum())
    return model, Subjects(images + moved.view(-1, 1, 1, 1) * weight, labels, 2, np.arange(n), 0)


def found(model: nn.Module, surrogate: nn.Module, aim: Subjects, threat: ThreatModel = EPS) -> TransferProbes:
    with attackable(model, CPU), attackable(surrogate, CPU):
        return transferred(model, surrogate, aim, threat, 20)


def test_gradients_that_lead_astray_are_caught_by_transfer_where_square_finds_nothing() -> None:
    honest, aim = two_classes()
    model = Astray(honest, TwoClasses(fine_pattern(1), 0.0))
    assert torch.equal(predictions(model, aim.images), aim.labels)
    with attackable(model, CPU):
        probes = probe(model, aim, EPS, PgdParameters(steps=20))
    assert probes.zero_gradient == probes.black_box == probes.many_steps == 0
    assert not any("black box" in said or "zero" in said for said in reasons(probes, scale_free=True))
    counts = found(model, honest, aim)
    assert counts == TransferProbes(24, surrogate_fooled=24, transfer=24, transfer_alone=24)
    (said,) = transfer_reasons(counts)
    assert said == "transfer beats white box: images of another model alone fool 24 of 24 images"


def test_a_model_with_honest_gradients_is_left_alone() -> None:
    honest, aim = two_classes()
    counts = found(honest, TwoClasses(fine_pattern(0), 0.0), aim)
    assert counts.transfer == 24 and counts.transfer_alone == 0 and not transfer_reasons(counts)
    net = ConvNet(seed=1)
    counts = found(net, ConvNet(seed=2), subjects(net, 24, seed=1), ThreatModel.parse("linf", "12/255"))
    assert counts.images == 24 and counts.transfer_alone <= 1 and not transfer_reasons(counts)


@settings(deadline=None, max_examples=20)
@given(st.floats(0.3, 1.7), st.sampled_from(["linf", "l2"]))
def test_between_linear_models_of_one_direction_what_transfers_is_known(margin: float, norm: Any) -> None:
    """Images of a surrogate along w fool a model along w if and only if their margin is below ε |w|, in either norm."""
    honest, aim = two_classes(8, margin)
    threat = EPS if norm == "linf" else ThreatModel.parse("l2", str(round(EPS.radius * np.sqrt(3 * 256), 4)))
    if abs(margin - 1) < 0.02:
        return
    counts = found(honest, TwoClasses(3 * fine_pattern(0), 0.0), aim, threat)
    assert counts.transfer == counts.surrogate_fooled == (8 if margin < 1 else 0)


def test_one_image_is_no_sign() -> None:
    assert transfer_reasons(TransferProbes(20, 20, 5, transfer_alone=1)) == []
    assert transfer_reasons(TransferProbes(20, 20, 5, transfer_alone=2))
    assert found(ConvNet(), ConvNet(), subjects(ConvNet(), 0)) == TransferProbes()


def model_of(seed: int) -> Model:
    """A net of three classes whose inputs are normalised."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        head = nn.Linear(24, 3)
        with torch.no_grad():
            head.weight *= 20
    return Model(encoder, head, (0.5,) * 3, (0.25,) * 3).eval()


def packed(model: Model, n: int) -> Packed:
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    with torch.no_grad():
        seen = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).argmax(dim=1).numpy()
    labels = np.where(np.arange(n) % 5 == 0, (seen + 1) % 3, seen)
    names = tuple(f"toy/{i}" for i in range(n))
    return Packed(images, labels, np.zeros(n, np.int8), ("a", "b", "c"), names, "0" * 64)


def judged(n: int = 30, surrogate: Model | None = None, **where: Any) -> Any:
    model = model_of(0)
    params = TransferParameters(surrogate="run:0123456789abcdef/last", eps="8/255", steps=5)
    indices = np.arange(n)
    other = surrogate or model_of(1)
    return evaluate_transfer(model, packed(model, n), indices, context(**where), params=params, surrogate=other)


def test_the_evaluation_says_accuracies_and_the_verdict() -> None:
    result = judged()
    assert result.metrics["clean_top1"] == pytest.approx(80.0)
    probes = result.details["verdict"]["probes"]
    assert probes["images"] == 24 and set(probes) == {"images", "surrogate_fooled", "transfer", "transfer_alone"}
    assert result.metrics["transfer_top1"] == pytest.approx(100 * (24 - probes["transfer"]) / 30)
    assert result.details["threat"] == ("L∞, ε = 8/255; made on run:0123456789abcdef/last (5 steps); 30 images; seed 0")
    assert judged().metrics == judged(evaluation_batch=7).metrics == result.metrics


def test_both_models_are_put_back() -> None:
    other = model_of(1)
    other.train()
    judged(surrogate=other)
    assert other.training and all(each.requires_grad and each.grad is None for each in other.parameters())


def test_a_surrogate_that_resists_and_few_images_are_said() -> None:
    (note,) = judged(9).details["notes"]
    assert note == "7 images are classified correctly, 8 are needed to find nothing on"
    assert judged(0).metrics == {}
    counts = TransferProbes(20, surrogate_fooled=3)
    details = transfer_module._judgement(counts, 20, EPS, TransferParameters(), 0).details
    assert details["notes"] == [
        "the attack fools its own surrogate on 3 of 20 images: that nothing transfers says little"
    ]


def test_an_image_outside_of_the_ball_ends_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    real = transfer_module.climb

    def too_far(*given: Any) -> Any:
        attempt = real(*given)
        return attempt._replace(images=(attempt.images + 0.1).clamp(0, 1))

    monkeypatch.setattr(transfer_module, "climb", too_far)
    with pytest.raises(CheckError, match="made on the surrogate left the threat model"):
        judged()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"surrogate": "run:12"}, "String should match pattern"),
        ({"eps": "8"}, "8 is too large for pixels"),
        ({"eps": "0"}, "eps needs a size above 0"),
        ({"steps": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_parameters_are_refused(said: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TransferParameters.model_validate(said)
    assert TransferParameters(eps="0.1", norm="l2").eps == "0.1"
