"""`coretune segment show`: predicted classes of pixels beside the true ones, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coretune.errors import RequestError
from coretune_cli.formats import plural
from coretune_cli.output import note
from coretune_cli.places import find_results
from coretune_cli.segment_runs import drawn_runs

if TYPE_CHECKING:
    from coretune.results.store import ResultsStore

ResultsArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[RESULTS]",
        help="A results directory, of a study or of single runs, or a study's name; default: the newest study's.",
    ),
]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", metavar="LABEL", help="Of several data sets, which; default: the first.")
]
ImagesOption = Annotated[int, typer.Option("--images", min=1, max=50, help="How many test images.")]
FileOption = Annotated[Path, typer.Option("--out", metavar="FILE.png", help="Where the picture goes.")]
PathOption = Annotated[
    Path | None,
    typer.Option("--path", metavar="DIR", help="Where the images and masks lie; default: where the study says."),
]


def show(
    results: ResultsArgument = None,
    dataset: DatasetOption = None,
    images: ImagesOption = 4,
    out: FileOption = Path("predictions.png"),
    path: PathOption = None,
) -> int:
    """Draw test images, their true classes, and what runs predict, in VOC's colours: each method's first final run.

    Of single runs, which coretune tune makes, the newest ones.
    """
    from coretune.report.scenes import Scene, write_scenes
    from coretune.results.store import ResultsStore
    from coretune.runs.alone import context_on
    from coretune.runs.scenes import predicted_scenes

    folder, newest = find_results(results, single_runs=True)
    if newest:
        note(f"{folder}, the newest results", style="dim")
    store = ResultsStore(folder)
    runs = drawn_runs(store, dataset)
    at = _data_path(store, runs[0].run_id, path)
    chosen = {run.label: (run.run_id, run.weights) for run in runs}
    found, classes = predicted_scenes(store, chosen, context_on(None), images=images, path=at)
    write_scenes(out, [Scene(*each) for each in found], classes, {run.label: run.head for run in runs})
    note(f"{out}: {plural(len(found), 'test image')} of {', '.join(chosen)}")
    return 0


def _data_path(store: ResultsStore, run_id: str, path: Path | None) -> str | None:
    """Returns where the data of runs lie, or None for what their study or their name says.

    Raises:
        RequestError: Neither says so.
    """
    from coretune.spec.catalog import load_catalog

    if path is not None:
        return str(path.expanduser().absolute())
    record = store.record(run_id)
    name = "" if record is None else record.spec["data"]["dataset"]["name"]
    if not (store.root / "study.yaml").exists() and load_catalog().dataset(name).needs_path:
        raise RequestError(f"{store.root} holds single runs, which do not record where {name} lies: say --path DIR")
    return None
