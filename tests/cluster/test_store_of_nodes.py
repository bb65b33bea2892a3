"""Studies on two nodes that share nothing but an object store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.command import TINY, wait_until
from support.ray_nodes import Nodes, ray_nodes
from support.s3 import BUCKET, s3_server

from coretune.results.remote import Remote

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(600)]

GROUPED = """
name: grouped
datasets: {digits: {validation: 200, test: 300, labels_per_class: 5}}
backbones: {plain: {arch: small_resnet, params: {widths: [8, 16]}, pretrain: {train: {epochs: 1}}}}
methods: [ce]
train: {epochs: 100, batch: 50, contrast_batch: 50, evaluate_every: 5}
search: none
finals: {seeds: 1, weights: best}
resources: {workers: 2}
"""


@dataclass(frozen=True)
class Apart:
    """Two nodes, and the first one's cache, which the second does not see: results are there before they are stored."""

    nodes: Nodes
    cache: Path

    def run(self, folder: Path, text: str, url: str) -> tuple[int, str]:
        """Runs a study to its end."""
        driver = self.start(folder, text, url)
        said = "".join(driver.communicate(timeout=240))
        return driver.returncode, said

    def start(self, folder: Path, text: str, url: str) -> subprocess.Popen[str]:
        """Starts a study."""
        (folder / "study.yaml").write_text(text)
        words = ("study", "run", "study.yaml", "--address", self.nodes.address, "--out", url)
        return self.nodes.coretune(folder, *words, CORETUNE_CACHE=str(self.cache))


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    if os.geteuid() != 0:
        pytest.skip("a node that does not see a folder needs root (unshare --mount)")
    folder = tmp_path_factory.mktemp("apart")
    cache = folder / "cache"
    cache.mkdir()
    with s3_server(folder / "s3.log"), ray_nodes(cpus=1) as nodes:
        nodes.add(cpus=1, hiding=cache)
        yield Apart(nodes, cache)


def left_over(entries: Iterable[str]) -> list[str]:
    return [name for name in entries if "/state/" in name or ".tmp" in name or "probe" in name]


def test_nodes_put_their_runs_into_the_store(apart: Apart, tmp_path: Path) -> None:
    url = f"s3://{BUCKET}/tiny"
    code, said = apart.run(tmp_path, TINY, url)
    assert code == 0, said
    log = (Remote(url).get("log.txt") or b"").decode()
    assert "2 slots on 2 CPUs" in log and "2 nodes looked at" in log
    entries = Remote(url).entries()
    made = [name for name in entries if name.endswith("record.json")]
    assert len(made) == 10
    state = json.loads(Remote(url).get("state.json") or b"{}")
    assert state["phase"] == "done" and not left_over(entries)
    everything = b"".join(Remote(url).get(name) or b"" for name in entries if not name.endswith(".safetensors"))
    assert b"secret-of-the-test" not in everything


def test_workers_of_one_run_share_the_store_alone_and_go_on_from_a_state_in_it(apart: Apart, tmp_path: Path) -> None:
    """One worker on each node: the second sees nothing of the first one's files but what is in the store."""
    url = f"s3://{BUCKET}/grouped"
    driver = apart.start(tmp_path, GROUPED, url)

    def trains() -> bool:
        state = json.loads(Remote(url).get("state.json") or b"{}")
        return any(slot["epoch"] > 5 and slot["epochs"] == 100 for slot in state.get("slots", ()))

    wait_until(lambda: driver.poll() is not None or trains(), timeout=200)
    assert driver.poll() is None, "".join(driver.communicate())
    driver.send_signal(signal.SIGINT)
    said = "".join(driver.communicate(timeout=120))
    assert driver.returncode == 130, said
    assert any(name.endswith("state/state.pt") for name in Remote(url).entries())
    code, said = apart.run(tmp_path, GROUPED, url)
    assert code == 0, said
    entries = Remote(url).entries()
    records = [json.loads(Remote(url).get(name) or b"{}") for name in entries if name.endswith("record.json")]
    assert [record["status"] for record in records] == ["completed"] * 2
    assert all(record["environment"]["workers"] == 2 for record in records)
    logs = b"".join(Remote(url).get(name) or b"" for name in entries if name.endswith("log.txt"))
    assert b"resume at epoch" in logs and not left_over(entries)
    assert any(name.endswith("best.safetensors") for name in entries)
