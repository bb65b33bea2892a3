"""How the features of some methods change in training: scatter, collapse, rank, both terms of the contrast, by epoch.

    python docs/evidence/by_epoch.py RESULTS NAME CELL... [--seeds 4] [--per-class 20]

Trains the first final runs of some cells of a study once more, as recorded, and measures them before the first epoch
and after every evaluated one: `coretune.tuning.diagnostics.diagnose` of pools of labelled (`train`) and validation
images (`held_out`), of backbone and projector, and `gradient_shares` of both terms of the loss over the first batch.
Nothing is recorded in the results directory. Writes NAME.csv (mean over seeds, one number a row) and NAME.png.
"""

from __future__ import annotations

import copy
import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from finals import final_specs, parser_of
from matplotlib.figure import Figure

from coretune.results.store import ResultsStore
from coretune.runs.build import build_parts, context_of, open_job_data
from coretune.runs.job import Job
from coretune.spec.catalog import load_catalog
from coretune.spec.components import Catalog
from coretune.spec.run import RunSpec
from coretune.spec.study import Resources
from coretune.tuning.context import Context
from coretune.tuning.diagnostics import diagnose, gradient_shares
from coretune.tuning.loop import EpochReport, Parts, train
from coretune.tuning.modes import evaluation_mode
from coretune.tuning.task import Moment

Numbers = Mapping[str, float]
Table = dict[tuple[str, int], list[Numbers]]

SHOWN = {
    "backbone.scatter_ratio": "within- over between-class scatter",
    "backbone.effective_rank": "effective rank, backbone",
    "backbone.nc1": "NC1, backbone",
    "projector.tightness": "tightness, projector",
    "projector.contrast": "contrast, projector",
}


def measured(
    spec: RunSpec, store: ResultsStore, catalog: Catalog, path: str | None, per_class: int
) -> dict[int, Numbers]:
    """Trains a run and returns what was measured, by the number of finished epochs."""
    context = context_of(Resources())
    job = Job(spec, path)
    dataset = open_job_data(job, catalog)
    parts = build_parts(job, dataset, store, catalog, context)
    split = dataset.split

    def look() -> Numbers:
        with evaluation_mode(parts.model):
            found = diagnose(
                parts.model,
                parts.method,
                dataset.packed,
                split.labelled,
                split.validation,
                context,
                per_class=per_class,
            )
        return {**found, **_shares(parts, spec, context)}

    training = train(parts, context)
    numbers: dict[int, Numbers] = {0: look()}
    for event in training:
        if isinstance(event, EpochReport):
            numbers[event.epoch] = {**look(), "validation.top1": event.metrics["top1"]}
    return numbers


def _shares(parts: Parts, spec: RunSpec, context: Context) -> Numbers:
    """Returns the share of the contrast in the backbone's gradient and its cosine with that of the cross-entropy.

    Of the first batch, on copies: batch norm and methods would remember it. Nothing where the contrast has no weight.
    """
    eta = getattr(getattr(parts.method, "params", None), "eta", 0)
    if not eta:
        return {}
    batch = next(iter(parts.task.batches(0, 0, context)))
    moment = Moment(spec.seed, 0, 0, 0.0)
    model, method = copy.deepcopy((parts.model, parts.method))
    without = copy.deepcopy(method)
    without.params = method.params.replace(eta=0.0)
    total = parts.task.loss(model, batch, method, moment, context).total
    cross_entropy = parts.task.loss(model, batch, without, moment, context).total
    terms = [("cross_entropy", cross_entropy), ("contrast", total - cross_entropy)]
    found = gradient_shares(terms, model.encoder.parameters())
    return {"gradient.share": found.shares["contrast"], "gradient.cosine": found.cosines["cross_entropy", "contrast"]}


def draw(table: Table) -> Figure:
    """Draws each shown number by epoch: held-out images solid, training images dashed, a colour for each cell."""
    figure = Figure(figsize=(3.2 * len(SHOWN), 3.4), layout="constrained")
    cells = list(dict.fromkeys(cell for cell, _ in table))
    for axes, (name, title) in zip(figure.subplots(1, len(SHOWN)), SHOWN.items(), strict=True):
        for colour, cell in enumerate(cells):
            for part, style in (("held_out", "-"), ("train", "--")):
                points = [(e, _mean(runs, f"{part}.{name}")) for (c, e), runs in table.items() if c == cell]
                known = [(epoch, value) for epoch, value in points if np.isfinite(value)]
                if known:
                    label = cell.split("--")[1] if part == "held_out" else None
                    axes.plot(*zip(*known, strict=True), style, color=f"C{colour}", label=label)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch", fontsize=8)
        axes.tick_params(labelsize=8)
    figure.axes[0].legend(fontsize=8, title="solid: held-out, dashed: training", title_fontsize=7)
    return figure


def _mean(runs: list[Numbers], name: str) -> float:
    values = [run[name] for run in runs if name in run]
    return float(np.mean(values)) if values else float("nan")


def write_csv(path: Path, table: Table) -> None:
    """Writes one row per cell, epoch and number: the mean over seeds."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["cell", "epoch", "number", "mean", "seeds"])
        for (cell, epoch), runs in table.items():
            for name in sorted({name for run in runs for name in run}):
                seeds = sum(name in run for run in runs)
                rows.writerow([cell, epoch, name, f"{_mean(runs, name):.5g}", seeds])


def main() -> None:
    """Writes the table and the picture of the cells that are named on the command line."""
    parser = parser_of(__doc__, "name")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--per-class", type=int, default=20, help="images of each class in each pool")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    store, catalog = ResultsStore(asked.results), load_catalog()
    table: Table = defaultdict(list)
    for cell in asked.cells:
        for spec in final_specs(store, cell, asked.seeds):
            for epoch, numbers in measured(spec, store, catalog, asked.data, asked.per_class).items():
                table[cell, epoch].append(numbers)
        print(cell, flush=True)
    write_csv(asked.name.with_suffix(".csv"), table)
    draw(table).savefig(asked.name.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
