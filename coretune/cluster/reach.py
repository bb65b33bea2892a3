"""Whether a Ray cluster answers at an address, and takes our token: asked in milliseconds, before Ray is imported.

Ray itself tries for 20 s where a token is wrong and for more than a minute where nobody listens, and then says no
more than that it cannot connect.
"""

from __future__ import annotations

import os
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from coretune.errors import RequestError, UnfitError

PATIENCE_S = 5.0
MODE = "RAY_AUTH_MODE"
METHOD = "/ray.rpc.NodeInfoGcsService/GetClusterId"
"""A call of Ray's control service that needs no argument: an empty message."""

Answer = Literal["yes", "refused", "unknown"]


def reach(address: str | None) -> None:
    """Checks that a cluster answers at an address, and switches Ray's token authentication on if it asks for a token.

    Args:
        address: As `check_address` returns it; nothing is checked for a cluster of our own.

    Raises:
        RequestError: It is no address.
        UnfitError: Nobody listens there, or the cluster wants a token and none, or a wrong one, is here.
    """
    if address in (None, "local"):
        return
    found = _resolved(address)
    host, port = parse_address(found, address)
    try:
        socket.create_connection((host, port), timeout=PATIENCE_S).close()
    except OSError as error:
        raise UnfitError(f"no Ray cluster answers at {found}: {_reason(error)}") from error
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return  # Ray has the certificates; what is wrong with them is said by it
    if _ask(found, None) != "refused":
        return
    token = our_token()
    if token is None:
        raise UnfitError(
            f"the Ray cluster at {found} wants a token and none is here: set RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH "
            "(a file), or copy the cluster's to ~/.ray/auth_token"
        )
    if _ask(found, token) == "refused":
        raise UnfitError(
            f"the Ray cluster at {found} refuses our token ({token_place()}): it must be the one that the cluster was "
            "started with"
        )
    _switch_on()


def parse_address(found: str, said: str | None = None) -> tuple[str, int]:
    """Returns host and port of `host:port`.

    Raises:
        RequestError: It is something else.
    """
    host, colon, port = found.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) < 65536) or "/" in host:
        hint = "; a dashboard is for `coretune study submit`" if found.startswith("http") else ""
        raise RequestError(f"--address {said or found}: needs auto or host:port, e.g. 10.0.0.1:6379{hint}")
    return host.strip("[]"), int(port)


def token_place() -> str:
    """Returns where Ray looks for the token first, of the places that are set."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        if os.environ.get(name):
            return name
    return "~/.ray/auth_token"


def our_token() -> str | None:
    """Returns the token that Ray would send from here, in its order of precedence; None if there is none.

    Raises:
        UnfitError: Its file cannot be read.
    """
    if said := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return said
    chosen = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(chosen) if chosen else Path.home() / ".ray" / "auth_token"
    try:
        return path.read_text().strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UnfitError(f"{path}: Ray's token cannot be read: {_reason(error)}") from error


def _resolved(address: str | None) -> str:
    """Returns `host:port`, for `auto` that of the cluster which this machine is a node of."""
    if address != "auto":
        return str(address)
    said = os.environ.get("RAY_ADDRESS")
    if said and said != "auto":
        return said
    from coretune.cluster.local import temporary_folder

    path = temporary_folder() / "ray_current_cluster"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return _only(_running(), path)
    except OSError as error:
        raise UnfitError(f"{path}: the address of this machine's cluster cannot be read: {_reason(error)}") from error


def _running() -> list[str]:
    """Returns the addresses of clusters of which this machine has processes, whatever `--temp-dir` they have."""
    found: set[str] = import_module("ray._private.services").find_gcs_addresses()
    return sorted(found)


def _only(found: list[str], path: Path) -> str:
    if len(found) == 1:
        return found[0]
    if found:
        raise UnfitError(
            f"this machine is a node of several Ray clusters ({', '.join(found)}): say --address host:port"
        )
    raise UnfitError(
        f"no Ray cluster runs on this machine ({path} says of none): start one with `ray start --head`, or give "
        "--address host:port"
    )


def _ask(address: str, token: str | None) -> Answer:
    """Asks the cluster for its id; `unknown` is left to Ray to find out more about."""
    try:
        import grpc
    except ImportError:
        return "unknown"
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call: Any = channel.unary_unary(METHOD, request_serializer=bytes, response_deserializer=bytes)
        try:
            call(b"", timeout=PATIENCE_S, metadata=metadata)
        except grpc.RpcError as error:
            return "refused" if error.code() == grpc.StatusCode.UNAUTHENTICATED else "unknown"
    return "yes"


def _switch_on() -> None:
    """Makes Ray send its token: it does so only where it is told, and reads that once."""
    os.environ[MODE] = "token"
    if "ray" in sys.modules:
        getattr(import_module("ray._raylet"), "Config").initialize("")  # noqa: B009 - a compiled module, untyped


def _reason(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said[:1].lower() + said[1:] if said else type(error).__name__
