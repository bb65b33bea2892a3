"""`coretune data`: the group, and `coretune data list`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import RenderableType

from coretune.data.roots import DATA_VARIABLE
from coretune_cli import data_check, data_pack
from coretune_cli.arguments import JsonOption
from coretune_cli.columns import Column, fitted
from coretune_cli.output import console, note, show, show_json

if TYPE_CHECKING:
    from coretune.spec.components import DatasetComponent

app = typer.Typer(name="data", help="Data sets: what there is, whether it is whole, packed once.", no_args_is_help=True)
app.command("check")(data_check.check)
app.command("pack")(data_pack.pack)


@app.command("list")
def list_datasets(as_json: JsonOption = False) -> int:
    """List the data sets: classes, images, size, split, licence, and whether the files are found."""
    from coretune.data.roots import data_root
    from coretune.data.source import located
    from coretune.spec.catalog import load_catalog

    catalog = load_catalog()
    rows = [row(about, located(about)) for about in map(catalog.dataset, catalog.names("dataset"))]
    if as_json:
        show_json({"root": data_root(), "datasets": rows})
        return 0
    show(list_view(rows, console().width))
    if data_root() is None:
        note(f"{DATA_VARIABLE} is not set: it says below which folder data sets are looked for", "dim")
    return 0


def row(about: DatasetComponent, path: Path | None) -> dict[str, Any]:
    """Returns a data set as a line of the list."""
    return {
        "name": about.name,
        "summary": about.summary,
        "classes": about.classes,
        "images": about.size,
        "counts": dict(about.counts),
        "image_size": about.image_size if about.labels == "image" else None,
        "labels": about.labels,
        "split": about.splits,
        "metrics": list(about.metrics),
        "licence": about.licence,
        "source": about.source,
        "obtain": about.obtain,
        "layouts": list(about.layouts),
        "citation": about.citation,
        "download": bool(about.download),
        "found": None if path is None else str(path),
        "needs": "path" if about.needs_path else "files" if about.obtain else "nothing",
    }


def list_view(rows: list[dict[str, Any]], width: int) -> RenderableType:
    """Draws the list."""
    columns: list[Column[dict[str, Any]]] = [
        Column("data set", lambda item: item["name"]),
        Column("classes", lambda item: _number(item["classes"]), 0, "right"),
        Column("images", lambda item: _number(item["images"]), 0, "right"),
        Column("size", lambda item: str(item["image_size"] or "own"), 2, "right"),
        Column("found", _found, 0),
        Column("split", lambda item: item["split"], 1, least=16),
        Column("licence", lambda item: item["licence"] or "yours", 3, least=12),
    ]
    return fitted(columns, rows, width)


def _found(item: dict[str, Any]) -> str:
    if item["found"] is not None:
        return f"${DATA_VARIABLE}/{Path(item['found']).name}"
    if item["needs"] != "files":
        return "at its path" if item["needs"] == "path" else "needs no files"
    return "no (--download)" if item["download"] else "no"


def _number(value: int | None) -> str:
    return "any" if value is None else f"{value:,}"
