from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from coretune.cluster import status as module
from coretune.cluster.status import ClusterStatus, Driver, NodeStatus, Share
from coretune.errors import UnfitError
from coretune.spec.study import Resources
from coretune_cli.cluster import status_view
from coretune_cli.output import QuietConsole

GIB = 1 << 30
HEAD = NodeStatus("head (10.0.0.1)", True, 8.0, 8.0, 0.0, 0.0, "", 32 * GIB, 20 * GIB)
BUSY = NodeStatus(
    "gpu-1 (10.0.0.2)", False, 64.0, 0.5, 8.0, 0.25, "H200", 512 * GIB, 100 * GIB, "", {"slot": 8, "Desk": 1}
)
MUTE = NodeStatus("gpu-2 (10.0.0.3)", False, 64.0, 64.0, 8.0, 8.0, "H200", None, None, "Get timed out")
FOUND = ClusterStatus(
    "10.0.0.1:6379",
    "2.60.0",
    (HEAD, BUSY, MUTE),
    (Driver("02000000", "coretune study run a.yaml", HEAD.name, 77, 1000.0),),
)


def drawn(found: ClusterStatus, width: int = 120) -> str:
    screen = QuietConsole(width=width, file=None, record=True, markup=False, highlight=False)
    with screen.capture() as capture:
        screen.print(status_view(found, width, 1000.0 + 3725))
    return capture.get()


def test_nodes_what_runs_there_and_by_whom() -> None:
    text = drawn(FOUND)
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert text.startswith("Ray 2.60.0 at 10.0.0.1:6379: 3 nodes\n")
    assert "head (10.0.0.1) · head" in lines["head"] and "8/8" in lines["head"] and "20.0 GiB of 32.0 GiB" in text
    assert "0.5/64" in text and "0.25/8" in text and "8 slots, 1 Desk" in text and "H200" in text
    assert "gpu-2 (10.0.0.3) did not answer: Get timed out" in text
    assert "1h02m" in lines["02000000"] and "coretune study run a.yaml" in lines["02000000"]


def test_without_gpus_there_is_no_column_of_them_and_an_idle_cluster_says_so() -> None:
    text = drawn(ClusterStatus("h:1", "2.60.0", (HEAD,), ()))
    assert "GPU" not in text and "1 node\n" in text and "nothing else uses the cluster" in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_it_fits(width: int) -> None:
    assert max(map(len, drawn(FOUND, width).splitlines()[1:])) <= width


@pytest.mark.parametrize(
    ("share", "says"),
    [
        (Share(1, 9, 1), "the study would get 9 slots, 1 of them free now"),
        (Share(4, 4, 1), "the study would get 4 groups of 4 workers, 1 of them free now"),
        (Share(4, 1, 0), "the study would get 1 group of 4 workers, 0 of them free now"),
        (Share(4, 0, 0, "one run needs 4 workers"), "the study would be refused: one run needs 4 workers"),
    ],
)
def test_what_a_study_would_get(share: Share, says: str) -> None:
    assert says in drawn(replace(FOUND, study=share))


def test_the_command(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, Resources | None]] = []

    def answer(address: str, resources: Resources | None) -> ClusterStatus:
        asked.append((address, resources))
        return FOUND

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(module, "cluster_status", answer)
    said = cli("cluster", "status", "--json")
    assert said.code == 0 and json.loads(said.out)["nodes"][1]["actors"] == {"slot": 8, "Desk": 1}
    said = cli("cluster", "status", "--address", "h:1", "--study", "quickstart", "--set", "resources.cpus=3")
    assert said.code == 0 and said.err == "" and "gpu-1" in said.out
    monkeypatch.setenv("RAY_ADDRESS", "e:2")
    cli("cluster", "status")
    assert [address for address, _ in asked] == ["auto", "h:1", "e:2"]
    assert asked[0][1] is None and asked[1][1] is not None and asked[1][1].cpus == 3


def test_no_cluster_is_one_line_and_3(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: str, resources: Resources | None) -> ClusterStatus:
        raise UnfitError(f"no Ray cluster answers at {address}: connection refused")

    monkeypatch.setattr(module, "cluster_status", refuse)
    said = cli("cluster", "status", "--address", "127.0.0.1:1")
    assert (said.code, said.err) == (3, "coretune: no Ray cluster answers at 127.0.0.1:1: connection refused\n")
