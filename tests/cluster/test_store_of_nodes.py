"""A study on two nodes that share nothing but an object store."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.command import TINY
from support.ray_nodes import ray_nodes
from support.s3 import BUCKET, s3_server

from coretune.results.remote import Remote

pytestmark = pytest.mark.nodes


def test_nodes_put_their_runs_into_the_store(tmp_path: Path) -> None:
    """The second one does not see the first one's cache, in which results are before they are put into the store."""
    if os.geteuid() != 0:
        pytest.skip("a node that does not see a folder needs root (unshare --mount)")
    cache, study = tmp_path / "cache", tmp_path / "study"
    cache.mkdir()
    study.mkdir()
    (study / "tiny.yaml").write_text(TINY)
    url = f"s3://{BUCKET}/tiny"
    with s3_server(tmp_path / "s3.log"), ray_nodes(cpus=1) as nodes:
        nodes.add(cpus=1, hiding=cache)
        driver = nodes.coretune(
            study, "study", "run", "tiny.yaml", "--address", nodes.address, "--out", url, CORETUNE_CACHE=str(cache)
        )
        said = "".join(driver.communicate(timeout=240))
        assert driver.returncode == 0, said
        log = (Remote(url).get("log.txt") or b"").decode()
        assert "2 slots on 2 CPUs" in log and "2 nodes looked at" in log
        entries = Remote(url).entries()
        made = [name for name in entries if name.endswith("record.json")]
        assert len(made) == 10
        state = json.loads(Remote(url).get("state.json") or b"{}")
        assert state["phase"] == "done"
        assert not [name for name in entries if "/state/" in name or ".tmp" in name or "probe" in name]
        everything = b"".join(Remote(url).get(name) or b"" for name in entries if not name.endswith(".safetensors"))
        assert b"secret-of-the-test" not in everything
