"""`coretune checkpoint`: what a file of weights holds, and whether a backbone can start from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from coretune.errors import RequestError
from coretune_cli.arguments import JsonOption
from coretune_cli.formats import size
from coretune_cli.output import note, show, show_json

if TYPE_CHECKING:
    from torch import nn

    from coretune.nets.checkpoints import Contents, Found, Match

app = typer.Typer(
    name="checkpoint",
    help="Weights of other projects: say what a file holds, or write it in coretune's form.",
    no_args_is_help=True,
)

FileArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="A file of weights, of coretune or another project.")
]
ArchOption = Annotated[
    str | None, typer.Option("--arch", metavar="NAME", help="Compare it with this backbone, e.g. resnet50.")
]


@dataclass(frozen=True)
class Opened:
    """A file that was looked at.

    Attributes:
        path: Where it lies.
        sha256: Hash of its content.
        contents: What it holds.
        found: The backbone in it.
    """

    path: Path
    sha256: str
    contents: Contents
    found: Found


@app.command("inspect")
def inspect_command(file: FileArgument, arch: ArchOption = None, as_json: JsonOption = False) -> int:
    """Say which project's layout a file has, what its backbone is, and what is left of it for an architecture."""
    encoder = build_encoder(arch) if arch is not None else None
    opened = open_file(file)
    result = compare(opened, encoder, arch) if encoder is not None and arch is not None else None
    value = described(opened, result)
    if as_json:
        show_json(value)
    else:
        show(drawn(value))
    if result is not None and not result.fits:
        hint = f"; the shapes suggest {result.suggested}" if result.suggested else ""
        raise RequestError(f"{file}: is of another architecture than {arch}{hint}")
    return 0


@app.command("convert")
def convert_command(
    file: FileArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    arch: ArchOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
) -> int:
    """Write a file's backbone alone as safetensors, with where it came from; with --arch by that backbone's names."""
    from coretune.nets.checkpoints import match
    from coretune.nets.weights import ENCODER, save_weights
    from coretune.results.provenance import as_metadata, provenance

    if output.suffix != ".safetensors":
        raise RequestError(f"{output}: what is written is safetensors; end its name in .safetensors")
    if output.exists() and not force:
        raise RequestError(f"{output} exists; --force replaces it")
    encoder = build_encoder(arch) if arch is not None else None
    opened = open_file(file)
    tensors = dict(opened.found.tensors)
    metadata = {
        "layout": opened.found.layout.name,
        "source": file.name,
        "source_sha256": opened.sha256,
        **as_metadata(provenance(file)),
    }
    if encoder is not None and arch is not None:
        result, tensors = match(opened.found, encoder.state_dict(), arch)
        if not result.fits:
            raise RequestError(f"{file}: {result.refusal()}")
        metadata["arch"] = arch
        for line in result.report():
            note(line)
    save_weights({f"{ENCODER}{key}": tensor for key, tensor in tensors.items()}, output, metadata)
    note(f"written: {output} ({len(tensors)} tensors)")
    return 0


def build_encoder(arch: str) -> nn.Module:
    """Returns a backbone of the catalog with its default parameters.

    Raises:
        RequestError: There is none of this name.
    """
    from coretune.spec.catalog import load_catalog

    catalog = load_catalog()
    reference = catalog.ref("backbone", arch)
    encoder: nn.Module = catalog.get("backbone", arch).load()(catalog.parameters("backbone", reference))
    return encoder


def open_file(path: Path) -> Opened:
    """Looks at a file of weights; nothing in it is executed.

    Raises:
        RequestError: It would have to be executed, or holds no tensors.
        UnfitError: It cannot be read.
    """
    from coretune.data.fingerprint import hash_file
    from coretune.nets.checkpoints import read_checkpoint, recognise

    contents = read_checkpoint(path)
    return Opened(path, hash_file(path), contents, recognise(contents))


def compare(opened: Opened, encoder: nn.Module, arch: str) -> Match:
    """Returns what of a file matches a backbone."""
    from coretune.nets.checkpoints import match

    return match(opened.found, encoder.state_dict(), arch)[0]


def described(opened: Opened, result: Match | None) -> dict[str, Any]:
    """Returns what is known of a file as JSON values."""
    from coretune.nets.checkpoints import architecture
    from coretune.results.provenance import CONTENTS  # thousands of hashes

    found, contents = opened.found, opened.contents
    value: dict[str, Any] = {
        "file": str(opened.path),
        "bytes": opened.path.stat().st_size,
        "sha256": opened.sha256,
        "form": contents.form,
        "layout": found.layout.name,
        "also": found.layout.also,
        "source": found.layout.source,
        "recognised_by": found.how,
        "tensors": len(found.tensors),
        "parameters": found.parameters,
        "architecture": architecture(found.tensors),
        "dropped": dict(found.dropped),
        "beside": list(contents.extras),
        "metadata": {key: text for key, text in contents.metadata.items() if key != CONTENTS},
    }
    if result is not None:
        value["match"] = {
            "arch": result.arch,
            "fits": result.fits,
            "tensors": result.tensors,
            "elements": result.elements,
            "used": result.used,
            "matched": len(result.matched),
            "missing": list(result.missing),
            "mismatched": [str(each) for each in result.mismatched],
            "unexpected": list(result.unexpected),
            "resized": [str(each) for each in result.resized],
            "report": result.report(),
        }
    return value


def drawn(value: dict[str, Any]) -> Table:
    """Returns what is known of a file as a table of names and values."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    layout = value["layout"] + (f" (or {value['also']})" if value["also"] else "")
    rows = [
        ("file", value["file"]),
        ("form", f"{value['form']}, {size(value['bytes'])}"),
        ("SHA-256", value["sha256"]),
        ("layout", layout),
        ("recognised by", value["recognised_by"]),
        ("described in", value["source"]),
        ("backbone", f"{value['tensors']:,} tensors, {value['parameters']:,} parameters"),
        ("shapes suggest", value["architecture"] or "no architecture that is known"),
        *(("dropped", f"{count:,} tensors: {what}") for what, count in value["dropped"].items()),
        *(("beside", ", ".join(value["beside"])) for _ in value["beside"][:1]),
        *(("metadata", f"{key}: {text}") for key, text in value["metadata"].items()),
        *(("match", line) for line in value.get("match", {}).get("report", [])),
    ]
    for name, text in rows:
        table.add_row(name, text)
    return table
