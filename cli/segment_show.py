"""`coretune segment show`: predicted classes of pixels beside the true ones, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coretune.errors import RequestError
from coretune_cli.output import note
from coretune_cli.places import find_results

if TYPE_CHECKING:
    from coretune.results.store import ResultsStore

ResultsArgument = Annotated[
    str | None, typer.Argument(metavar="[RESULTS]", help="A results directory or a study's name; default: the newest.")
]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", metavar="LABEL", help="Of several data sets, which; default: the first.")
]
ImagesOption = Annotated[int, typer.Option("--images", min=1, max=50, help="How many test images.")]
FileOption = Annotated[Path, typer.Option("--out", metavar="FILE.png", help="Where the picture goes.")]


def show(
    results: ResultsArgument = None,
    dataset: DatasetOption = None,
    images: ImagesOption = 4,
    out: FileOption = Path("predictions.png"),
) -> int:
    """Draw test images, their true classes, and what each method's first final run predicts, in VOC's colours."""
    from coretune.report.scenes import Scene, write_scenes
    from coretune.results.store import ResultsStore
    from coretune.runs.alone import context_on
    from coretune.runs.scenes import predicted_scenes

    folder, newest = find_results(results)
    if newest:
        note(f"{folder}, the newest results", style="dim")
    store = ResultsStore(folder)
    found, classes = predicted_scenes(store, first_finals(store, dataset), context_on(None), images=images)
    write_scenes(out, [Scene(*each) for each in found], classes)
    note(f"{out}: {len(found)} test images of {', '.join(found[0].predicted)}")
    return 0


def first_finals(store: ResultsStore, dataset: str | None) -> dict[str, tuple[str, str]]:
    """Returns id and weights of the first final run of each cell of a data set, by method, or method and backbone.

    Raises:
        RequestError: There is none whose weights were kept.
    """
    from coretune.results.finals import completed_finals
    from coretune.spec.segmentation import MIOU

    cells = {cell.key: cell for cell in store.cells() if cell.metric == MIOU}
    wanted = dataset or next((cell.dataset for cell in cells.values()), None)
    chosen = {key: cell for key, cell in cells.items() if cell.dataset == wanted}
    several = len({cell.backbone for cell in chosen.values()}) > 1
    runs: dict[str, tuple[str, str]] = {}
    for run in completed_finals(store):
        if run.cell in chosen and store.has_weights(run.run_id, [run.weights]):
            cell = chosen[run.cell]
            runs.setdefault(f"{cell.method}, {cell.backbone}" if several else cell.method, (run.run_id, run.weights))
    if not runs:
        of = f" of {dataset}" if dataset is not None else ""
        raise RequestError(f"{store.root}: no completed final run of segmentation{of} whose weights were kept")
    return runs
