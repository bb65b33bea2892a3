from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coretune.spec.cells import final_seed, search_seed
from coretune.spec.seeds import derive_seed

PARTS = st.lists(st.integers() | st.text(alphabet="abc01", max_size=4), max_size=4)


def test_seeds_are_pinned() -> None:
    """If this fails, every run of every study has another seed: nothing recorded would be found again."""
    assert derive_seed(0, "final", 0) == final_seed(0, 0) == 8879357382884846511
    assert search_seed(0, "digits--small", 1) == 6017845302219058333


@given(PARTS, PARTS)
def test_every_part_counts(one: list[int | str], other: list[int | str]) -> None:
    assert 0 <= derive_seed(*one) < 2**63
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)


def test_types_and_order_count() -> None:
    assert len({derive_seed(1, 2), derive_seed(2, 1), derive_seed("1", 2), derive_seed(12), derive_seed("12")}) == 5


def test_search_and_final_seeds_are_disjoint() -> None:
    search = {search_seed(0, key, repeat) for key in ("a--c", "a--d") for repeat in range(20)}
    finals = {final_seed(0, index) for index in range(40)}
    assert len(search) == 40
    assert len(finals) == 40
    assert not search & finals
