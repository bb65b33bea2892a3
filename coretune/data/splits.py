"""Who is in which part: training, validation, test, and the labelled subset of the training part.

Official parts stay as they are; what a source lacks is drawn by class, in proportion, from the images that are not
in an official validation or test part (the pool). Each class is shuffled once by a stream of its own, so that a
larger validation part leaves the test part as it was, and 5 labels per class are among the 10 of the same seed. A
limit takes the first training images of each class, before any label is drawn; one of the held-out parts draws from
each, whether official or not. A long tail is cut from the labelled subset last, by the same shuffle. What is left out
is shuffled with the others and then passed over, so that it moves none of them but the one that takes its place.
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
from coretune.spec.wording import some

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Indices of images, each sorted. `train`, `validation` and `test` are disjoint; without a limit they are all that
    is not left out.

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


def split(
    labels: Indices,
    parts: NDArray[np.int8],
    data: DataSpec,
    *,
    classes: Sequence[str] = (),
    left_out: Sequence[int] = (),
) -> Split:
    """Divides a data set.

    Args:
        labels: (N,) classes, also of what is left out.
        parts: (N,) official parts, as in `source`.
        data: Sizes and seeds. A fraction is one of the pool; a fraction above 0 is at least one image.
        classes: Names for messages; labels themselves without.
        left_out: Images that are in no part, and count nowhere.

    Raises:
        RequestError: A size is negative, a fraction is 1 or more, or more is asked for than there is; says which key,
            and what would do.
        UnfitError: A class (named) has no image outside of the official validation and test parts.
    """
    used = np.ones(len(labels), dtype=np.bool_)
    used[list(left_out)] = False
    official_test, official_validation = _official(parts, TEST, used), _official(parts, VALIDATION, used)
    pool = np.flatnonzero((parts != TEST) & (parts != VALIDATION))
    by_class = Groups(
        [
            indices[permutation(data.split_seed, "parts", c, len(indices))]
            for c, indices in enumerate(_by_class(pool, labels))
        ],
        used,
    )
    size = sum(by_class.sizes)
    tests = 0 if official_test is not None else drawn_size("test", data.test, size)
    validations = 0 if official_validation is not None else drawn_size("validation", data.validation, size)
    if short := too_few(by_class.sizes, 1, classes):
        raise UnfitError(f"too few images outside of the official validation and test parts, {short}")
    _check_parts(data, size, tests, validations)
    test, rest = by_class.take(shares(by_class.sizes, tests))
    validation, rest = rest.take(shares(rest.sizes, validations))
    _check_rest(data, rest.sizes, classes, tests, validations)
    if data.limit is not None:
        rest, _ = rest.take(even_shares(rest.sizes, max(data.limit, len(rest.sizes))))
    held_out = {
        "validation": official_validation if official_validation is not None else validation.sorted(),
        "test": official_test if official_test is not None else test.sorted(),
    }
    if data.held_out_limit is not None:
        held_out = {part: thinned(indices, labels, data, part) for part, indices in held_out.items()}
    return Split(train=rest.sorted(), labelled=labelled_images(rest, data), **held_out)


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
        RequestError: The smallest class would have no image left.
    """
    order = sorted(range(len(sizes)), key=lambda c: -sizes[c])
    exponents = [rank / max(1, len(sizes) - 1) for rank in range(len(sizes))]
    largest = min(sizes[c] * ratio**exponent for c, exponent in zip(order, exponents, strict=True))
    if largest < ratio:
        raise RequestError(
            f"data.imbalance: an imbalance of {ratio:g} leaves no image of the smallest class: the largest can have "
            f"{math.floor(largest)}; make it smaller"
        )
    counts = list(sizes)
    for c, exponent in zip(order, exponents, strict=True):
        counts[c] = math.floor(largest * ratio**-exponent + 1e-9)  # 500 · 10⁻² is 5 images, whatever the last bit says
    return counts


@dataclass(frozen=True)
class Groups:
    """Images by class, or by domain and class, in the order in which they are taken.

    Attributes:
        members: Of each group, also what is left out.
        used: (N,) what is not.
    """

    members: list[Indices]
    used: NDArray[np.bool_]

    @property
    def sizes(self) -> list[int]:
        """How many images of each group can be taken."""
        return [int(self.used[indices].sum()) for indices in self.members]

    def take(self, counts: Sequence[int]) -> tuple[Groups, Groups]:
        """Returns the first images of each group, and the others."""
        places = [np.flatnonzero(self.used[i])[:count] for i, count in zip(self.members, counts, strict=True)]
        pairs = list(zip(self.members, places, strict=True))
        taken, others = [i[place] for i, place in pairs], [np.delete(i, place) for i, place in pairs]
        return Groups(taken, self.used), Groups(others, self.used)

    def shuffled(self, seed: int) -> Groups:
        """Returns them in an order that depends on which images they are alone."""
        ordered = [np.sort(indices) for indices in self.members]
        return Groups(
            [indices[permutation(seed, "labelled", c, len(indices))] for c, indices in enumerate(ordered)], self.used
        )

    def sorted(self) -> Indices:
        """Returns the images of all groups, but for what is left out."""
        found = np.sort(np.concatenate(self.members)).astype(np.int64, copy=False)
        return found[self.used[found]]


def thinned(indices: Indices, labels: Indices, data: DataSpec, part: str) -> Indices:
    """Returns as many of a held-out part's images as its limit allows, of every class alike, and one at least."""
    by_class = _by_class(indices, labels)
    sizes = [len(members) for members in by_class]
    counts = even_shares(sizes, max(data.held_out_limit or 0, sum(size > 0 for size in sizes)))
    drawn = [
        members[permutation(data.split_seed, part, c, len(members))[:count]]
        for c, (members, count) in enumerate(zip(by_class, counts, strict=True))
    ]
    return np.sort(np.concatenate(drawn)).astype(np.int64, copy=False)


def labelled_images(rest: Groups, data: DataSpec) -> Indices:
    """Returns the images of a training part, by class, whose labels may be used."""
    if data.labels_per_class is None and data.label_fraction is None and data.imbalance is None:
        return rest.sorted()
    sizes = counts = rest.sizes
    if data.labels_per_class is not None:
        counts = [min(data.labels_per_class, size) for size in sizes]  # fewer only where there is a limit
    elif data.label_fraction is not None:
        # A class without a single label cannot be learned: each keeps at least one.
        counts = [max(1, count) for count in shares(sizes, max(1, round(data.label_fraction * sum(sizes))))]
    if data.imbalance is not None:
        # A limit may leave fewer images of a class than the ratio: then the tail is as long as they allow.
        counts = long_tail(counts, data.imbalance if data.limit is None else min(data.imbalance, *counts))
    drawn, _ = rest.shuffled(data.subset_seed).take(counts)
    return drawn.sorted()


def _official(parts: NDArray[np.int8], part: int, used: NDArray[np.bool_]) -> Indices | None:
    """Returns the images of an official part, or None where the source has no such part.

    Raises:
        UnfitError: All of them are left out.
    """
    there = parts == part
    if not there.any():
        return None
    found = np.flatnonzero(there & used)
    if not len(found):
        name = "test" if part == TEST else "validation"
        count = int(there.sum())
        raise UnfitError(
            f"no image of the official {name} part is left (of {count:,} image{'' if count == 1 else 's'})"
        )
    return found


def _by_class(indices: Indices, labels: Indices) -> list[Indices]:
    count = int(labels.max()) + 1
    members = indices[np.argsort(labels[indices], kind="stable")]
    edges = np.searchsorted(labels[members], np.arange(1, count))
    return list(np.split(members, edges))


def drawn_size(name: str, asked: int | float, pool: int) -> int:
    """Returns the number of images of a part that is drawn.

    Args:
        name: Its key.
        asked: A number, or a fraction of the pool: at least one image of it, if it is above 0.
        pool: Number of images that it is drawn from.

    Raises:
        RequestError: It is negative, or a fraction of 1 or more.
    """
    if asked < 0 or (isinstance(asked, float) and asked >= 1):
        raise RequestError(f"data.{name}: needs a number of images or a fraction below 1, got {asked}")
    if isinstance(asked, int):
        return asked
    return max(1, round(asked * pool)) if asked > 0 else 0


def _check_parts(data: DataSpec, size: int, tests: int, validations: int) -> None:
    if tests + validations >= size:
        drawn = (("validation", data.validation, validations), ("test", data.test, tests))
        keys = " and ".join(f"data.{key} ({asked})" for key, asked, taken in drawn if taken)
        raise RequestError(
            f"{keys}: {size:,} images less {tests:,} for the test and {validations:,} for the validation part "
            f"leave none to train on; together they must be fewer than {size:,}"
        )


def _check_rest(data: DataSpec, sizes: Sequence[int], classes: Sequence[str], tests: int, validations: int) -> None:
    if short := too_few(sizes, 1, classes):
        keys = " and ".join(f"data.{key}" for key, taken in (("validation", validations), ("test", tests)) if taken)
        raise RequestError(f"{keys}: too large: too few images are left to train on, {short}")
    if data.labels_per_class is not None and (short := too_few(sizes, data.labels_per_class, classes)):
        raise RequestError(
            f"data.labels_per_class: must be at most {min(sizes):,}, got {data.labels_per_class:,}: "
            f"too few images in the training part, {short}"
        )


def too_few(sizes: Sequence[int], count: int, classes: Sequence[str]) -> str:
    """Returns which classes have fewer images than are needed, in words; empty if none has."""
    short = [f"{classes[c] if classes else c} ({size:,} of {count:,})" for c, size in enumerate(sizes) if size < count]
    return f"of {len(short)} class{'' if len(short) == 1 else 'es'}: {some(short)}" if short else ""
