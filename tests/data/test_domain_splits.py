from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from coretune.data.domain_splits import split_by_domain, split_source
from coretune.data.source import TEST, UNDECIDED, Domains
from coretune.data.splits import Split
from coretune.errors import RequestError, UnfitError
from coretune.spec.components import Ref
from coretune.spec.run import DataSpec

NAMES = ("art", "photo", "sketch")
Numbers = NDArray[np.int64]


def spec(held_out: str | None = "photo", **changes: Any) -> DataSpec:
    base: dict[str, Any] = {"validation": 0.2, "test": 0, "image_size": 8, "fingerprint": "0" * 64}
    return DataSpec(dataset=Ref(name="pacs", version=1), held_out_domain=held_out, **{**base, **changes})


def images(counts: dict[tuple[int, int], int], seed: int = 0) -> tuple[Numbers, Domains]:
    """So many images of each (domain, class), in random order."""
    pairs = np.array([pair for pair, count in counts.items() for _ in range(count)], dtype=np.int64)
    pairs = np.random.default_rng(seed).permutation(pairs)
    return pairs[:, 1].copy(), Domains(NAMES, pairs[:, 0].copy())


def even(each: int = 20, classes: int = 3) -> tuple[Numbers, Domains]:
    return images({(d, c): each for d in range(3) for c in range(classes)})


class Images:
    """A source of which only labels, parts and domains are asked for."""

    def __init__(self, labels: Numbers, domains: Domains | None, part: int = UNDECIDED) -> None:
        self.labels, self.domains = labels, domains
        self.parts = np.full(len(labels), part, np.int8)
        self.classes = ("cat", "dog", "owl")


def divided(domains: Domains | None = None, part: int = UNDECIDED, held_out: str = "photo") -> Split:
    labels, usual = even()
    return split_source(Images(labels, domains or usual, part), spec(held_out))  # type: ignore[arg-type]


def brute_force_validation_sizes(labels: Numbers, domains: Domains, held_out: int, share: float) -> dict[int, int]:
    found = {}
    for number in range(3):
        if number != held_out:
            size = sum(1 for domain in domains.of if domain == number)
            found[number] = max(1, round(share * size))
    return found


@given(
    st.lists(st.integers(5, 25), min_size=6, max_size=6),
    st.integers(0, 2),
    st.floats(0.05, 0.5),
    st.integers(0, 2**40),
)
def test_the_held_out_domain_is_the_test_part_and_each_other_one_is_divided(
    counts: list[int], held_out: int, share: float, seed: int
) -> None:
    labels, domains = images(dict(zip([(d, c) for d in range(3) for c in range(2)], counts, strict=True)), seed % 99)
    found = split_by_domain(labels, domains, spec(NAMES[held_out], validation=share, split_seed=seed))
    assert found.test.tolist() == np.flatnonzero(domains.of == held_out).tolist()
    everything = np.concatenate([found.train, found.validation, found.test])
    assert sorted(everything.tolist()) == list(range(len(labels)))
    assert found.labelled.tolist() == found.train.tolist()
    expected = brute_force_validation_sizes(labels, domains, held_out, share)
    assert Counter(domains.of[found.validation].tolist()) == expected
    for number, size in expected.items():
        mine = labels[domains.of == number]
        for label in (0, 1):
            exact = size * (mine == label).sum() / len(mine)
            drawn = ((domains.of[found.validation] == number) & (labels[found.validation] == label)).sum()
            assert abs(drawn - exact) < 1, "in proportion to the classes"


def test_a_domain_s_validation_part_does_not_depend_on_which_other_one_is_held_out() -> None:
    labels, domains = even()
    parts = {name: split_by_domain(labels, domains, spec(name)).validation for name in NAMES}
    of_sketch = [part[domains.of[part] == 2].tolist() for name, part in parts.items() if name != "sketch"]
    assert of_sketch[0] == of_sketch[1] and len(of_sketch[0]) == 12
    other = split_by_domain(labels, domains, spec("photo", split_seed=1)).validation
    assert other.tolist() != parts["photo"].tolist()


def test_a_number_for_validation_is_divided_among_the_source_domains() -> None:
    labels, domains = images({(0, 0): 30, (0, 1): 30, (1, 0): 9, (2, 0): 10, (2, 1): 10})
    found = split_by_domain(labels, domains, spec(validation=16))
    assert Counter(domains.of[found.validation].tolist()) == {0: 12, 2: 4}


def test_domainbed_reports_on_the_other_four_fifths_which_no_other_part_gets() -> None:
    labels, domains = images({(0, 0): 9, (0, 1): 9, (1, 0): 13, (1, 1): 11, (2, 0): 9, (2, 1): 9})
    whole = split_by_domain(labels, domains, spec())
    found = split_by_domain(labels, domains, spec(held_out_part="domainbed_80"))
    assert len(whole.test) == 24 and len(found.test) == 24 - int(0.2 * 24)
    assert set(found.test) < set(whole.test)
    for part in ("train", "labelled", "validation"):
        assert getattr(found, part).tolist() == getattr(whole, part).tolist()
    other = split_by_domain(labels, domains, spec(held_out_part="domainbed_80", split_seed=5))
    assert other.test.tolist() != found.test.tolist()


def test_a_limit_and_labels_are_drawn_over_all_source_domains() -> None:
    labels, domains = even(each=40)
    found = split_by_domain(labels, domains, spec(limit=60, labels_per_class=8, held_out_limit=9))
    assert np.bincount(labels[found.train]).tolist() == [20, 20, 20]
    assert set(domains.of[found.train].tolist()) == {0, 2}, "not the first domain alone"
    assert np.bincount(labels[found.labelled]).tolist() == [8, 8, 8] and set(found.labelled) <= set(found.train)
    assert [np.bincount(labels[part]).tolist() for part in (found.validation, found.test)] == [[3, 3, 3]] * 2
    assert set(domains.of[found.test].tolist()) == {1}


def test_what_cannot_be_read_is_in_no_part_and_moves_nothing_else() -> None:
    labels, domains = even()
    whole = split_by_domain(labels, domains, spec())
    gone = [int(whole.test[3]), int(whole.train[7])]
    found = split_by_domain(labels, domains, spec(), left_out=gone)
    assert not set(gone) & {int(i) for part in (found.train, found.validation, found.test) for i in part}
    assert len(set(found.validation) ^ set(whole.validation)) <= 2


def test_a_class_may_be_missing_in_some_domains_but_not_in_all_that_are_trained_on() -> None:
    labels, domains = images({(0, 0): 10, (0, 1): 10, (1, 0): 5, (2, 1): 10})
    assert set(labels[split_by_domain(labels, domains, spec()).test]) == {0}
    labels, domains = images({(0, 0): 10, (1, 0): 5, (1, 1): 5, (2, 0): 10})
    with pytest.raises(UnfitError, match=r"left to train on in the source domains, of 1 class: dog \(0 of 1\)"):
        split_by_domain(labels, domains, spec(), classes=("cat", "dog"))


def test_a_class_whose_only_images_validate_is_said_to_be_there() -> None:
    labels, domains = images({(0, 0): 1, (0, 1): 1, (1, 0): 1, (1, 1): 1, (2, 0): 1, (2, 1): 1})
    with pytest.raises(UnfitError, match=r"\(0 of 1\): the validation part has the others \(data.validation: 0.2\)$"):
        split_by_domain(labels, domains, spec(validation=0.2), classes=("cat", "dog"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"validation": 58}, "leaves none of the 10 images of the source domain art to train on"),
        ({"validation": 1.5}, "data.validation: needs a number of images or a fraction below 1"),
        ({"labels_per_class": 10}, r"labels_per_class: must be at most 9, got 10: .*of 1 class: 0 \(9 of 10\)"),
    ],
)
def test_too_much_is_refused_with_what_would_do(changes: dict[str, Any], message: str) -> None:
    labels, domains = images({(0, 0): 1, (0, 1): 9, (1, 0): 9, (1, 1): 9, (2, 0): 10, (2, 1): 40})
    with pytest.raises(RequestError, match=message):
        split_by_domain(labels, domains, spec(**changes))


def test_domains_that_are_not_so_are_refused_by_name() -> None:
    labels, domains = even()
    with pytest.raises(RequestError, match="held_out_domain: no domain 'photos'; did you mean photo"):
        divided(held_out="photos")
    with pytest.raises(RequestError, match="these images have no domains; folders <domain>/<class>/<image>"):
        split_source(Images(labels, None), spec())  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="a single domain, photo: none is left to train on"):
        divided(Domains(("photo",), np.zeros(len(labels), np.int64)))
    with pytest.raises(UnfitError, match="60 images have no domain: their column `domain` is empty"):
        divided(Domains(("", "photo", "sketch"), domains.of))
    with pytest.raises(UnfitError, match=r"images are in official parts \(test\), which a held-out domain has no use"):
        divided(part=TEST)


def test_the_real_pacs(real_data: Path, catalog: Any) -> None:
    if not (real_data / "pacs").is_dir():
        pytest.skip(f"no PACS in {real_data}")
    from coretune.data.source import open_source

    source = open_source(catalog, catalog.ref("dataset", "pacs"), str(real_data / "pacs"))
    for name, size in catalog.dataset("pacs").counts.items():
        found = split_source(source, spec(name))
        assert len(found.test) == size
        others = [count for other, count in catalog.dataset("pacs").counts.items() if other != name]
        assert len(found.validation) == sum(round(0.2 * count) for count in others)
        assert len(found.train) + len(found.validation) + size == 9_991
