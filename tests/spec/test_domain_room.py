"""How many domains a contrast batch has two samples of: as dealing them out in turn has it, and at the most."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from coretune.spec.catalog.methods.domains import CoralParameters, GroupDroParameters, IrmParameters
from coretune.spec.domain_room import domains_with_two, no_room
from coretune.spec.run import TrainSpec


@given(contrast=st.integers(1, 40), domains=st.integers(1, 8))
def test_in_turn_it_is_what_dealing_out_gives(contrast: int, domains: int) -> None:
    dealt = Counter(number % domains for number in range(contrast))
    found = domains_with_two(contrast, domains, balanced=True)
    assert found == sum(count >= 2 for count in dealt.values())
    assert found <= domains_with_two(contrast, domains, balanced=False) == min(domains, contrast // 2)


@given(contrast=st.integers(1, 40), domains=st.integers(2, 8), balanced=st.booleans())
def test_the_number_that_is_said_would_do_and_no_smaller_one(contrast: int, domains: int, balanced: bool) -> None:
    train = TrainSpec(batch=contrast, contrast_batch=contrast, domain_balanced=balanced)
    said = no_room("coral", CoralParameters(), train, domains)
    if said is None:
        assert domains_with_two(contrast, domains, balanced=balanced) >= 2
        return
    least = int(said.split(": ")[-1].removesuffix(" at least"))
    assert least > contrast
    assert [domains_with_two(n, domains, balanced=balanced) >= 2 for n in (least - 1, least)] == [False, True]


def test_methods_that_compare_nothing_within_a_batch_have_room_in_any() -> None:
    train = TrainSpec(batch=1, contrast_batch=1, domain_balanced=True)
    assert no_room("group_dro", GroupDroParameters(), train, 3) is None
    assert no_room("irm", IrmParameters(), train, 1) == (
        "irm needs two images of 1 domain in a contrast batch, and a contrast batch of 1 from 1 domain in turn has "
        "them of none; train.contrast_batch (and train.batch): 2 at least"
    )
