from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from coretune.cluster import reach as module
from coretune.cluster.reach import METHOD, MODE, our_token, parse_address, reach
from coretune.errors import RequestError, UnfitError

TOKEN = "t" * 36


class Service(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers as Ray's control service does: with its id, and only to who has the token, if it wants one."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def service(self, details: Any) -> Any:
        """Returns what handles a call."""
        assert details.method == METHOD
        sent = dict(details.invocation_metadata).get("authorization")

        def answer(_: bytes, context: Any) -> bytes:
            if self.token is not None and sent != f"Bearer {self.token}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken: missing or incorrect")
            return b"\n\x00"

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def listening(token: str | None) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Service(token)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@pytest.fixture(autouse=True)
def nobodys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home without a token, and no variable of Ray's."""
    for name in (MODE, "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_ADDRESS", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(module, "_switch_on", lambda: monkeypatch.setenv(MODE, "token"))
    return tmp_path


def by_variable(home: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)


def by_file(home: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    (home / "secret").write_text(token + "\n")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "secret"))


def at_home(home: Path, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(token)


Give = Callable[[Path, pytest.MonkeyPatch, str], None]


@pytest.mark.parametrize("give", [by_variable, by_file, at_home])
def test_a_token_is_found_where_ray_looks_and_switched_on(
    nobodys: Path, monkeypatch: pytest.MonkeyPatch, give: Give
) -> None:
    give(nobodys, monkeypatch, TOKEN)
    with listening(TOKEN) as address:
        reach(address)
    assert our_token() == TOKEN and module.os.environ[MODE] == "token"


@pytest.mark.parametrize("give", [by_variable, by_file, at_home])
def test_a_wrong_token_is_one_line_without_the_token(
    nobodys: Path, monkeypatch: pytest.MonkeyPatch, give: Give
) -> None:
    give(nobodys, monkeypatch, "w" * 36)
    with listening(TOKEN) as address, pytest.raises(UnfitError, match="refuses our token") as error:
        reach(address)
    assert len(str(error.value).splitlines()) == 1 and "www" not in str(error.value)
    assert error.value.exit_code == 3 and MODE not in module.os.environ


def test_a_missing_token_says_where_one_may_be(nobodys: Path) -> None:
    with listening(TOKEN) as address, pytest.raises(UnfitError, match=r"wants a token and none is here: .*auth_token"):
        reach(address)


def test_without_a_token_nothing_is_switched_on() -> None:
    with listening(None) as address:
        reach(address)
    assert MODE not in module.os.environ


@pytest.mark.parametrize("address", [None, "local"])
def test_a_cluster_of_our_own_is_not_asked(address: str | None) -> None:
    reach(address)


def test_nobody_listens() -> None:
    with listening(None) as address:
        pass
    began = time.monotonic()
    with pytest.raises(UnfitError, match=f"no Ray cluster answers at {address}: connection refused"):
        reach(address)
    assert time.monotonic() - began < module.PATIENCE_S


def test_auto_finds_the_cluster_of_this_machine(nobodys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(nobodys))
    running: list[str] = []
    monkeypatch.setattr(module, "_running", lambda: running)
    with pytest.raises(UnfitError, match=r"no Ray cluster runs on this machine .*ray start --head"):
        reach("auto")
    with listening(None) as address:
        running.append(address)
        assert reach("auto") == reach(address)
        running.append("10.0.0.1:6379")
        with pytest.raises(UnfitError, match=r"several Ray clusters \(.*10.0.0.1:6379\): say --address host:port"):
            reach("auto")
    (nobodys / "ray").mkdir()
    with listening(None) as address:
        (nobodys / "ray" / "ray_current_cluster").write_text(address + "\n")
        reach("auto")
    with pytest.raises(UnfitError, match=address):
        reach("auto")


@pytest.mark.parametrize("address", ["head", "head:", ":6379", "http://head:8265", "head:70000", "head:port"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(RequestError, match="needs auto or host:port"):
        reach(address)


def test_addresses() -> None:
    assert parse_address("10.0.0.1:6379") == ("10.0.0.1", 6379)
    assert parse_address("[::1]:6379") == ("::1", 6379)


def test_a_token_that_cannot_be_read(nobodys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(nobodys))
    with pytest.raises(UnfitError, match="Ray's token cannot be read"):
        our_token()
