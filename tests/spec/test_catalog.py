from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import pytest

from coretune.errors import RequestError
from coretune.spec import catalog as catalog_module
from coretune.spec.catalog import SHIPPED, load_catalog, plugin_components, plugin_version
from coretune.spec.catalog.backbones import SmallResNetParameters
from coretune.spec.catalog.conformance import faults
from coretune.spec.components import Component, NoParameters

PLUGIN = '''
from pydantic import Field
from coretune.spec.components import Component
from coretune.spec.frozen import Frozen
from coretune.spec.space import Space

class Parameters(Frozen):
    """What it may be told."""
    beta: float = Field(0.5, ge=0, description="Strength.")

class Mine:
    """The object itself."""

COMPONENTS = [
    Component(kind="method", name="{name}", target=":Mine", summary="mine", parameters=Parameters, {more})
]
'''


def write(path: Path, name: str = "mine", more: str = "") -> str:
    path.write_text(PLUGIN.format(name=name, more=more))
    return str(path)


@pytest.mark.parametrize("component", SHIPPED, ids=lambda item: f"{item.kind}-{item.name}")
def test_every_shipped_declaration_conforms(component: Component) -> None:
    assert faults(component) == []
    assert component.summary
    for name, info in component.parameters.model_fields.items():
        assert info.description, f"{component.name}.{name} has no description"
        assert not info.is_required()
    assert component.parameters()


def test_a_plugin_joins_with_the_hash_of_its_source(tmp_path: Path) -> None:
    path = write(tmp_path / "a.py")
    found = load_catalog((path,)).get("method", "mine")
    assert found.version == plugin_version(path)
    assert str(found.version).startswith("file-")
    assert found.load().__name__ == "Mine"
    write(tmp_path / "a.py", more="source='x',")
    assert load_catalog((path,)).get("method", "mine").version == plugin_version(path) != found.version


def test_a_plugin_may_state_its_version(tmp_path: Path) -> None:
    assert plugin_components(write(tmp_path / "a.py", more="version=7,"))[0].version == 7


def test_a_plugin_named_twice_is_loaded_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.py")
    assert "mine" in load_catalog((path, str(tmp_path / "." / "a.py"))).names("method")


def test_names_are_claimed_once(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"method 'ce' is claimed twice: by coretune.*and by .*a.py:Mine"):
        load_catalog((write(tmp_path / "a.py", name="ce"),))
    with pytest.raises(RequestError, match=r"claimed twice: by .*b.py:Mine and by .*c.py:Mine"):
        load_catalog((write(tmp_path / "b.py"), write(tmp_path / "c.py")))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise RuntimeError('no GPU here')", "RuntimeError: no GPU here"),
        ("def f(:", "SyntaxError"),
        ("import no_such_module", "ModuleNotFoundError"),
        ("x = 1", "needs a list COMPONENTS"),
        ("COMPONENTS = [1]", "needs a list COMPONENTS"),
        ("COMPONENTS = ()", "needs a list COMPONENTS"),
    ],
)
def test_a_broken_plugin_is_said_in_one_line(tmp_path: Path, source: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(RequestError, match=message) as caught:
        load_catalog((str(path),))
    assert str(caught.value).startswith(f"plug-in {path}")
    assert "\n" not in str(caught.value)


def test_a_missing_plugin(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"nothing.py does not exist"):
        load_catalog((str(tmp_path / "nothing.py"),))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "space={'betta': Space('uniform', 0, 1)},",
            "its space names 'betta', which is no parameter; did you mean beta?",
        ),
        ("space={'beta': Space('uniform', -1, 1)},", "its space: beta must be at least 0"),
        ("train_space={'lrr': Space('uniform', 0, 1)},", "its train_space names 'lrr', which is no parameter"),
        ("train_space={'lr': Space('uniform', -1, 1)},", "its train_space: lr must be greater than 0"),
        ("train={'lr': -1},", "its train: lr must be greater than 0"),
        ("train={'lrr': 1},", "its train: lrr unknown key; did you mean lr?"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        load_catalog((write(tmp_path / "a.py", more=more),))
    assert f"method mine: {message}" in str(caught.value)


def declare(**changes: object) -> Component:
    return Component(**{"kind": "method", "name": "x", "version": 1, "target": "a:b", "summary": "", **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "optimizer"}, "the kind is one of"),
        ({"parameters": dict}, "parameters is a subclass"),
        ({"name": "a.b"}, "no label"),
        ({"version": 0}, "needs a version"),
        ({"target": "a.b"}, "not module:object"),
        ({"kind": "dataset"}, "DatasetComponent"),
        ({"parameters": SmallResNetParameters, "dense_parameters": NoParameters}, "dense_parameters is a subclass"),
        ({"refused": "needs what no net has"}, "what is refused has a reason of one line, and no target"),
        ({"refused": "needs\nmuch", "target": ""}, "what is refused has a reason of one line, and no target"),
    ],
)
def test_faults(changes: dict[str, object], message: str) -> None:
    assert any(message in fault for fault in faults(declare(**changes)))


def test_what_is_refused_needs_no_target() -> None:
    assert faults(declare(refused="needs what no net has", target="")) == []


def test_every_refusal_names_something_that_is_there() -> None:
    catalog = load_catalog()
    for component in SHIPPED:
        if component.refused:
            assert component.name not in catalog.names(component.kind)
            assert any(name in component.refused for name in catalog.names(component.kind)), component.refused


class _Entry:
    name = "theirs"
    dist = None

    def __init__(self, loaded: object) -> None:
        self.loaded = loaded

    def load(self) -> object:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


@pytest.fixture
def fresh_entry_points() -> Iterator[None]:
    catalog_module._from_entry_points.cache_clear()
    yield
    catalog_module._from_entry_points.cache_clear()


@pytest.mark.usefixtures("fresh_entry_points")
def test_entry_points_join(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {"coretune.methods": [_Entry(declare(name="theirs"))], "coretune.backbones": [_Entry([])]}
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries.get(group, []))
    assert "theirs" in load_catalog().names("method")


@pytest.mark.usefixtures("fresh_entry_points")
@pytest.mark.parametrize("loaded", [ImportError("gone"), 3, declare(version=0)])
def test_a_broken_entry_point_names_its_package(monkeypatch: pytest.MonkeyPatch, loaded: object) -> None:
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [_Entry(loaded)] if group == "coretune.methods" else []
    )
    with pytest.raises(RequestError, match=r"installed package .*, entry point theirs"):
        load_catalog()
