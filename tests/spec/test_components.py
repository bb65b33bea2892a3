from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import Field, ValidationError

from coretune.errors import RequestError
from coretune.spec.components import Catalog, Component, DatasetComponent, Ref, load_file, merge
from coretune.spec.frozen import Frozen


class Parameters(Frozen):
    eta: float = Field(0.1, ge=0)
    width: int = 4


def component(name: str = "mine", target: str = "math:sqrt", version: int = 1) -> Component:
    return Component(kind="method", name=name, version=version, target=target, summary="", parameters=Parameters)


def test_a_reference_is_canonical() -> None:
    catalog = merge([component()])
    ref = catalog.ref("method", "mine", {"width": 4.0, "eta": 1})
    assert ref == Ref(name="mine", version=1, params={"eta": 1.0})
    assert catalog.parameters("method", ref) == Parameters(eta=1.0)
    assert catalog.ref("method", "mine").params == {}


def test_a_reference_is_checked() -> None:
    catalog = merge([component()])
    with pytest.raises(ValidationError):
        catalog.ref("method", "mine", {"eta": -1})
    with pytest.raises(ValidationError):
        catalog.ref("method", "mine", {"beta": 1})
    with pytest.raises(RequestError, match="unknown method 'min'; did you mean mine"):
        catalog.ref("method", "min")
    with pytest.raises(RequestError, match="unknown backbone 'x'; known: none"):
        catalog.get("backbone", "x")


def test_what_is_refused_says_why_and_is_not_listed() -> None:
    refused = Component(
        kind="method", name="old", version=1, target="", summary="", refused="needs x; use mine instead"
    )
    catalog = merge([component(), refused])
    assert catalog.names("method") == ["mine"]
    for ask in (
        lambda: catalog.get("method", "old"),
        lambda: catalog.ref("method", "old"),
        lambda: catalog.parameters("method", Ref(name="old", version=1)),
    ):
        with pytest.raises(RequestError, match=r"^method old: needs x; use mine instead$"):
            ask()


def test_another_version_is_not_what_a_reference_means() -> None:
    with pytest.raises(RequestError, match="version 1 is asked for, version 2 is here"):
        merge([component(version=2)]).parameters("method", Ref(name="mine", version=1))


def test_a_name_claimed_twice_is_an_error() -> None:
    with pytest.raises(RequestError, match="'mine' is claimed twice: by math:sqrt and by math:exp"):
        merge([component()], [component(target="math:exp")])
    same = component()
    assert merge([same], [same]).names("method") == ["mine"]


def test_loading_an_object() -> None:
    assert component().load()(4.0) == 2.0
    for target in ("no.such.module:x", "math:nothing", "math", "/no/such/file.py:X"):
        with pytest.raises(RequestError, match="method mine: cannot load"):
            component(target=target).load()


def test_loading_from_a_file_that_raises(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("raise KeyError('gone')")
    with pytest.raises(RequestError, match="KeyError: 'gone'"):
        component(target=f"{path}:X").load()
    assert not [name for name in sys.modules if name.startswith("coretune_plugin") and sys.modules[name] is None]


def test_a_file_is_imported_once_for_each_content(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "from coretune.spec.frozen import Frozen\n"
        "@dataclass\nclass A:\n    x: list[int]\nclass P(Frozen):\n    y: list[A] | None = None\nVALUE = 1\n"
    )
    first = load_file(str(path))
    assert load_file(str(path)) is first
    assert first.P().y is None
    path.write_text("VALUE = 2\n")
    assert load_file(str(path)).VALUE == 2
    with pytest.raises(OSError, match="No such file"):
        load_file(str(tmp_path / "nothing.py"))
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ImportError, match="no Python file"):
        load_file(str(tmp_path / "notes.txt"))


def test_data_sets_have_a_declaration_of_their_own() -> None:
    plain = Component(kind="dataset", name="plain", version=1, target="a:b", summary="")
    good = DatasetComponent(kind="dataset", name="good", version=1, target="a:b", summary="", classes=3)
    catalog: Catalog = merge([plain, good])
    assert catalog.dataset("good").classes == 3
    with pytest.raises(RequestError, match="must be declared as a DatasetComponent"):
        catalog.dataset("plain")
