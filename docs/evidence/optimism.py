"""By how much a published figure gains from its rule of selection: last epoch, best on validation, best on test.

    python docs/evidence/optimism.py RESULTS CELL... [--seeds 4] [--limit 2000]

Trains the first final runs of some cells of a study once more, as recorded, and judges the model after every epoch on
the validation part and on a sample of the test part. Nothing is recorded in the results directory. Prints a table and,
as its last line, the same as JSON.
"""

from __future__ import annotations

import json
import statistics

import torch
from finals import final_specs, parser_of

from coretune.data.draws import permutation
from coretune.results.store import ResultsStore
from coretune.runs.build import build_parts, context_of, open_job_data
from coretune.runs.job import Job
from coretune.spec.catalog import load_catalog
from coretune.spec.components import Catalog
from coretune.spec.run import RunSpec
from coretune.spec.study import Resources
from coretune.tuning.classification import evaluate_classification
from coretune.tuning.loop import EpochReport, train
from coretune.tuning.modes import evaluation_mode
from coretune.tuning.precision import autocast

Scores = dict[str, float]


def scores_of(spec: RunSpec, store: ResultsStore, catalog: Catalog, path: str | None, limit: int) -> Scores:
    """Trains a run and returns its test accuracy (per cent) by rule of selection."""
    context = context_of(Resources(channels_last=True))
    job = Job(spec.replace(train=spec.train.replace(evaluate_every=1)), path)
    dataset = open_job_data(job, catalog)
    parts = build_parts(job, dataset, store, catalog, context)
    test = dataset.split.test[permutation(0, "optimism", 0, len(dataset.split.test))[:limit]]
    epochs: list[tuple[float, float]] = []
    for event in train(parts, context):
        if isinstance(event, EpochReport):
            with evaluation_mode(parts.model), autocast(context.device, spec.train.precision):
                found = evaluate_classification(parts.model, dataset.packed, test, context)
            epochs.append((event.metrics["top1"], found["top1"]))
    return {
        "last": epochs[-1][1],
        "best on validation": max(epochs, key=lambda epoch: epoch[0])[1],
        "best on test": max(test for _, test in epochs),
    }


def main() -> None:
    """Prints the table of the cells that are named on the command line."""
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--limit", type=int, default=2000, help="test images")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    store, catalog = ResultsStore(asked.results), load_catalog()
    table: dict[str, Scores] = {}
    for cell in asked.cells:
        runs = [
            scores_of(spec, store, catalog, asked.data, asked.limit) for spec in final_specs(store, cell, asked.seeds)
        ]
        table[cell] = {rule: statistics.mean(run[rule] for run in runs) for rule in runs[0]}
        print(cell, " ".join(f"{rule} {value:.2f}" for rule, value in table[cell].items()), flush=True)
    print(json.dumps({"seeds": asked.seeds, "limit": asked.limit, "top1": table}))


if __name__ == "__main__":
    main()
