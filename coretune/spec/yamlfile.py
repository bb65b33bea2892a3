"""YAML as people mean it, with the line of every key.

PyYAML reads by YAML 1.1: `1e-4` as text, `on` as true, `012` as ten. Here YAML 1.2's core rules hold (`1e-4` is a
number, `on` a word), a key that stands twice is an error, and a file cannot blow up (cycles, nested aliases, size).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from coretune.errors import Problem, StudyError

MAX_BYTES = 1 << 18
MAX_NODES = 100_000
MAX_DEPTH = 40

_TAG = "tag:yaml.org,2002:"
_PLAIN = "plain"  # an unquoted scalar without a tag: the only kind that may be a number, a truth value or null
_SCALARS: list[tuple[str, re.Pattern[str]]] = [
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$")),
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")),
    ("int", re.compile(r"^[-+]?[0-9][0-9_]*$")),
    ("based", re.compile(r"^0(?:o[0-7]+|x[0-9a-fA-F]+)$")),
    ("float", re.compile(r"^[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?$")),
    ("float", re.compile(r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$")),
]
_MAX_DIGITS = 300

Path_ = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, used to compose nodes; scalars are resolved by the rules above."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Returns the tag of a node that has none of its own."""
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _TAG + "str"
        return _TAG + ("seq" if kind is yaml.SequenceNode else "map")


@dataclass(frozen=True)
class Document:
    """A parsed YAML file.

    Attributes:
        value: Plain Python values.
        file: Name for messages.
        lines: One-based line of every key and list item, by path.
    """

    value: Any
    file: str
    lines: dict[Path_, int] = field(default_factory=dict)

    def line(self, path: Path_) -> int | None:
        """Returns the line of a path, or of its nearest ancestor that stands in the file."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def read_yaml(path: Path) -> Document:
    """Reads a YAML file.

    Raises:
        StudyError: The file is missing, too large, binary, or no YAML; the message has the line.
    """
    try:
        with path.open("rb") as file:  # a bounded read: a pipe or a device has no size to look at first
            content = file.read(MAX_BYTES + 1)
            size = max(path.stat().st_size, len(content))
    except FileNotFoundError as error:
        raise _error(path, "does not exist") from error
    except (OSError, ValueError) as error:
        raise _error(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MAX_BYTES:
        raise _error(path, f"is {size / 1e6:.1f} MB large; a study file has at most {MAX_BYTES / 1e6:.2f} MB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _error(path, f"is no text: byte {error.start} is not UTF-8; a study file is YAML text", line) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, file: str = "<text>") -> Document:
    """Parses YAML text.

    Raises:
        StudyError: No YAML, a key twice, a cycle, or aliases that expand beyond measure.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise StudyError([Problem("", _syntax(error), line, file)]) from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        message = f"is no YAML text: it has the control character U+{code:04X}"
        raise StudyError([Problem("", message, line, file)]) from error
    except RecursionError as error:
        raise StudyError([Problem("", "is nested too deeply", 1, file)]) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # PyYAML lets a bad escape, "\Uffffffff", raise these
        raise StudyError([Problem("", f"is no valid YAML: {str(error).splitlines()[0]}", 1, file)]) from error
    document = Document(None, file)
    if node is None:
        return document
    builder = _Builder(document)
    value = builder.build(node, ())
    if builder.problems:
        raise StudyError(builder.problems)
    return Document(value, file, document.lines)


class _Builder:
    """Turns composed nodes into plain values, and notes the line of each path and what is wrong."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.open: set[int] = set()
        self.count = 0

    def build(self, node: yaml.Node, path: Path_) -> Any:
        self.count += 1
        if id(node) in self.open:
            raise self.stop(node, path, "contains itself through a YAML alias; a study is a finite tree")
        if self.count > MAX_NODES:
            raise self.stop(node, path, f"expands to more than {MAX_NODES:,} values through YAML aliases")
        if len(path) > MAX_DEPTH:
            raise self.stop(node, path[:3], f"is nested more than {MAX_DEPTH} deep")
        self.document.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        if node.tag not in (_TAG + "seq", _TAG + "map"):
            self.note(node, path, f"has the tag {node.tag}; study files have no tags")
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            return self.mapping(node, path)
        finally:
            self.open.discard(id(node))

    def mapping(self, node: yaml.Node, path: Path_) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self.note(key_node, path, "has a key that is a list or a mapping; keys are words")
                continue
            key = key_node.value
            if key in found:
                first = self.document.lines[(*path, key)]
                self.note(key_node, (*path, key), f"stands twice, first in line {first}; one would hide the other")
                continue
            if key == "<<" and key_node.tag == _PLAIN:
                self.note(key_node, (*path, key), "merge keys are not read; write the keys out, or use --set")
                continue
            self.document.lines[(*path, key)] = key_node.start_mark.line + 1
            self.text(key_node, path)
            found[key] = self.build(value_node, (*path, key))
        return found

    def scalar(self, node: yaml.ScalarNode, path: Path_) -> Any:
        if node.tag == _PLAIN:
            if len(node.value) > _MAX_DIGITS and resolve_scalar(node.value[:_MAX_DIGITS]) != node.value[:_MAX_DIGITS]:
                self.note(node, path, "is a number of too many digits; quote it if it is text")
                return node.value
            return self.text(node, path) if isinstance(value := resolve_scalar(node.value), str) else value
        if node.tag != _TAG + "str":
            self.note(node, path, f"has the tag {node.tag}; study files have no tags")
        return self.text(node, path)

    def text(self, node: yaml.ScalarNode, path: Path_) -> str:
        """Returns a scalar's text; half of a surrogate pair (an escape can make one) is no text."""
        if any("\ud800" <= character <= "\udfff" or character == "\0" for character in node.value):
            self.note(node, path, "has a character that no text has; check its backslashes")
            return ""
        return str(node.value)

    def note(self, node: yaml.Node, path: Path_, message: str) -> None:
        key = ".".join(map(str, path)).encode("utf-8", "replace").decode()
        self.problems.append(Problem(key, message, node.start_mark.line + 1, self.document.file))

    def stop(self, node: yaml.Node, path: Path_, message: str) -> StudyError:
        self.note(node, path, message)
        return StudyError(self.problems)


def resolve_scalar(text: str) -> Any:
    """Returns the value of an unquoted scalar by YAML 1.2's core rules; `1_000` is a number too.

    Raises:
        ValueError: It is a whole number of thousands of digits.
    """
    for kind, pattern in _SCALARS:
        if pattern.match(text):
            if kind == "null":
                return None
            if kind == "bool":
                return text.lower() == "true"
            if kind == "based":
                return int(text, 0)
            plain = text.replace("_", "")
            return int(plain) if kind == "int" else float(plain.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem or error.context or "it cannot be parsed")
    if "'\\t'" in problem:
        return "is no valid YAML: a tab; indent with spaces"
    if "undefined alias" in problem:
        return f"is no valid YAML: {problem}; a text that starts with * must be quoted"
    return f"is no valid YAML: {problem}"


def _error(path: Path, message: str, line: int | None = None) -> StudyError:
    return StudyError([Problem("", message, line, str(path))])
