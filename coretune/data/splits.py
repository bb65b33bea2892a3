"""Who is in which part: training, validation, test, and the labelled subset of the training part.

Official parts stay as they are; what a source lacks is drawn by class, in proportion, from the images that are not
in an official validation or test part (the pool). Each class is shuffled once by a stream of its own, so that a
larger validation part leaves the test part as it was, and 5 labels per class are among the 10 of the same seed. A
limit takes the first training images of each class, before any label is drawn. A long tail is cut from the labelled
subset last, by the same shuffle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coretune.data.draws import permutation
from coretune.data.source import TEST, VALIDATION
from coretune.errors import RequestError, UnfitError
from coretune.spec.run import DataSpec

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Indices of images, each sorted. `train`, `validation` and `test` are disjoint; without a limit they are all.

    Attributes:
        train: The training part, labelled or not; of a limit, what it leaves.
        labelled: The images of the training part whose labels may be used.
        validation: What the search looks at.
        test: What only final runs look at.
    """

    train: Indices
    labelled: Indices
    validation: Indices
    test: Indices


def split(labels: Indices, parts: NDArray[np.int8], data: DataSpec, *, classes: Sequence[str] = ()) -> Split:
    """Divides a data set.

    Args:
        labels: (N,) classes.
        parts: (N,) official parts, as in `source`.
        data: Sizes and seeds. A fraction is one of the pool; a fraction above 0 is at least one image.
        classes: Names for messages; labels themselves without.

    Raises:
        RequestError: A size is negative, or a fraction is 1 or more.
        UnfitError: Nothing is left to train on, or a class (named) has too few images.
    """
    official_test, official_validation = np.flatnonzero(parts == TEST), np.flatnonzero(parts == VALIDATION)
    pool = np.flatnonzero((parts != TEST) & (parts != VALIDATION))
    by_class = [
        indices[permutation(data.split_seed, "parts", c, len(indices))]
        for c, indices in enumerate(_by_class(pool, labels))
    ]
    tests = 0 if len(official_test) else _size("test", data.test, len(pool))
    validations = 0 if len(official_validation) else _size("validation", data.validation, len(pool))
    if tests + validations >= len(pool):
        raise UnfitError(
            f"{len(pool)} images less {tests} for the test and {validations} for the validation part "
            "leave none to train on: make data.test or data.validation smaller"
        )
    test, rest = _take(by_class, shares([len(indices) for indices in by_class], tests))
    validation, rest = _take(rest, shares([len(indices) for indices in rest], validations))
    _need(rest, [1] * len(rest), classes, "after the validation and test parts are taken")
    if data.labels_per_class is not None:
        _need(rest, [data.labels_per_class] * len(rest), classes, "in the training part")
    if data.limit is not None:
        rest, _ = _take(rest, even_shares([len(indices) for indices in rest], max(data.limit, len(rest))))
    return Split(
        train=_sorted(rest),
        labelled=_labelled(rest, data, classes),
        validation=official_validation if len(official_validation) else _sorted(validation),
        test=official_test if len(official_test) else _sorted(test),
    )


def shares(sizes: Sequence[int], total: int) -> list[int]:
    """Divides a total in proportion to sizes by largest remainder (Hamilton's method); ties go to the first.

    Returns:
        One count per size: they add up to `total`, and each is its exact share rounded down or up.

    Raises:
        ValueError: The total is larger than the sum of the sizes.
    """
    whole = sum(sizes)
    if not 0 <= total <= whole:
        raise ValueError(f"cannot take {total} of {whole}")
    if total == 0:
        return [0] * len(sizes)
    counts = [total * size // whole for size in sizes]
    remainders = [total * size % whole for size in sizes]
    largest = sorted(range(len(sizes)), key=lambda c: -remainders[c])
    for c in largest[: total - sum(counts)]:
        counts[c] += 1
    return counts


def even_shares(sizes: Sequence[int], total: int) -> list[int]:
    """Divides a total evenly: classes get the same number, but for one more or less, or all that they have.

    Returns:
        One count per size; they add up to `total`, or to all there is if that is less.
    """
    counts = [0] * len(sizes)
    for place, c in enumerate(sorted(range(len(sizes)), key=lambda c: sizes[c])):
        counts[c] = min(sizes[c], (total - sum(counts)) // (len(sizes) - place))
    return counts


def long_tail(sizes: Sequence[int], ratio: float) -> list[int]:
    """Returns how many images of each class make an exponential long tail (Cui et al., CVPR 2019: CIFAR-10-LT).

    The k-th largest of C classes (equal ones in the order of their labels) keeps n·ratio^(−k/(C−1)) images, k = 0, …,
    C − 1, rounded down; n is the largest number that every class has enough images for, so that classes that already
    differ in size keep the ratio asked for.

    Args:
        sizes: Images of each class.
        ratio: Largest to smallest class, above 1.

    Raises:
        UnfitError: The smallest class would have no image left.
    """
    order = sorted(range(len(sizes)), key=lambda c: -sizes[c])
    exponents = [rank / max(1, len(sizes) - 1) for rank in range(len(sizes))]
    largest = min(sizes[c] * ratio**exponent for c, exponent in zip(order, exponents, strict=True))
    if largest < ratio:
        raise UnfitError(
            f"an imbalance of {ratio:g} leaves no image of the smallest class: the largest can have "
            f"{math.floor(largest)}; make data.imbalance smaller"
        )
    counts = list(sizes)
    for c, exponent in zip(order, exponents, strict=True):
        counts[c] = math.floor(largest * ratio**-exponent + 1e-9)  # 500 · 10⁻² is 5 images, whatever the last bit says
    return counts


def _labelled(by_class: list[Indices], data: DataSpec, classes: Sequence[str]) -> Indices:
    if data.labels_per_class is None and data.label_fraction is None and data.imbalance is None:
        return _sorted(by_class)
    sizes = counts = [len(indices) for indices in by_class]
    if data.labels_per_class is not None:
        counts = [min(data.labels_per_class, size) for size in sizes]  # fewer only where there is a limit
    elif data.label_fraction is not None:
        # A class without a single label cannot be learned: each keeps at least one.
        counts = [max(1, count) for count in shares(sizes, max(1, round(data.label_fraction * sum(sizes))))]
    if data.imbalance is not None:
        # A limit may leave fewer images of a class than the ratio: then the tail is as long as they allow.
        counts = long_tail(counts, data.imbalance if data.limit is None else min(data.imbalance, *counts))
    ordered = [np.sort(indices) for indices in by_class]
    drawn = [
        indices[permutation(data.subset_seed, "labelled", c, len(indices))[:count]]
        for c, (indices, count) in enumerate(zip(ordered, counts, strict=True))
    ]
    return _sorted(drawn)


def _by_class(indices: Indices, labels: Indices) -> list[Indices]:
    count = int(labels.max()) + 1
    members = indices[np.argsort(labels[indices], kind="stable")]
    edges = np.searchsorted(labels[members], np.arange(1, count))
    return list(np.split(members, edges))


def _size(name: str, asked: int | float, pool: int) -> int:
    if asked < 0 or (isinstance(asked, float) and asked >= 1):
        raise RequestError(f"data.{name}: needs a number of images or a fraction below 1, got {asked}")
    if isinstance(asked, int):
        return asked
    return max(1, round(asked * pool)) if asked > 0 else 0


def _take(by_class: list[Indices], counts: list[int]) -> tuple[list[Indices], list[Indices]]:
    pairs = list(zip(by_class, counts, strict=True))
    return [indices[:count] for indices, count in pairs], [indices[count:] for indices, count in pairs]


def _sorted(by_class: list[Indices]) -> Indices:
    return np.sort(np.concatenate(by_class)).astype(np.int64, copy=False)


def _need(by_class: list[Indices], counts: list[int], classes: Sequence[str], where: str) -> None:
    short = [
        f"{classes[c] if classes else c} ({len(indices)} of {count})"
        for c, (indices, count) in enumerate(zip(by_class, counts, strict=True))
        if len(indices) < count
    ]
    if short:
        raise UnfitError(f"too few images {where}, of {len(short)} class(es): {', '.join(short)}")
