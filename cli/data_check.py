"""`coretune data check`: whether a data set is whole, and whether images stand in several of its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from coretune_cli.arguments import JsonOption
from coretune_cli.bar import counted, image_bar
from coretune_cli.chosen import Chosen, DataArgument, DownloadOption, PathOption, choose
from coretune_cli.formats import plural
from coretune_cli.output import show, show_json

if TYPE_CHECKING:
    from coretune.data.check import Report
    from coretune.data.mask_check import MaskReport

MOST = 20
"""Groups of copies that are shown; --json has all. Images that cannot be used are all named: they are to be mended."""


def check(
    data: DataArgument, path: PathOption = None, download: DownloadOption = False, as_json: JsonOption = False
) -> int:
    """Count, read and compare all images of a data set. Exit code 1 if something is wrong."""
    from coretune.data.check import check as look
    from coretune.data.mask_check import check_masks
    from coretune.data.masks import MaskSource

    chosen = choose(data, path, download=download)
    source = chosen.source
    with image_bar(f"reading {chosen.about.name}", len(source.names)) as at:
        report = (
            check_masks(source, chosen.about, counted(at))
            if isinstance(source, MaskSource)
            else look(source, chosen.about, counted(at))
        )
    if as_json:
        show_json({"path": chosen.path, **asdict(report)})
    else:
        show(report_view(report, chosen))
    return 1 if report.problems else 0


def report_view(report: Report | MaskReport, chosen: Chosen) -> RenderableType:
    """Draws what was found: the whole, the classes, and what is wrong."""
    from coretune.data.mask_check import MaskReport

    where = f" in {chosen.path}" if chosen.path is not None else ""
    title = f"{report.name}{where}: {plural(report.images, 'image')}, {len(report.classes):,} classes"
    lines = [Text(title, style="bold"), _counted(report.parts)]
    if isinstance(report, MaskReport):
        table = pixel_table(report)
        lines.append(Text(f"{report.void:.1%} of the pixels are void, of no class"))
        copies = [*report.across]
    else:
        table = class_table(report)
        lines += [_counted(report.domains)] if report.domains else []
        copies = [*report.across, *report.across_domains]
    if report.sizes is not None:
        width, height = report.sizes.width, report.sizes.height
        lines.append(
            Text(
                f"width {width[0]} to {width[2]} (median {width[1]}), height {height[0]} to {height[2]} "
                f"(median {height[1]})"
            )
        )
    verdict = [Text(f"! {problem}", style="bold red") for problem in report.problems]
    details = [f"  {line}" for line in report.unreadable]
    details += [f"  {' = '.join(group)}" for group in copies[:MOST]]
    if len(copies) > MOST:
        details.append(f"  and {len(copies) - MOST:,} more (--json has all)")
    remarks = [Text(f"· {remark}") for remark in report.remarks]
    if not verdict:
        verdict = [Text("nothing is wrong", style="bold green")]
    return Group(*lines, Text(""), table, Text(""), *remarks, *verdict, *map(Text, details))


def _counted(counts: Mapping[str, int]) -> Text:
    return Text(", ".join(f"{name} {count:,}" for name, count in counts.items()))


def class_table(report: Report) -> Table:
    """Draws the images of each class and part."""
    table = _table(report.parts)
    for name, counts in report.classes.items():
        table.add_row(name, *(f"{counts.get(part, 0):,}" for part in report.parts))
    return table


def pixel_table(report: MaskReport) -> Table:
    """Draws the images in which each class occurs, by part, and its share of the pixels."""
    table = _table(report.parts)
    table.add_column("share of pixels", justify="right")
    for name, found in report.classes.items():
        images = (f"{found.images.get(part, 0):,}" for part in report.parts)
        table.add_row(name, *images, f"{found.share:.2%}")
    return table


def _table(parts: Iterable[str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("class", overflow="ellipsis", no_wrap=True)
    for part in parts:
        table.add_column(part, justify="right")
    return table
