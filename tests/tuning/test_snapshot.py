from __future__ import annotations

import torch
from torch import nn

from coretune.tuning.snapshot import module_snapshot, snapshot


def test_tensors_are_copied_and_the_rest_is_kept() -> None:
    value = {"a": [torch.ones(2), (torch.zeros(1), "text")], 3: None, "n": 1.5}
    copied = snapshot(value)
    value["a"][0].add_(1)  # type: ignore[index]
    assert torch.equal(copied["a"][0], torch.ones(2))
    assert isinstance(copied["a"][1], tuple)
    assert copied["a"][1][1] == "text"
    assert copied[3] is None
    assert copied["n"] == 1.5


def test_a_modules_state_keeps_layout_and_versions() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    state = module_snapshot(module)
    assert state["0.weight"].is_contiguous(memory_format=torch.channels_last)
    assert state._metadata["1"]["version"] == 2  # type: ignore[attr-defined]
    with torch.no_grad():
        module[0].weight.zero_()
    assert state["0.weight"].abs().sum() > 0
    module.load_state_dict(state)
