from __future__ import annotations

import pytest
import torch
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.models.segmentation.lraspp import LRASPPHead

from coretune.errors import RequestError
from coretune.nets.backbone import Level
from coretune.segment.heads import LrAspp, make_head
from coretune.spec.segmentation import SegmentationSpec

LEVELS = (Level("a", 8, 4), Level("b", 16, 8), Level("c", 32, 8), Level("d", 64, 16))


def maps() -> list[torch.Tensor]:
    torch.manual_seed(1)
    sizes = {4: 16, 8: 8, 16: 4}
    return [torch.randn(2, level.channels, sizes[level.stride], sizes[level.stride]) for level in LEVELS]


def head_of(name: str, levels: tuple[Level, ...] = LEVELS, auxiliary: float = 0.4):  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    return make_head(SegmentationSpec.model_validate({"head": name, "auxiliary": auxiliary}), levels, 5, "net").eval()


@pytest.mark.parametrize(
    ("name", "make"),
    [("deeplabv3", lambda: DeepLabHead(64, 5, (6, 12, 18))), ("fcn", lambda: FCNHead(64, 5))],
)
def test_a_head_computes_what_torchvisions_does(name: str, make) -> None:  # type: ignore[no-untyped-def]
    head, found = head_of(name), maps()
    theirs = make().eval()
    theirs.load_state_dict(head.net.state_dict())
    assert torch.equal(head(found), theirs(found[-1]))
    assert head.features == head.decode(found).shape[1]


def test_lr_aspp_computes_what_torchvisions_does() -> None:
    head, found = head_of("lraspp"), maps()
    theirs = LRASPPHead(32, 64, 5, 128).eval()
    theirs.load_state_dict(head.net.state_dict())
    assert torch.allclose(head(found), theirs({"low": found[2], "high": found[3]}), atol=1e-5)
    assert head.features == 32 + 128


@pytest.mark.parametrize("name", ["deeplabv3", "fcn", "lraspp"])
def test_the_classifier_of_pixels_is_that_of_maps(name: str) -> None:
    head = head_of(name)
    features = head.decode(maps())
    rows = features.permute(0, 2, 3, 1).flatten(0, 2)
    expected = head.classify(features).permute(0, 2, 3, 1).flatten(0, 2)
    assert torch.allclose(head.classify(rows), expected, atol=1e-5)


def test_the_classifier_is_linear_in_the_features() -> None:
    head = head_of("lraspp")
    one, other = torch.randn(2, 1, head.features)
    mixed = head.classify(0.3 * one + 0.7 * other)
    assert torch.allclose(mixed, 0.3 * head.classify(one) + 0.7 * head.classify(other), atol=1e-5)


def test_the_auxiliary_head_stands_beside_the_others() -> None:
    with_it, without = head_of("fcn"), head_of("fcn", auxiliary=0.0)
    assert torch.equal(with_it(maps()), without(maps()))  # drawn last
    found = with_it.auxiliary(maps())
    assert found is not None and found.shape == (2, 5, 8, 8)
    assert without.auxiliary(maps()) is None


def test_rates_follow_the_output_stride() -> None:
    levels = (*LEVELS[:3], Level("d", 64, 8))
    assert [branch[0].dilation for branch in head_of("deeplabv3", levels).net[0].convs[1:4]] == [
        (12, 12),
        (24, 24),
        (36, 36),
    ]


def test_the_finer_map_is_the_last_one_of_twice_the_resolution() -> None:
    head = head_of("lraspp", (*LEVELS[:3], Level("d", 64, 8)))
    assert isinstance(head, LrAspp) and head.low == 0


def test_what_the_backbone_lacks_is_named() -> None:
    with pytest.raises(RequestError, match=r"backbone net: lraspp needs a map of twice the resolution.*8, 8"):
        head_of("lraspp", (Level("a", 8, 8), Level("b", 8, 8)))
    with pytest.raises(RequestError, match=r"single level; segmentation\.auxiliary: 0"):
        head_of("fcn", LEVELS[:1])
