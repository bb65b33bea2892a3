"""Features of the test images by several methods' first final run, side by side, as a picture.

    python docs/evidence/feature_maps.py RESULTS PICTURE.png CELL... [--per-class 100]

The runs' weights have to be there (`keep: finals`). All columns show the same test images.
"""

from __future__ import annotations

import numpy as np
import torch
from finals import final_specs, parser_of
from numpy.typing import NDArray

from coretune.report.feature_maps import write_feature_maps
from coretune.results.store import ResultsStore
from coretune.runs.build import context_of, open_job_data
from coretune.runs.job import Job
from coretune.runs.trained import load_trained
from coretune.spec.catalog import load_catalog
from coretune.spec.study import Resources
from coretune.tuning.diagnostics import balanced_pools, pool_features


def main() -> None:
    """Writes the picture of the cells that are named on the command line."""
    parser = parser_of(__doc__, "picture")
    parser.add_argument("--per-class", type=int, default=100, help="test images of each class")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    store, catalog, context = ResultsStore(asked.results), load_catalog(), context_of(Resources(channels_last=True))
    features: dict[str, NDArray[np.float32]] = {}
    for key in asked.cells:  # columns are named by cells: several labels may mean one method
        (spec,) = final_specs(store, key, 1)
        job = Job(spec, asked.data)
        dataset = open_job_data(job, catalog)
        packed = dataset.packed
        model, method = load_trained(job, dataset, store, catalog, context)
        (pool,) = balanced_pools(packed.labels, [dataset.split.test], per_class=asked.per_class, seed=0)
        found = pool_features(model, method, packed, pool, context).backbone
        features[key] = found.float().cpu().numpy()
    write_feature_maps(asked.picture, features, packed.labels[pool], classes=packed.classes)


if __name__ == "__main__":
    main()
