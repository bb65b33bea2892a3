from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coretune.errors import StudyError
from coretune.spec.yamlfile import MAX_BYTES, parse_yaml, read_yaml, resolve_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("1.", 1.0),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("12_000", 12000),
        ("-3", -3),
        ("on", "on"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("true", True),
        ("FALSE", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("2026-01-01", "2026-01-01"),
        ("1:30", "1:30"),
        (".inf", float("inf")),
        ("-.INF", -float("inf")),
        ("1e", "1e"),
        ("-", "-"),
    ],
)
def test_scalars_mean_what_people_mean(text: str, value: object) -> None:
    found = resolve_scalar(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('a: "1e-4"', {"a": "1e-4"}),
        ("a: !!str 12", {"a": "12"}),
        ("1: 2", {"1": 2}),
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ("", None),
        ("# only a comment", None),
        ("- a\n- {b: c}", ["a", {"b": "c"}]),
    ],
)
def test_documents(text: str, value: object) -> None:
    assert parse_yaml(text).value == value


def test_lines_of_keys_items_and_their_nearest_ancestors() -> None:
    document = parse_yaml("a: 1\nb:\n  c: [1,\n    2]\n  d:\n", "x.yaml")
    assert document.line(("a",)) == 1
    assert document.line(("b", "c")) == 3
    assert document.line(("b", "c", 1)) == 4
    assert document.line(("b", "d", "nothing")) == 5
    assert document.line(("z",)) == 1


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3", 3, "stands twice, first in line 1"),
        ("a:\n\tb: 1", 2, "indent with spaces"),
        ("x: 1\na: &a [*a]", 2, "contains itself"),
        (LAUGHS, None, "expands to more than"),
        ("a: 1\nb: [1, 2", 2, "no valid YAML"),
        ("a: {b: 1", 1, "no valid YAML"),
        ("a: *nowhere", 1, "undefined alias"),
        ("a: 1\nb: !!python/object:os.system {}", 2, "no tags"),
        ("a: !mine 1", 1, "no tags"),
        ("a: 1\n? [b, c]\n: d", 2, "keys are words"),
        ("base: &b {x: 1}\na:\n  <<: *b", 3, "merge keys"),
        ("a: 1\nb: \x07", 2, "control character U+0007"),
        ('a: "\\ud800"', 1, "no text"),
        ('a: "\\0"', 1, "no text"),
        ('a: "\\Uffffffff"', 1, "no valid YAML"),
        ("a: " + "9" * 5000, 1, "too many digits"),
        ("[" * 60 + "]" * 60, 1, "nested more than"),
        ("[" * 5000, 1, "nested too deeply"),
        ("a: 1\n---\nb: 2", 2, "no valid YAML"),
    ],
)
def test_bad_documents_are_refused_with_their_line(text: str, line: int | None, message: str) -> None:
    with pytest.raises(StudyError, match=message.replace("+", r"\+")) as caught:
        parse_yaml(text, "x.yaml")
    (problem,) = caught.value.problems
    assert problem.file == "x.yaml"
    if line is not None:
        assert problem.line == line


def test_all_twice_said_keys_come_at_once() -> None:
    with pytest.raises(StudyError) as caught:
        parse_yaml("a: 1\na: 2\nb: {c: 1, c: 2}\nd: !x 1")
    assert [(problem.key, problem.line) for problem in caught.value.problems] == [("a", 2), ("b.c", 3), ("d", 4)]


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes("\ufeffname: é".encode())
    assert read_yaml(path).value == {"name": "é"}
    for content, message in (
        (b"name: \xff\xfe", "not UTF-8"),
        (b"a" * 10_000_000, "10.0 MB large"),
        (b"\x00", "control"),
    ):
        path.write_bytes(content)
        with pytest.raises(StudyError, match=message):
            read_yaml(path)
    with pytest.raises(StudyError, match="does not exist"):
        read_yaml(tmp_path / "nothing.yaml")
    with pytest.raises(StudyError, match="directory"):
        read_yaml(tmp_path)


def test_a_pipe_is_read_to_its_limit_and_no_further(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def feed() -> None:
        try:
            with path.open("wb") as pipe:
                pipe.write(b"a" * (4 * MAX_BYTES))
        except BrokenPipeError:
            pass

    thread = threading.Thread(target=feed)
    thread.start()
    with pytest.raises(StudyError, match="MB large"):
        read_yaml(path)
    thread.join(timeout=10)
    assert not thread.is_alive()


@given(st.text() | st.text(alphabet="ab:-[]{}&*!#'\"\\,\n\t 01eE.+_~<>|?%@`"))
def test_any_text_parses_or_raises_a_study_error(text: str) -> None:
    try:
        parse_yaml(text)
    except StudyError as error:
        assert all(problem.line is not None for problem in error.problems)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**200), 10**200)


@given(NUMBERS)
def test_numbers_read_back_with_their_type(value: float) -> None:
    found = parse_yaml(f"a: {value!r}").value["a"]
    assert found == value
    assert type(found) is type(value)
