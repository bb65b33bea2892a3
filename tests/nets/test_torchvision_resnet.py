from __future__ import annotations

import torch
from torchvision import models

from coretune.nets.torchvision_resnet import resnet18
from coretune.spec.components import NoParameters

torch.set_num_threads(1)


def test_features_are_what_torchvision_feeds_its_classifier() -> None:
    ours = resnet18(NoParameters()).eval()
    theirs = models.resnet18(weights=None).eval()
    report = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert (report.missing_keys, report.unexpected_keys) == (["fc.weight", "fc.bias"], [])
    images = torch.rand(2, 3, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(theirs.fc(ours(images)), theirs(images))
