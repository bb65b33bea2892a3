"""Which parquet files there are below a folder, and of which part each is: by its name, as on the Hugging Face hub."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from coretune.data.source import TEST, TRAIN, UNDECIDED, VALIDATION
from coretune.data.sources.folder import PARTS
from coretune.errors import UnfitError
from coretune.spec.wording import some

WORDS = {**PARTS, "dev": VALIDATION, "eval": TEST, "evaluation": TEST}
"""Words in a file's name, or names of folders, that say which part it is; in lower case."""

LAYOUT = (
    "expected parquet files named as on the Hugging Face hub, <train|validation|test>-00000-of-00001.parquet or "
    "<train|validation|test>.parquet, in it or in one folder below it"
)
CLASSES = "classes.txt"
SHARD = re.compile(r"(.*?)-(\d+)-of-(\d+)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Listed:
    """One parquet file.

    Attributes:
        name: Its path below the folder of all of them, the same wherever that lies.
        path: Where it is.
        part: TRAIN, VALIDATION, TEST, or UNDECIDED.
    """

    name: str
    path: Path
    part: int


@dataclass(frozen=True)
class Listing:
    """The parquet files of a data set, sorted by name, and the file that names its classes, if there is one."""

    files: tuple[Listed, ...]
    classes: Path | None


def find(path: Path) -> Listing:
    """Lists a folder's parquet files, up to two folders deep (`plain_text/train/0000.parquet`), or a single file.

    Raises:
        UnfitError: There is none, they lie in several folders, a shard is missing, a name says two parts, or only
            parts without training are there.
    """
    if path.is_file():
        base, found, beside = path.parent, [path], [path.parent]
    elif path.is_dir():
        found = _below(path)
        base = _common_folder(path, found)
        # A classes.txt outside of the path may be another data set's.
        beside = [base] if base == path else [base, base.parent]
    else:
        raise UnfitError(f"{path} is no folder or file; {LAYOUT}")
    files = tuple(_listed(base, file) for file in found)
    if path.is_dir():
        _check_shards(base, files)
    if not any(file.part in (TRAIN, UNDECIDED) for file in files):
        raise UnfitError(f"{path}: no part to train on, only {some([file.name for file in files])}; {LAYOUT}")
    return Listing(files, next((folder / CLASSES for folder in beside if (folder / CLASSES).is_file()), None))


def _below(path: Path) -> list[Path]:
    try:
        found = [file for depth in ("", "*/", "*/*/") for file in path.glob(f"{depth}*.parquet") if file.is_file()]
        found = [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        others = sorted(file.name for file in path.iterdir() if not file.name.startswith("."))
    except OSError as error:
        raise UnfitError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not found:
        raise UnfitError(f"{path}: no parquet file (found {some(others) or 'nothing'}); {LAYOUT}")
    return sorted(found)


def _common_folder(path: Path, files: list[Path]) -> Path:
    """Returns the one folder that all files lie in, folders of parts left aside."""
    folders = sorted({_without_part(file.parent, path) for file in files})
    if len(folders) > 1:
        names = some([folder.relative_to(path).as_posix() for folder in folders])
        raise UnfitError(f"{path}: parquet files in several folders ({names}): give the path of one of them; {LAYOUT}")
    return folders[0]


def _without_part(folder: Path, path: Path) -> Path:
    return folder.parent if folder != path and folder.name.lower() in WORDS else folder


def _listed(base: Path, file: Path) -> Listed:
    relative = file.relative_to(base)
    words = [*(folder.lower() for folder in relative.parts[:-1]), *re.split(r"[^a-z]+", file.stem.lower())]
    parts = {WORDS[word] for word in words if word in WORDS}
    if len(parts) > 1:
        said = ", ".join(dict.fromkeys(word for word in words if word in WORDS))
        raise UnfitError(f"{file}: its name says several parts ({said}); rename it; {LAYOUT}")
    return Listed(relative.as_posix(), file, parts.pop() if parts else UNDECIDED)


def _check_shards(base: Path, files: tuple[Listed, ...]) -> None:
    """Refuses a part of which some shards are not there: a download that was broken off."""
    there: dict[tuple[str, int], set[int]] = defaultdict(set)
    for file in files:
        if match := SHARD.match(file.name):
            there[match[1], int(match[3])].add(int(match[2]))
    for (prefix, count), numbers in there.items():
        absent = [f"{prefix}-{number:05d}-of-{count:05d}" for number in range(count) if number not in numbers]
        if absent:
            raise UnfitError(
                f"{base}: {len(absent)} of {count} files of {prefix} are not there ({some(absent)}); download them, or "
                "rename the others to use these only"
            )
