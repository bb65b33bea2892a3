"""Any model of timm (PyTorch Image Models), where that package is installed."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor, nn

from coretune.errors import RequestError, UnfitError
from coretune.nets.backbone import Backbone, Level, Sizes
from coretune.spec.catalog.backbones import TimmParameters


class TimmBackbone(Backbone):
    """A model of timm without its classifier, from random weights; its state-dict keys are timm's behind `net.`.

    Features are what timm feeds the classifier. Levels are timm's `feature_info`: the stages of a net with stages, the
    blocks, all of one resolution, of a plain vision transformer.

    Args:
        params: The model's name, and timm's arguments.

    Raises:
        UnfitError: timm is not installed.
        RequestError: timm has no such model, or refuses an argument.
    """

    def __init__(self, params: TimmParameters) -> None:
        super().__init__()
        self.net = _made(params)
        self.features = int(getattr(self.net, "head_hidden_size", None) or self.net.num_features)
        config: dict[str, Any] = dict(self.net.pretrained_cfg)
        self.mean = tuple(config.get("mean", self.mean))
        self.std = tuple(config.get("std", self.std))
        self.input_size = int(params.kwargs.get("img_size", config.get("input_size", (3, self.input_size))[-1]))
        if config.get("fixed_input_size") and not params.kwargs.get("dynamic_img_size"):
            self.sizes = Sizes(only=self.input_size)
        if hasattr(self.net, "forward_intermediates"):
            self.levels = tuple(
                Level(f"net.{level['module']}", int(level["num_chs"]), int(level["reduction"]))
                for level in getattr(self.net.feature_info, "info", self.net.feature_info)
            )
        if params.kwargs.get("dynamic_img_size") and not params.kwargs.get("dynamic_img_pad") and self.levels:
            patch = self.levels[-1].stride
            self.sizes = Sizes(least=patch, multiple=patch)
        if hasattr(self.net, "no_weight_decay"):
            self.undecayed = frozenset(f"net.{name}" for name in self.net.no_weight_decay())

    def forward(self, images: Tensor) -> Tensor:
        """Returns features (n, d) of normalised images (n, 3, H, W).

        Raises:
            RequestError: The model takes images of one other size.
        """
        self.sizes.check(type(self.net).__name__, *images.shape[2:])
        found: Tensor = self.net(images)
        return found

    def maps(self, images: Tensor) -> tuple[Tensor, ...]:
        """Returns the intermediate features that timm gives.

        Raises:
            RequestError: As `forward`; or timm gives none for this model.
        """
        if not self.levels:
            return super().maps(images)
        self.sizes.check(type(self.net).__name__, *images.shape[2:])
        return tuple(self.net.forward_intermediates(images, intermediates_only=True, output_fmt="NCHW"))


def _made(params: TimmParameters) -> Any:
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError as error:
        raise UnfitError(f"backbone timm: {error}; `pip install coretune[timm]` installs it") from error
    try:
        net: nn.Module = timm.create_model(params.model, pretrained=False, num_classes=0, **params.kwargs)
    except Exception as error:  # a model's own code may raise anything about its arguments
        raise RequestError(f"backbone timm: cannot make {params.model}: {type(error).__name__}: {error}") from error
    return net
