from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coretune.results.cellfile import TrialEntry, TrialState
from coretune.results.selection import best_trial, better


def trial(number: int, value: float | None, state: TrialState = "completed") -> TrialEntry:
    return TrialEntry(number=number, params={}, runs=(), value=value, state=state)


def test_better_is_strict() -> None:
    assert better(2, 1, "max") and not better(1, 1, "max")
    assert better(1, 2, "min") and not better(1, 1, "min")


def test_the_lowest_number_wins_among_equals() -> None:
    trials = [trial(2, 5.0), trial(1, 5.0), trial(0, 4.0)]
    assert best_trial(trials, "max") == trials[1]
    assert best_trial(trials, "min") == trials[2]


def test_the_lower_loss_wins_among_equals_that_have_one_and_then_the_lowest_number() -> None:
    losses = {0: 0.5, 1: 0.3, 2: 0.3, 3: 0.1}
    trials = [trial(number, 4.0 if number == 3 else 5.0).replace(loss=loss) for number, loss in losses.items()]
    assert best_trial(trials, "max") == trials[1]
    assert best_trial([trials[0], trial(4, 5.0)], "max") == trials[0], "one without a loss is not preferred"
    assert best_trial([trial(0, 5.0), trials[1]], "max") == trial(0, 5.0)


def test_pruned_failed_running_and_empty_trials_are_never_chosen() -> None:
    trials = [trial(0, 9.0, "pruned"), trial(1, 9.0, "failed"), trial(2, 9.0, "running"), trial(3, None), trial(4, 1.0)]
    assert best_trial(trials, "max") == trials[4]
    assert best_trial(trials[:4], "max") is None
    assert best_trial([], "max") is None


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8, unique=True), st.randoms())
def test_the_order_of_trials_does_not_matter(values: list[float], random: object) -> None:
    trials = [trial(number, value) for number, value in enumerate(values)]
    best = best_trial(trials, "max")
    random.shuffle(trials)  # type: ignore[attr-defined]
    assert best_trial(trials, "max") == best
    assert best is not None and best.value == max(values)
