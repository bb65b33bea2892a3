"""Intervals of a segmentation study's difference to CE-tuning over the video, not over frames.

    python docs/evidence/segmentation.py RESULTS OUT.json METHOD [--baseline ce] [--stretch 30] [--data PATH]

Frames of a video are nearly the same image again and again. The test part is cut into its sequences (what a name has
before its last `_`), and these into stretches of about `--stretch` consecutive frames. A replicate draws as many
stretches with replacement, and as many final seeds, in pairs; mIoU is that of the pooled confusion matrix, the
difference is averaged over seeds. Percentiles of so few seeds would be too narrow: those that are taken lie further
out, where a normal distribution has them for the half-width of Student's t (Hesterberg, arXiv 1411.5279). The same is
told of stretches alone, with the seeds that there are. Beside OUT.json the matrices are kept, OUT.npz. The runs'
weights have to be there (`keep: finals`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from coretune.results.finals import completed_finals
from coretune.results.store import ResultsStore
from coretune.runs.build import context_of
from coretune.runs.scenes import predicted_scenes
from coretune.spec.study import Resources

Counts = NDArray[np.int64]
REPLICATES = 20_000


def confusion(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> Counts:
    """Returns the (C, C) confusion matrix of one image, void left out."""
    known = truth < classes
    pairs = truth[known].astype(np.int64) * classes + predicted[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def miou(counts: Counts) -> NDArray[np.float64]:
    """Returns the mIoU in per cent of confusion matrices (..., C, C); classes of no truth or prediction left out."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(axis=-1) + counts.sum(axis=-2) - right
    found: NDArray[np.float64] = 100 * (right / np.maximum(union, 1)).sum(axis=-1) / (union > 0).sum(axis=-1)
    return found


def stretches(names: Sequence[str], length: int) -> dict[str, list[NDArray[np.int64]]]:
    """Returns the images of each stretch, by sequence; a sequence is cut into equal stretches of about that length."""
    sequences: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        sequences.setdefault(name.rpartition("_")[0], []).append(index)
    return {
        name: np.array_split(np.array(members), max(1, round(len(members) / length)))
        for name, members in sequences.items()
    }


def bootstrap(
    own: Counts, base: Counts, replicates: int = REPLICATES, seed: int = 0, *, seeds_too: bool = True
) -> NDArray[np.float64]:
    """Returns the differences of replicates; matrices are (seeds, stretches, C, C)."""
    rng = np.random.default_rng(seed)
    seeds, cuts = own.shape[:2]
    found = np.empty(replicates)
    for replicate in range(replicates):
        runs = rng.integers(0, seeds, seeds) if seeds_too else np.arange(seeds)
        drawn = np.bincount(rng.integers(0, cuts, cuts), minlength=cuts)
        pooled = [np.einsum("s,rsij->rij", drawn, counts[runs]) for counts in (own, base)]
        found[replicate] = (miou(pooled[0]) - miou(pooled[1])).mean()
    return found


def expanded(differences: NDArray[np.float64], units: int, level: float = 0.05) -> list[float]:
    """Returns the expanded percentile interval of a bootstrap over so many units."""
    tail = stats.norm.cdf(-np.sqrt(units / (units - 1)) * stats.t.ppf(1 - level / 2, units - 1))
    return [float(each) for each in np.quantile(differences, [tail, 1 - tail])]


def main() -> None:
    """Writes the differences, by sequence and together, with their intervals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("method")
    parser.add_argument("--baseline", default="ce")
    parser.add_argument("--stretch", type=int, default=30)
    parser.add_argument("--data", default=None)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    store = ResultsStore(asked.results)
    methods = {cell.key: cell.method for cell in store.cells()}
    runs = {f"{methods[run.cell]}/{run.index}": (run.run_id, run.weights) for run in completed_finals(store)}
    context = context_of(Resources(channels_last=True))
    scenes, classes = predicted_scenes(store, runs, context, images=1_000_000, path=asked.data)
    cuts = stretches([scene.name for scene in scenes], asked.stretch)
    seeds = sorted({int(label.partition("/")[2]) for label in runs})

    def matrices(method: str) -> Counts:
        each = [
            [confusion(scene.truth, scene.predicted[f"{method}/{seed}"], len(classes)) for scene in scenes]
            for seed in seeds
        ]
        whole = np.array(each)
        return np.stack([whole[:, part].sum(axis=1) for parts in cuts.values() for part in parts], axis=1)

    own, base = matrices(asked.method), matrices(asked.baseline)
    of = np.repeat(list(cuts), [len(parts) for parts in cuts.values()])
    np.savez_compressed(asked.out.with_suffix(".npz"), own=own, baseline=base, sequence=of)
    fewest = min(own.shape[:2])
    report = {
        "method": asked.method,
        "baseline": asked.baseline,
        "seeds": len(seeds),
        "miou": {name: miou(counts.sum(axis=1)).tolist() for name, counts in (("own", own), ("baseline", base))},
        "difference": float((miou(own.sum(axis=1)) - miou(base.sum(axis=1))).mean()),
        "interval_95": expanded(bootstrap(own, base), fewest),
        "interval_95_of_these_seeds": expanded(bootstrap(own, base, seeds_too=False), own.shape[1]),
        "stretches": {name: [len(part) for part in parts] for name, parts in cuts.items()},
        "by_sequence": {
            name: float((miou(own[:, of == name].sum(axis=1)) - miou(base[:, of == name].sum(axis=1))).mean())
            for name in cuts
        },
    }
    asked.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
