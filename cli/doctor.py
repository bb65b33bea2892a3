"""`coretune doctor`: what is here, what is unfit, and the remedy."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coretune.cluster.processor import emulates_half
from coretune_cli import machine
from coretune_cli.arguments import JsonOption, OutOption
from coretune_cli.formats import size
from coretune_cli.output import console, show, show_json
from coretune_cli.places import RESULTS

UNFIT = 3
GIB = 1 << 30
State = Literal["ok", "warn", "fail"]
STYLES = {"ok": "green", "warn": "magenta", "fail": "bold red"}
NAMED = ("torch", "torchvision", "ray", "optuna")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        state: ok, warn (it works, but not well) or fail (a study cannot run).
        found: What is here.
        remedy: What would help; empty where nothing needs help.
    """

    name: str
    state: State
    found: str
    remedy: str = ""


def doctor(out: OutOption = None, as_json: JsonOption = False) -> int:
    """Say what is here and what is unfit for a study, with the remedy. Exit code 3 if something is unfit."""
    screen = console(stderr=True)
    found: list[Check] = []
    for name, look in looks(out or RESULTS):
        with _busy(screen, name):
            found += look()
    if as_json:
        show_json({"fit": is_fit(found), "checks": [asdict(check) for check in found]})
    else:
        show(checks_view(found), Text(verdict(found), style="bold"))
    return 0 if is_fit(found) else UNFIT


def looks(results: Path) -> list[tuple[str, Callable[[], list[Check]]]]:
    """Returns all that is looked at, in order: a name for who waits, and how."""
    return [
        ("packages", lambda: check_imports(check_packages())),
        ("torch", check_torch),
        ("processor and memory", check_resources),
        ("folders", lambda: check_folders(results)),
    ]


def is_fit(checks: list[Check]) -> bool:
    """Returns whether a study can run here."""
    return all(check.state != "fail" for check in checks)


def verdict(checks: list[Check]) -> str:
    """Writes the sum of all checks in one line."""
    failed = [check.name for check in checks if check.state == "fail"]
    warned = [check.name for check in checks if check.state == "warn"]
    if failed:
        return f"not fit for a study: {', '.join(failed)}"
    return f"fit for a study, but look at: {', '.join(warned)}" if warned else "fit for a study"


def checks_view(checks: list[Check]) -> Table:
    """Draws the checks."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        found = Text(check.found)
        if check.remedy:
            found.append(f"\n→ {check.remedy}", style="bold" if check.state == "fail" else "")
        table.add_row(Text(check.state, style=STYLES[check.state]), check.name, found)
    return table


def check_packages(distribution: str = "coretune") -> list[Check]:
    """Looks at Python, coretune, and the versions of what it needs, against the ranges in its metadata."""
    from importlib import metadata

    from packaging.requirements import Requirement

    try:
        about = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return [
            Check(distribution, "fail", "not installed", "pip install -e . in the checkout, or pip install coretune")
        ]
    checks = [check_python(about.metadata["Requires-Python"] or ""), Check(distribution, "ok", about.version)]
    others: list[str] = []
    for requirement in map(Requirement, about.requires or []):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        check = check_version(requirement.name, str(requirement.specifier))
        if check.state != "ok" or requirement.name in NAMED:
            checks.append(check)
        else:
            others.append(f"{check.name} {check.found}")
    return [*checks, Check("other packages", "ok", ", ".join(others))] if others else checks


def check_python(required: str) -> Check:
    """Compares the running Python with a range."""
    from packaging.specifiers import SpecifierSet

    version = platform.python_version()
    found = f"{version}, {sys.executable}"
    if SpecifierSet(required).contains(version, prereleases=True):
        return Check("Python", "ok", found)
    return Check(
        "Python", "fail", f"{found}; {required} is needed", f"make a virtual environment with Python {required}"
    )


def check_version(name: str, required: str) -> Check:
    """Compares an installed package with a range."""
    from importlib import metadata

    from packaging.specifiers import SpecifierSet

    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Check(
            name, "fail", f"not installed; {required or 'any version'} is needed", f'pip install "{name}{required}"'
        )
    if SpecifierSet(required).contains(version, prereleases=True):
        return Check(name, "ok", version)
    return Check(name, "fail", f"{version}; {required} is needed", f'pip install "{name}{required}"')


def check_imports(checks: list[Check]) -> list[Check]:
    """Imports what a study needs, and returns the checks with those failed that cannot be imported.

    The metadata tell that a package is installed, not that it works: torchvision may be built for another torch.
    """
    return [
        check_import(check, IMPORTS[check.name]) if check.state == "ok" and check.name in IMPORTS else check
        for check in checks
    ]


def check_import(check: Check, load: Callable[[], object]) -> Check:
    """Imports a package; returns its check if that works, a failed one if not."""
    try:
        load()
    except Exception as error:  # a package that is not whole may raise anything while it is imported
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        with_torch = "torch torchvision" if check.name == "torchvision" else check.name
        remedy = f"reinstall it: pip install --force-reinstall {with_torch}"
        return Check(check.name, "fail", f"{check.found}, but it cannot be imported: {said}", remedy)
    return check


def _import_ray() -> None:
    from coretune.cluster.local import import_ray

    import_ray()
    import_module("ray.tune")


IMPORTS: dict[str, Callable[[], object]] = {
    "torchvision": lambda: import_module("torchvision"),
    "ray": _import_ray,
    "optuna": lambda: import_module("optuna"),
}
"""How a study imports the packages that are tried; torch has a check of its own."""


def check_torch() -> list[Check]:
    """Imports torch and asks it for its devices."""
    try:
        import torch
    except (ImportError, OSError) as error:
        remedy = "reinstall it: pip install --force-reinstall torch torchvision"
        return [Check("devices", "fail", f"torch cannot be imported: {error}", remedy)]
    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built without CUDA"
        half = "; bf16 and fp16 are emulated here, about ten times slower than fp32" if emulates_half() else ""
        return [Check("devices", "ok", f"CPU only ({built}, no usable GPU){half}")]
    checks = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_properties(index).name
        state: State = "ok" if free > 2 * GIB else "warn"
        remedy = "" if state == "ok" else "another process holds its memory: nvidia-smi shows which"
        checks.append(Check(f"cuda:{index}", state, f"{name}, {size(free)} free of {size(total)}", remedy))
    return checks


def check_resources() -> list[Check]:
    """Looks at cores, memory, shared memory and the number of open files."""
    total, available = machine.memory()
    return [
        check_cores(machine.cores()),
        check_memory(total, available),
        *check_shared_memory(Path("/dev/shm")),
        *check_open_files(),
    ]


def check_cores(number: float) -> Check:
    """Judges the number of cores."""
    if number >= 2:
        return Check("cores", "ok", f"{number:g}")
    return Check("cores", "warn", f"{number:g}", "runs go one after the other; two cores or more let them overlap")


def check_memory(total: int, available: int) -> Check:
    """Judges the memory, in bytes: Ray and one torch process take about 1.5 GiB."""
    found = f"{size(available)} available of {size(total)}"
    if available < 1.5 * GIB:
        return Check(
            "memory", "fail", found, "end other programs, or raise the container's limit: a study needs 1.5 GiB"
        )
    if available < 4 * GIB:
        return Check("memory", "warn", found, "use few slots (--slots 1): each takes about 0.7 GiB")
    return Check("memory", "ok", found)


def check_shared_memory(folder: Path) -> list[Check]:
    """Judges /dev/shm, where Ray's object store lives; nothing to say where there is none."""
    if not folder.is_dir():
        return []
    free = shutil.disk_usage(folder).free
    if free >= GIB:
        return [Check(str(folder), "ok", f"{size(free)} free")]
    remedy = "docker run --shm-size=2g; without it Ray uses the slower /tmp"
    return [Check(str(folder), "warn", f"{size(free)} free", remedy)]


def check_open_files() -> list[Check]:
    """Judges how many files a process may hold open; nothing to say where the system has no such limit."""
    try:
        import resource
    except ImportError:
        return []
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= 4096:
        return [Check("open files", "ok", "unlimited" if soft == resource.RLIM_INFINITY else f"{soft:,}")]
    state: State = "warn" if soft >= 512 else "fail"
    return [Check("open files", state, f"{soft:,}", "ulimit -n 65536 before the command: Ray opens many sockets")]


def check_folders(results: Path) -> list[Check]:
    """Looks at every folder that a study writes to."""
    from coretune.cluster.local import temporary_folder
    from coretune.data.roots import CACHE_VARIABLE, cache_root

    return [
        check_folder("results", results, "choose another place with --out", "weights may not fit"),
        check_folder("cache", cache_root(), f"set {CACHE_VARIABLE} to another place", "packs may not fit"),
        *check_home(Path.home()),
        check_temporary(temporary_folder()),
    ]


def check_folder(name: str, folder: Path, remedy: str, lack: str, *, roomy: float = 5 * GIB) -> Check:
    """Tries to write where a study writes, and looks at the space.

    Args:
        name: What is written there.
        folder: Where.
        remedy: How to have it elsewhere.
        lack: What it means if less than `roomy` bytes are free.
        roomy: So much is enough.
    """
    problem = machine.write_problem(folder)
    if problem is not None:
        return Check(name, "fail", f"cannot be written: {problem}", remedy)
    free = shutil.disk_usage(machine.existing(folder)).free
    found = f"{folder}, {size(free)} free"
    if free < 0.5 * GIB:
        return Check(name, "fail", found, f"free space, or {remedy}")
    if free < roomy:
        return Check(name, "warn", found, f"{lack}: free space, or {remedy}")
    return Check(name, "ok", found)


def check_temporary(folder: Path) -> Check:
    """Judges the folder where a local Ray cluster keeps its sockets, logs and spilled objects."""
    from coretune.cluster.local import socket_excess

    name, remedy = "temporary", "set RAY_TMPDIR to another place, e.g. /tmp"
    if excess := socket_excess(folder):
        return Check(name, "fail", f"{folder} is {excess} bytes too long for the paths of Ray's sockets", remedy)
    return check_folder(name, folder, remedy, "Ray's logs and objects may not fit", roomy=GIB)


def check_home(home: Path) -> list[Check]:
    """Tries to write to the home folder, where Ray keeps the token of a local cluster."""
    problem = machine.write_problem(home)
    if problem is None:
        return [Check("home", "ok", str(home))]
    return [Check("home", "warn", f"cannot be written: {problem}", "set HOME to a folder that can be written")]


@contextmanager
def _busy(screen: Console, name: str) -> Iterator[None]:
    """Says on a terminal what is being looked at: importing torch takes seconds."""
    if not screen.file.isatty() or screen.is_dumb_terminal:
        yield
        return
    with screen.status(f"looking at {name} …"):
        yield
