"""The contract's defaults, and which images a backbone says that it takes."""

from __future__ import annotations

import pytest
import torch

from coretune.errors import RequestError
from coretune.nets.backbone import Backbone, Sizes
from coretune.nets.model import IMAGENET_MEAN, IMAGENET_STD

torch.set_num_threads(1)


def test_a_backbone_that_says_nothing_takes_all_images_and_has_no_maps() -> None:
    net = Backbone()
    assert (net.mean, net.std, net.levels, net.undecayed) == (IMAGENET_MEAN, IMAGENET_STD, (), frozenset())
    for side in (1, 7, 224):
        net.sizes.check("any", side, side)
    with pytest.raises(RequestError, match="Backbone has no feature maps by level"):
        net.maps(torch.rand(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("sizes", "taken", "refused"),
    [
        (Sizes(least=32), [(32, 32), (33, 500)], [(31, 40), (40, 31)]),
        (Sizes(multiple=4), [(4, 8), (96, 100)], [(4, 6), (6, 4)]),
        (Sizes(only=48), [(48, 48)], [(48, 96), (96, 48), (96, 96), (24, 24)]),
    ],
)
def test_both_sides_count(sizes: Sizes, taken: list[tuple[int, int]], refused: list[tuple[int, int]]) -> None:
    for height, width in taken:
        sizes.check("net", height, width)
    for height, width in refused:
        with pytest.raises(RequestError, match=f"backbone net takes images .* got {height}×{width}"):
            sizes.check("net", height, width)
