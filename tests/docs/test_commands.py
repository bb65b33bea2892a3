"""Every `coretune ...` command that the docs show is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from coretune_cli.main import make_app

INLINE = re.compile(r"`(coretune [^`]*)`")
OURS = ("run", "resume", "submit", "plan", "status", "watch", "list", "show", "logs", "stop", "schema")


def shown(text: str) -> Iterator[str]:
    """Yields the commands of a page: of its shell blocks, and of inline code, where ` | ` parts alternatives."""
    for body in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in body.splitlines():
            yield from (part.strip() for part in line.split("&&") if part.strip().startswith("coretune "))
    for code in INLINE.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        first, *others = " ".join(code.split()).split(" | ")
        yield first
        yield from (f"{first.rpartition(' ')[0]} {other}" for other in others)


def parse(line: str) -> None:
    """Parses a command line without running it; the mere name of a command may stand without its arguments.

    Raises:
        Exception: The command line does not take it.
    """
    words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
    command: Any = get_command(make_app())
    context = command.make_context("coretune", words)
    while hasattr(command, "resolve_command"):
        words = [*context._protected_args, *context.args]
        if not words:
            return
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, words, parent=context, resilient_parsing=not words)


def test_commands_parse(pages: dict[Path, str]) -> None:
    wrong = []
    for page, text in pages.items():
        for line in shown(text):
            try:
                parse(line)
            except Exception as error:
                wrong.append(f"{page.name}: {line}: {error}")
    assert wrong == []


def test_the_docs_show_commands(root: Path, pages: dict[Path, str]) -> None:
    lines = list(shown(pages[root / "README.md"]))
    assert "coretune study run studies/quickstart.yaml" in lines
    everywhere = " ".join(line for text in pages.values() for line in shown(text))
    assert [name for name in OURS if f"coretune study {name}" not in everywhere] == []


@pytest.mark.parametrize(
    "line", ["coretune study rum x", "coretune study run x --sloths 2", "coretune doctor --help me"]
)
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises(Exception):  # noqa: B017 - Typer's errors share no public class
        parse(line)


def test_the_two_commands_stand_in_the_readme(root: Path, pages: dict[Path, str]) -> None:
    lines = pages[root / "README.md"].splitlines()
    assert "pip install -e . && coretune study run studies/quickstart.yaml" in lines
    assert 'pip install -e ".[dev]" && pytest' in lines


def test_every_recipe_that_is_named_exists(root: Path, pages: dict[Path, str]) -> None:
    recipes = set(re.findall(r"^([\w-]+)[^:\n]*:", (root / "justfile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^just ([\w-]+)", pages[root / "CONTRIBUTING.md"], re.MULTILINE))
    assert named and named <= recipes
