"""torchvision's vision transformers without their classifiers, from random weights."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torchvision.models import VisionTransformer, get_model

from coretune.nets.backbone import Backbone, Level, Sizes
from coretune.nets.position_embedding import resize_position_embedding
from coretune.spec.catalog.backbones import VisionTransformerParameters


class TorchvisionVisionTransformer(Backbone):
    """ViT (Dosovitskiy et al., ICLR 2021); features are the class token after the last norm.

    State-dict keys are torchvision's but for `heads.*`. The position embedding is made for images of one size; for maps
    of others it is interpolated.

    Args:
        name: Name in torchvision.
        params: The size of the images.
    """

    map_sizes: Sizes

    def __init__(self, name: str, params: VisionTransformerParameters) -> None:
        super().__init__()
        net: VisionTransformer = get_model(name, weights=None, image_size=params.image_size)
        self.name = name
        self.features: int = net.hidden_dim
        self.class_token = net.class_token
        self.conv_proj = net.conv_proj
        self.encoder = net.encoder
        self.patch: int = net.patch_size
        self.levels = (Level("encoder", self.features, self.patch),)
        self.input_size = params.image_size
        self.sizes = Sizes(only=params.image_size)
        self.map_sizes = Sizes(least=self.patch, multiple=self.patch)
        self.undecayed = frozenset({"class_token", "encoder.pos_embedding"})

    def forward(self, images: Tensor) -> Tensor:
        """Returns features (n, d) of normalised images (n, 3, H, W).

        Raises:
            RequestError: The images have another size than the position embedding was made for.
        """
        self.sizes.check(self.name, *images.shape[2:])
        found: Tensor = self.encoder(self._tokens(images))[:, 0]
        return found

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the tokens of the patches after the last norm, in their places.

        Raises:
            RequestError: The images do not divide into patches.
        """
        self.map_sizes.check(self.name, *images.shape[2:])
        rows, columns = (side // self.patch for side in images.shape[2:])
        net = self.encoder
        tokens = self._tokens(images) + resize_position_embedding(net.pos_embedding, rows, columns)
        patches = net.ln(net.layers(net.dropout(tokens)))[:, 1:]
        return (patches.transpose(1, 2).unflatten(2, (rows, columns)),)

    def _tokens(self, images: Tensor) -> Tensor:
        """Returns (n, 1 + patches, d), the class token first, without their positions."""
        patches = self.conv_proj(images).flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)


vit_b_16 = partial(TorchvisionVisionTransformer, "vit_b_16")
vit_l_16 = partial(TorchvisionVisionTransformer, "vit_l_16")
