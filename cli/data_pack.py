"""`coretune data pack`: decodes a data set once, before a study does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from coretune.errors import RequestError
from coretune_cli.arguments import AddressOption, JsonOption
from coretune_cli.bar import image_bar
from coretune_cli.chosen import Chosen, DataArgument, DownloadOption, PathOption, choose
from coretune_cli.formats import plural, size
from coretune_cli.on_cluster import elsewhere
from coretune_cli.output import note, show_json, show_text
from coretune_cli.reading import data_notes

if TYPE_CHECKING:
    from coretune.data.mask_pack import PackedMasks
    from coretune.data.pack import Packed
    from coretune.data.packing import Packing

SizeOption = Annotated[
    int | None, typer.Option("--size", min=4, metavar="N", help="Side in pixels; default: the data set's own.")
]


def pack(
    command: typer.Context,
    data: DataArgument,
    side: SizeOption = None,
    path: PathOption = None,
    download: DownloadOption = False,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> int:
    """Decode every image once, into a file that all runs of this machine share; say where it lies.

    Images are made squares; those with masks keep their size. Exit code 1 if images cannot be read.
    """
    if (code := elsewhere(command, address, gpu=False, everywhere=True)) is not None:
        return code
    from coretune.data.unreadable import counted, listed

    chosen = choose(data, path, download=download)
    done = _packed(chosen, side)
    packed = done.packed
    folder = packed.folder
    number = sum(file.stat().st_size for file in folder.iterdir())
    if as_json:
        said = {"data": chosen.about.name, "fingerprint": packed.fingerprint, "images": len(packed.names)}
        unreadable = [image.reason for image in packed.unreadable]
        show_json(
            {
                **said,
                "image_size": done.side,
                "path": folder,
                "bytes": number,
                "new": not done.before,
                "unreadable": unreadable,
            }
        )
        return 1 if unreadable else 0
    state = "was packed already" if done.before else "packed"
    what = "with masks, at their own size" if done.side is None else f"of {done.side} pixels"
    note(f"{chosen.about.name}: {plural(len(packed.names), 'image')} {what}, {size(number)}; {state}")
    if packed.unreadable:
        what = ": a study refuses them, or skips them (data.corrupt)"
        note(f"{counted(len(packed.unreadable), len(packed.names), masks=done.side is None)}{what}", "red")
        for line in listed([image.reason for image in packed.unreadable]):
            note(f"  {line}")
    show_text(str(folder))
    return 1 if packed.unreadable else 0


class _Done(NamedTuple):
    """A pack, the side of its squares (None where images keep their size), and whether it was there before."""

    packed: Packed | PackedMasks
    side: int | None
    before: bool


def _packed(chosen: Chosen, side: int | None) -> _Done:
    from coretune.data.fingerprint import fingerprint
    from coretune.data.mask_pack import are_packed, pack_masks
    from coretune.data.masks import MaskSource
    from coretune.data.pack import is_packed
    from coretune.data.pack import pack as pack_source
    from coretune.data.roots import cache_root

    source, cache = chosen.source, cache_root()
    if isinstance(source, MaskSource) and side is not None:
        raise RequestError(f"--size {side}: images with masks are packed at their own size; leave it out")
    with data_notes():
        found = fingerprint(source)
    with data_notes(), image_bar(f"packing {chosen.about.name}", len(source.names)) as at:

        def told(now: Packing) -> None:
            at(now.done, now.images_per_s)

        if isinstance(source, MaskSource):
            before = are_packed(source, found, cache)
            return _Done(pack_masks(source, found, cache, told), None, before)
        pixels = side or chosen.about.image_size
        before = is_packed(source, found, pixels, cache)
        return _Done(pack_source(source, found, pixels, cache, told), pixels, before)
