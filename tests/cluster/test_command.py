from __future__ import annotations

from typing import Any

from coretune.cluster.command import places_for


def node(name: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
    address = {"NodeManagerAddress": "10.0.0.1", "NodeManagerHostname": name}
    return {"NodeID": name, "Alive": alive, "Resources": resources, **address}


NODES = [
    node("head", CPU=0.0),
    node("small", CPU=4.0),
    node("large", CPU=16.0),
    node("gpus", CPU=10.0, GPU=4.0),
    node("gone", alive=False, CPU=64.0, GPU=8.0),
]
FREE = {"small": {"CPU": 4.0}, "large": {"CPU": 15.0}, "gpus": {"CPU": 10.0, "GPU": 4.0}}


def found(gpu: bool | None, nodes: list[dict[str, Any]] = NODES) -> list[tuple[str, float, float, bool]]:
    return [(place.node.id, place.cpus, place.gpus, place.free) for place in places_for(nodes, FREE, gpu)]


def test_without_a_gpu_a_free_node_goes_before_a_large_one_in_use() -> None:
    assert found(False) == [("gpus", 10, 0, True), ("small", 4, 0, True), ("large", 16, 0, False)]


def test_a_gpu_comes_with_its_share_of_the_cpus() -> None:
    assert found(True) == [("gpus", 2, 1, True)]
    assert found(None) == found(True), "what nobody forbids is taken"


def test_a_cluster_without_gpus_has_no_place_for_who_needs_one() -> None:
    assert found(True, NODES[:3]) == []
    assert [place[0] for place in found(None, NODES[:3])] == ["small", "large"]
