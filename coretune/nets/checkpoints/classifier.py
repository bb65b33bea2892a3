"""The classifier of a checkpoint: fine-tuning never takes it, an evaluation of somebody else's model needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from coretune.errors import RequestError
from coretune.nets.checkpoints.read import Contents
from coretune.nets.checkpoints.recognise import recognise, unwrapped
from coretune.spec.wording import some

HEAD = re.compile(r"(^|\.)(fc|linear|last_linear|head|heads\.head|head\.fc|classifier(\.\d+)?)\.weight$")
"""Weights of what projects call their classifier; projection heads of several layers have keys like `fc.0.weight`."""

LISTED = 5


def load_classifier(contents: Contents, *, features: int, classes: int) -> nn.Linear:
    """Returns the linear classifier that stands beside a checkpoint's backbone.

    Args:
        contents: The file.
        features: Width d of what it is to take.
        classes: C of what it is to return, in the order of the file.

    Raises:
        RequestError: There is none of this shape, or more than one; or it holds a number that is not finite.
    """
    tensors, _ = unwrapped(contents.sections[recognise(contents).section])
    heads = {key: tuple(tensor.shape) for key, tensor in tensors.items() if HEAD.search(key) and tensor.ndim == 2}
    fitting = [key for key, shape in heads.items() if shape == (classes, features)]
    if len(fitting) != 1:
        raise RequestError(_refusal(heads, fitting, (classes, features)))
    key = fitting[0]
    return _linear(tensors, key.removesuffix("weight"))


def _linear(tensors: Mapping[str, Tensor], prefix: str) -> nn.Linear:
    weight, bias = tensors[f"{prefix}weight"], tensors.get(f"{prefix}bias")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and not bool(tensor.isfinite().all()):
            raise RequestError(f"is broken: {prefix}{name} holds a number that is not finite (NaN or infinity)")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.load_state_dict({"weight": weight, **({"bias": bias} if bias is not None else {})})
    return layer


def _refusal(heads: Mapping[str, tuple[int, ...]], fitting: list[str], wanted: tuple[int, int]) -> str:
    classes, features = wanted
    if fitting:
        return f"holds {len(fitting)} classifiers of {features} features and {classes} classes: {some(fitting, LISTED)}"
    if not heads:
        return "holds no classifier (no fc, linear, head or classifier of one layer): it was made to start from"
    found = some([f"{key} of {shape[1]} features and {shape[0]} classes" for key, shape in heads.items()], LISTED)
    return f"holds no classifier of {features} features and {classes} classes, but {found}"
