from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from coretune.study.chatter import chatter_to

ROOT, CHILD = "chatty_library", "chatty_library.part"


@pytest.fixture
def library() -> Iterator[logging.Logger]:
    """A library that talks to the screen, as Optuna and Ray do."""
    logger = logging.getLogger(ROOT)
    own = logging.StreamHandler()
    logger.addHandler(own)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield logger
    logger.removeHandler(own)


@pytest.fixture
def shown_warnings() -> Iterator[None]:
    """Warnings are shown, as in a program, and not errors, as in these tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield


@pytest.mark.usefixtures("shown_warnings")
def test_chatter_goes_to_the_file_and_not_to_the_screen(
    tmp_path: Path, library: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    child = logging.getLogger(CHILD)
    child.addHandler(logging.StreamHandler())
    with chatter_to(tmp_path / "log.txt", ROOT):
        library.info("a new study")
        child.warning("a part")
        logging.getLogger(f"{ROOT}.later").info("made meanwhile")
        warnings.warn("experi" + "mental", FutureWarning, stacklevel=1)
    assert capsys.readouterr().err == ""
    text = (tmp_path / "log.txt").read_text()
    for said in ("a new study", "a part", "made meanwhile", "experimental"):
        assert text.count(said) == 1, said
    child.handlers.clear()


def test_everything_is_as_before(tmp_path: Path, library: logging.Logger) -> None:
    before = list(library.handlers), library.propagate, warnings.showwarning
    with pytest.raises(KeyError), chatter_to(tmp_path / "log.txt", ROOT):
        raise KeyError
    assert (list(library.handlers), library.propagate, warnings.showwarning) == before
    assert not (tmp_path / "log.txt").exists(), "nobody said anything"


@pytest.mark.usefixtures("shown_warnings")
def test_it_may_be_nested(tmp_path: Path, library: logging.Logger) -> None:
    other = logging.getLogger("chatty_other")
    with chatter_to(tmp_path / "outer", ROOT):
        with chatter_to(tmp_path / "inner", "chatty_other"):
            library.warning("of the outer")
            other.warning("of the inner")
        warnings.warn("after the inner", FutureWarning, stacklevel=1)
    outer, inner = (tmp_path / "outer").read_text(), (tmp_path / "inner").read_text()
    assert "of the outer" in outer and "after the inner" in outer and "of the inner" in inner
    assert "of the inner" not in outer


def test_pointless_messages_are_left_out(tmp_path: Path, library: logging.Logger) -> None:
    with chatter_to(tmp_path / "log.txt", ROOT):
        library.warning("Could not fetch metrics for %s", "trial 3")
        library.warning("something else")
    text = (tmp_path / "log.txt").read_text()
    assert "fetch metrics" not in text and "something else" in text


@pytest.mark.parametrize("target", ["/dev/full", "folder", "absent/log.txt"])
def test_a_log_that_cannot_be_written_is_silent(
    tmp_path: Path, library: logging.Logger, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    (tmp_path / "folder").mkdir()
    path = Path(target) if target.startswith("/") else tmp_path / target
    if target.startswith("/") and not path.exists():
        pytest.skip("no /dev/full here")
    with chatter_to(path, ROOT):
        for _ in range(3):
            library.warning("x" * 10_000)
    assert capsys.readouterr().err == ""


def test_a_wrong_message_is_still_reported(
    tmp_path: Path, library: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    with chatter_to(tmp_path / "log.txt", ROOT):
        try:
            raise TypeError("not a string")
        except TypeError:
            library.handlers[0].handleError(library.makeRecord(ROOT, 20, "f", 1, "text", (), None))
    assert "not a string" in capsys.readouterr().err
