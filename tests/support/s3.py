"""An S3 server on this machine: moto's, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.ray_nodes import free_ports

BUCKET = "studies"
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-test",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Yields the address of a server with one empty bucket; the environment says where it is meanwhile."""
    if find_spec("moto") is None or find_spec("flask_cors") is None:
        pytest.skip("no S3 server (moto[s3], flask, flask-cors of the dev extra)")
    (port,) = free_ports(1)
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=file, stderr=file
        )
    before = dict(os.environ)
    os.environ.update({**SETTINGS, "AWS_ENDPOINT_URL": address})
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "http_proxy", "HTTP_PROXY"):
        os.environ.pop(name, None)
    try:
        _make_bucket(address, server)
        yield address
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.terminate()
        server.wait(20)


def _make_bucket(address: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            request = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
            with urllib.request.urlopen(request, timeout=10):
                return
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
