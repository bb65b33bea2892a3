"""What a file is, by its first bytes, and safetensors files."""

from __future__ import annotations

import tarfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from coretune.errors import StorageError
from coretune.results.files import StandIn, explain, stand_in

ZIP = b"PK\x03\x04"
PICKLE = b"\x80"
"""What a pickle of protocol 2 or higher begins with; the number of the protocol follows."""

HEAD = 512
"""Bytes that tell what a file is; a tar archive says so in its 257th."""

STAND_INS: dict[StandIn, str] = {
    "empty": "it is empty",
    "pointer": "it is a Git LFS pointer; fetch the file itself with `git lfs pull`",
    "page": "it is an HTML page, not the file that was meant to be downloaded",
}


def read_head(path: Path) -> bytes:
    """Returns a file's first bytes.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise StorageError(explain(error, path)) from error


def is_safetensors(head: bytes) -> bool:
    """Returns whether a file begins as safetensors does: the length of a JSON object, and its opening brace."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 40


def is_tar(head: bytes, path: Path) -> bool:
    """Returns whether a file is an uncompressed tar archive, of any age."""
    if head[257:262] == b"ustar":
        return True
    # The oldest archives have no mark, only a checksum, which a pickle or a zip archive does not have there.
    return len(head) == HEAD and not head.startswith((ZIP, PICKLE)) and tarfile.is_tarfile(path)


def resemblance(head: bytes) -> str:
    """Returns what a file that is no checkpoint looks like, or nothing."""
    found = stand_in(head)
    if found is not None:
        return STAND_INS[found]
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(b"<?xml"):
        return STAND_INS["page"]
    if head.startswith(b"\x1f\x8b"):
        return "it is compressed with gzip; unpack it first"
    if head.startswith(b"\x89HDF"):
        return "it is an HDF5 file (Keras), of which nothing is read here"
    return ""


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a safetensors file. Nothing in it is executed.

    Returns:
        Tensors on the CPU by key, and the metadata.

    Raises:
        StorageError: The file is absent, truncated, or no safetensors file; the message says what it looks like.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except OSError as error:
        raise StorageError(explain(error, path)) from error
    except SafetensorError as error:
        head = read_head(path)
        said = resemblance(head)
        if head.startswith((ZIP, PICKLE)):
            said = "it is a PyTorch checkpoint (zip or pickle); `coretune checkpoint convert` makes one of it"
        raise StorageError(f"{path}: is no whole safetensors file: {said or error}") from error
