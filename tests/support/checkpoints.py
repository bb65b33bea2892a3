"""Files as each project writes them, around a narrow ResNet with torchvision's names."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

State = dict[str, Tensor]

NARROWER = 16


class Narrow(ResNet):  # type: ignore[misc]
    """torchvision's ResNet, each stage a sixteenth as wide; the stem is not."""

    def _make_layer(self, block: Any, planes: int, *rest: Any, **options: Any) -> nn.Sequential:
        made: nn.Sequential = super()._make_layer(block, planes // NARROWER, *rest, **options)
        return made


def narrow(seed: int = 0, *, bottleneck: bool = False) -> nn.Module:
    """Returns a narrow ResNet-18, or of bottlenecks, without classifier; every tensor differs from its start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: nn.Module = Narrow(Bottleneck if bottleneck else BasicBlock, [2, 2, 2, 2])
        net.fc = nn.Identity()
        for key, tensor in net.state_dict().items():
            if key.endswith(("running_mean", "bias")):
                tensor.copy_(torch.randn_like(tensor) * 0.1)
            if key.endswith("running_var"):
                tensor.copy_(1 + torch.rand_like(tensor))
    return net.eval()


def features(net: nn.Module) -> Tensor:
    """Returns the features of two fixed images."""
    with torch.no_grad():
        found: Tensor = net.eval()(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)))
    return found


def below(prefix: str, state: Mapping[str, Tensor]) -> State:
    """Returns tensors with a prefix before each key."""
    return {f"{prefix}{key}": tensor for key, tensor in state.items()}


def linear(name: str, out: int = 8, *, bias: bool = True) -> State:
    """Returns the tensors of a linear layer."""
    return {f"{name}.weight": torch.randn(out, 8)} | ({f"{name}.bias": torch.randn(out)} if bias else {})


def norm(name: str, *, affine: bool = True) -> State:
    """Returns the tensors of a batch norm."""
    found = {f"{name}.running_mean": torch.zeros(8), f"{name}.running_var": torch.ones(8)}
    found[f"{name}.num_batches_tracked"] = torch.tensor(5)
    return found | ({f"{name}.weight": torch.ones(8), f"{name}.bias": torch.zeros(8)} if affine else {})


def children(state: Mapping[str, Tensor]) -> State:
    """Returns a ResNet's tensors as `Sequential(*children[:-1])` names them."""
    numbers = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    parts = {key: key.partition(".") for key in state}
    return {f"{numbers[head]}.{rest}": state[key] for key, (head, _, rest) in parts.items()}


def trained(state: Any, arch: str = "resnet50") -> dict[str, Any]:
    """Returns what the scripts after PyTorch's ImageNet example save."""
    momentum = {"momentum_buffer": torch.zeros(3)}
    optimizer = {"state": {0: momentum}, "param_groups": [{"lr": 0.03, "params": [0]}]}
    return {"epoch": 200, "arch": arch, "state_dict": state, "optimizer": optimizer}


def moco(state: State, *, mlp: bool, wrapper: str = "module.") -> dict[str, Any]:
    """MoCo v1 and v2, and PCL."""
    head = linear("fc.0") | linear("fc.2") if mlp else linear("fc")
    both = state | head
    other = {key: torch.zeros_like(tensor) for key, tensor in both.items()}
    queue = {"queue": torch.zeros(8, 16), "queue_ptr": torch.zeros(1, dtype=torch.long)}
    return trained(below(wrapper, below("encoder_q.", both) | below("encoder_k.", other) | queue))


def moco_v3(state: State) -> dict[str, Any]:
    """MoCo v3's ResNet."""
    head = linear("fc.0", bias=False) | norm("fc.1") | linear("fc.3", bias=False) | norm("fc.4", affine=False)
    other = {key: torch.zeros_like(tensor) for key, tensor in (state | head).items()}
    parts = below("base_encoder.", state | head) | below("momentum_encoder.", other) | linear("predictor.0", bias=False)
    return trained(below("module.", parts)) | {"scaler": {"scale": 65536.0}}


def pycontrast(state: State, head: State, *, ema: bool = False) -> dict[str, Any]:
    """InsDis, PIRL, MoCo and InfoMin of PyContrast."""
    saved: dict[str, Any] = {
        "model": below("module.", below("encoder.", state) | head),
        "contrast": {"params": torch.zeros(5), "memory": torch.zeros(16, 8)},
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 800,
    }
    if ema:
        other = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
        saved["model_ema"] = below("encoder.", other) | head
    return saved


def dino(state: State) -> dict[str, Any]:
    """DINO's full checkpoint of a ResNet, with the script's arguments in it."""
    head = linear("mlp.0") | linear("mlp.2") | linear("last_layer", bias=False)
    teacher = below("backbone.", state) | below("head.", head)
    student = {f"module.{key}": torch.zeros_like(tensor) for key, tensor in teacher.items()}
    arguments = argparse.Namespace(arch="resnet50", patch_size=16, output_dir="/tmp/x")
    return {
        "student": student,
        "teacher": teacher,
        "optimizer": {"state": {}, "param_groups": []},
        "epoch": 800,
        "args": arguments,
        "dino_loss": {"center": torch.zeros(1, 8)},
    }


def byol_lucidrains(state: State) -> State:
    """lucidrains/byol-pytorch's learner."""
    projector = linear("projector.net.0") | norm("projector.net.1")
    online = below("net.", state | linear("fc")) | projector
    other = {key: torch.zeros_like(tensor) for key, tensor in online.items()}
    parts = below("net.", state | linear("fc")) | below("online_encoder.", online) | below("target_encoder.", other)
    return parts | linear("online_predictor.net.0")


def byol_sthalles(state: State) -> dict[str, Any]:
    """sthalles/PyTorch-BYOL's three networks."""
    online = below("encoder.", children(state)) | linear("projetion.net.0")
    other = {key: torch.zeros_like(tensor) for key, tensor in online.items()}
    return {
        "online_network_state_dict": online,
        "target_network_state_dict": other,
        "optimizer_state_dict": {"state": {}, "param_groups": []},
    }


def byol_yaox12(state: State) -> dict[str, Any]:
    """yaox12/BYOL-PyTorch's model."""
    online = below("encoder.", children(state)) | linear("projetion.l1")
    other = {key: torch.zeros_like(tensor) for key, tensor in online.items()}
    parts = below("online_network.", online) | below("target_network.", other) | linear("predictor.predictor.l1")
    return {"config": {"model": "byol"}, "epoch": 3, "model": below("module.", parts)}


def barlow_twins(state: State) -> dict[str, Any]:
    """Barlow Twins' full checkpoint."""
    parts = below("backbone.", state) | linear("projector.0", bias=False) | norm("projector.1")
    return {"epoch": 1000, "model": below("module.", parts | norm("bn", affine=False)), "optimizer": {}}


def simsiam(state: State) -> dict[str, Any]:
    """SimSiam: a projector of eight modules in place of fc, and a predictor."""
    head = linear("fc.0", bias=False) | norm("fc.1") | linear("fc.6") | norm("fc.7", affine=False)
    return trained(below("module.", below("encoder.", state | head) | linear("predictor.0") | linear("predictor.3")))


def swav(state: State) -> State:
    """SwAV, whose released files are flat."""
    head = linear("projection_head.0") | norm("projection_head.1") | linear("prototypes", bias=False)
    return below("module.", state | head)


def deepcluster_v2(state: State) -> State:
    """DeepCluster-v2: several sets of prototypes."""
    head = linear("projection_head.0") | linear("prototypes.prototypes0", bias=False)
    return below("module.", state | head)


def own(state: State) -> State:
    """A run of coretune."""
    normalise = {"normalise.mean": torch.zeros(3, 1, 1), "normalise.std": torch.ones(3, 1, 1)}
    return below("encoder.", state) | normalise | linear("classifier") | linear("method.project.0")


MLP_JIG = linear("head.0") | linear("head.2") | linear("head_jig.fc1.0") | linear("head_jig.fc1.2")
LINEAR_JIG = linear("head.0") | linear("head_jig.fc1") | linear("head_jig.fc2")

LAYOUTS: dict[str, tuple[str, str, Callable[[State], Any]]] = {
    "moco v1": ("moco_v1", "module.encoder_q.", lambda state: moco(state, mlp=False)),
    "moco v2": ("moco_v2", "module.encoder_q.", lambda state: moco(state, mlp=True)),
    "moco v2, one GPU": ("moco_v2", "encoder_q.", lambda state: moco(state, mlp=True, wrapper="")),
    "moco v3": ("moco_v3", "module.base_encoder.", moco_v3),
    "insdis": ("insdis", "module.encoder.", lambda state: pycontrast(state, linear("head.0"))),
    "pirl": ("pirl", "module.encoder.", lambda state: pycontrast(state, LINEAR_JIG)),
    "infomin": ("infomin", "module.encoder.", lambda state: pycontrast(state, MLP_JIG, ema=True)),
    "pycontrast's moco v2": (
        "pycontrast",
        "module.encoder.",
        lambda state: pycontrast(state, linear("head.0") | linear("head.2"), ema=True),
    ),
    "supcon": (
        "pycontrast",
        "encoder.module.",
        lambda state: {"model": below("encoder.module.", state) | linear("head.0") | linear("head.2"), "opt": {}},
    ),
    "simclr, sthalles": (
        "simclr",
        "backbone.",
        lambda state: trained(below("backbone.", state | linear("fc.0") | linear("fc.2"))),
    ),
    "simclr, sthalles' first": (
        "simclr",
        "features.",
        lambda state: below("features.", children(state)) | linear("l1") | linear("l2"),
    ),
    "simclr, Spijkervet": (
        "simclr",
        "module.encoder.",
        lambda state: below("module.", below("encoder.", state) | linear("projector.0", bias=False)),
    ),
    "simclr, AndrewAtanov": (
        "simclr",
        "convnet.",
        lambda state: trained(below("convnet.", state) | linear("projection.fc1", bias=False) | norm("projection.bn1")),
    ),
    "simclr, tonylins": ("torchvision", "", lambda state: {"state_dict": state | linear("fc", 1000)}),
    "swav": ("swav", "module.", swav),
    "deepcluster v2": ("swav", "module.", deepcluster_v2),
    "byol, lucidrains": ("byol", "online_encoder.net.", byol_lucidrains),
    "byol, sthalles": ("byol", "encoder.", byol_sthalles),
    "byol, yaox12": ("byol", "module.online_network.encoder.", byol_yaox12),
    "simsiam": ("simsiam", "module.encoder.", simsiam),
    "barlow twins": ("barlow_twins", "module.backbone.", barlow_twins),
    "barlow twins, plain": ("torchvision", "", lambda state: state),
    "dino": ("dino", "backbone.", dino),
    "torchvision": ("torchvision", "", lambda state: state | linear("fc", 1000)),
    "ImageNet example": ("torchvision", "module.", lambda state: trained(below("module.", state | linear("fc", 1000)))),
    "coretune": ("coretune", "encoder.", own),
    "a backbone": ("unknown", "module.backbone.", lambda state: {"model": below("module.backbone.", state)}),
}
"""By what it is: the layout's name, what is stripped, and the object that is saved, made of a ResNet's tensors."""
