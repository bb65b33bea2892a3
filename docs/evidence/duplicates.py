"""How many test images of CIFAR-10 have a near-duplicate among its training images.

    python docs/evidence/duplicates.py [FOLDER]

FOLDER holds CIFAR-10 as Hugging Face parquet; by default it is looked for below $CORETUNE_DATA. Prints a count for each
threshold on the correlation of pixels, and how many of these pairs differ in their label.
"""

from __future__ import annotations

import sys

import numpy as np

from coretune.data.duplicates import nearest_images
from coretune.data.fingerprint import fingerprint
from coretune.data.pack import pack
from coretune.data.roots import cache_root
from coretune.data.source import TEST, open_source
from coretune.spec.catalog import load_catalog

THRESHOLDS = (0.999, 0.99, 0.98, 0.95, 0.9)


def main() -> None:
    """Prints the counts."""
    catalog = load_catalog()
    source = open_source(catalog, catalog.ref("dataset", "cifar10"), sys.argv[1] if len(sys.argv) > 1 else None)
    packed = pack(source, fingerprint(source), 32, cache_root())
    test, train = np.flatnonzero(packed.parts == TEST), np.flatnonzero(packed.parts != TEST)
    found = nearest_images(packed.images[test], packed.images[train])
    other = packed.labels[test] != packed.labels[train][found.index]
    print(f"{len(test)} test images, {len(train)} training images")
    for threshold in THRESHOLDS:
        near = found.similarity >= threshold
        print(f"correlation >= {threshold}: {near.sum()} ({near.mean():.2%}), {(near & other).sum()} of another class")


if __name__ == "__main__":
    main()
