"""`coretune data pack`: decodes a data set once, before a study does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coretune_cli.arguments import JsonOption
from coretune_cli.bar import image_bar
from coretune_cli.chosen import DataArgument, DownloadOption, PathOption, choose
from coretune_cli.formats import plural, size
from coretune_cli.output import note, show_json, show_text
from coretune_cli.reading import data_notes

SizeOption = Annotated[
    int | None, typer.Option("--size", min=4, metavar="N", help="Side in pixels; default: the data set's own.")
]


def pack(
    data: DataArgument,
    side: SizeOption = None,
    path: PathOption = None,
    download: DownloadOption = False,
    as_json: JsonOption = False,
) -> int:
    """Decode and resize every image once, into a file that all runs of this machine share; say where it lies.

    Exit code 1 if images cannot be read.
    """
    from coretune.data.fingerprint import fingerprint
    from coretune.data.pack import is_packed
    from coretune.data.pack import pack as pack_source
    from coretune.data.roots import cache_root
    from coretune.data.unreadable import counted, listed

    chosen = choose(data, path, download=download)
    source, pixels = chosen.source, side or chosen.about.image_size
    with data_notes():
        found = fingerprint(source)
    there = is_packed(source, found, pixels, cache_root())
    with data_notes(), image_bar(f"packing {chosen.about.name}", len(source.names)) as at:
        packed = pack_source(source, found, pixels, cache_root(), lambda now: at(now.done, now.images_per_s))
    folder = Path(str(getattr(packed.images, "filename"))).parent  # noqa: B009 - a memory map knows its file
    number = sum(file.stat().st_size for file in folder.iterdir())
    if as_json:
        said = {"data": chosen.about.name, "fingerprint": found, "images": len(packed.names), "image_size": pixels}
        unreadable = [image.reason for image in packed.unreadable]
        show_json({**said, "path": folder, "bytes": number, "new": not there, "unreadable": unreadable})
        return 1 if unreadable else 0
    state = "was packed already" if there else "packed"
    note(f"{chosen.about.name}: {plural(len(packed.names), 'image')} of {pixels} pixels, {size(number)}; {state}")
    if packed.unreadable:
        note(
            f"{counted(packed.unreadable, len(packed.names))}: a study refuses them, or skips them (data.corrupt)",
            "red",
        )
        for line in listed(packed.unreadable):
            note(f"  {line}")
    show_text(str(folder))
    return 1 if packed.unreadable else 0
