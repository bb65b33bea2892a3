from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.checkpoints import below, linear
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import VisionTransformer

from coretune.nets.checkpoints import read_checkpoint, recognise
from coretune.nets.checkpoints.vit import ours_of, renamed_as, resized_positions, theirs_of
from coretune.nets.weights import load_encoder

torch.set_num_threads(1)


def vit(seed: int = 0, image: int = 32) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: nn.Module = VisionTransformer(image, 8, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16)
        net.heads = nn.Identity()
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.3)
    return net.eval()


def as_timm(net: nn.Module) -> dict[str, Tensor]:
    return {ours_of(key): tensor for key, tensor in net.state_dict().items()}


def timm_forward(state: dict[str, Tensor], images: Tensor) -> Tensor:
    """timm's vision transformer (pre-norm, fused qkv, class token), written out with its own names."""

    def norm(name: str, hidden: Tensor) -> Tensor:
        return functional.layer_norm(hidden, (8,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def dense(name: str, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, state[f"{name}.weight"], state[f"{name}.bias"])

    grid = functional.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], 8)
    hidden = torch.cat((state["cls_token"].expand(len(images), -1, -1), grid.flatten(2).transpose(1, 2)), 1)
    hidden = hidden + state["pos_embed"]
    for index in range(3):
        block = f"blocks.{index}"
        qkv = dense(f"{block}.attn.qkv", norm(f"{block}.norm1", hidden))
        q, k, v = qkv.reshape(*qkv.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
        attended = ((q @ k.transpose(-2, -1)) / 4**0.5).softmax(-1) @ v
        hidden = hidden + dense(f"{block}.attn.proj", attended.transpose(1, 2).flatten(2))
        inner = functional.gelu(dense(f"{block}.mlp.fc1", norm(f"{block}.norm2", hidden)))
        hidden = hidden + dense(f"{block}.mlp.fc2", inner)
    return norm("norm", hidden)[:, 0]


def test_timms_names_compute_what_torchvisions_do() -> None:
    net, images = vit(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(timm_forward(as_timm(net), images), net(images), atol=1e-5, rtol=1e-4)


def test_the_names_go_there_and_back() -> None:
    state = vit().state_dict()
    timm = as_timm(vit())
    assert {theirs_of(key) for key in timm} == set(state) and not set(timm) & set(state)
    assert set(renamed_as(state, timm)) == set(state)
    assert set(renamed_as(timm, state)) == set(timm)
    assert set(renamed_as(timm, timm)) == set(timm) and set(renamed_as(["x"], timm)) == set(timm)
    assert theirs_of("encoder.layers.encoder_layer_2.mlp.linear_1.bias") == "encoder.layers.encoder_layer_2.mlp.0.bias"


MOCO_V3_HEAD = linear("head.0", bias=False) | linear("head.3", bias=False)


@pytest.mark.parametrize(
    ("layout", "saved"),
    [
        ("timm_vit", lambda timm: timm | linear("head", 1000)),
        ("timm_vit", lambda timm: timm),
        ("dino", lambda timm: {"teacher": below("backbone.", timm) | linear("head.mlp.0")}),
        ("moco_v3", lambda timm: {"state_dict": below("module.base_encoder.", timm | MOCO_V3_HEAD)}),
    ],
)
def test_other_projects_transformers_are_loaded(tmp_path: Path, layout: str, saved: object) -> None:
    net, fresh, images = vit(), vit(1), torch.rand(2, 3, 32, 32)
    torch.save(saved(as_timm(net)), tmp_path / "w")  # type: ignore[operator]
    assert recognise(read_checkpoint(tmp_path / "w")).layout.name == layout
    load_encoder(fresh, tmp_path / "w")
    with torch.no_grad():
        assert torch.equal(fresh(images), net(images))


def test_torchvisions_own(tmp_path: Path) -> None:
    net, fresh = vit(), vit(1)
    torch.save(net.state_dict() | linear("heads.head", 1000), tmp_path / "w")
    found = recognise(read_checkpoint(tmp_path / "w"))
    assert found.layout.name == "torchvision_vit" and found.dropped == {"classifier": 2}
    load_encoder(fresh, tmp_path / "w")
    assert all(torch.equal(tensor, fresh.state_dict()[key]) for key, tensor in net.state_dict().items())


def test_position_embeddings_of_another_grid(tmp_path: Path) -> None:
    net, larger = vit(), vit(1, image=48)
    torch.save(as_timm(net), tmp_path / "w")
    result = load_encoder(larger, tmp_path / "w")
    assert result is not None and result.fits
    assert result.problems() == [
        "interpolated to another grid: encoder.pos_embedding (1, 17, 8) in the file, (1, 37, 8) here"
    ]
    found, positions = larger.encoder.pos_embedding, net.encoder.pos_embedding
    grid = positions[:, 1:].reshape(4, 4, 8).permute(2, 0, 1)[None]
    wanted = functional.interpolate(grid, size=(6, 6), mode="bicubic", align_corners=False)[0]
    assert torch.equal(found[:, :1], positions[:, :1])
    torch.testing.assert_close(found[0, 1:], wanted.permute(1, 2, 0).reshape(36, 8))


def test_lengths_of_grids() -> None:
    constant = torch.ones(1, 17, 2)
    for length in (5, 10, 17, 197):
        resized = resized_positions(constant, length)
        assert resized is not None and resized.shape == (1, length, 2)
        torch.testing.assert_close(resized, torch.ones(1, length, 2))
    assert resized_positions(torch.ones(1, 16, 2), 49).shape == (1, 49, 2)  # type: ignore[union-attr]
    assert resized_positions(torch.ones(1, 18, 2), 51).shape == (1, 51, 2)  # type: ignore[union-attr]
    assert resized_positions(constant, 20) is None
    assert resized_positions(torch.ones(17, 2), 5) is None
