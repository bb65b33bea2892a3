"""Notes what a study will compare before it runs: what is written down after a look at the scores is no plan."""

from __future__ import annotations

import coretune
from coretune.results.manifest import own_revision
from coretune.results.planned import Plan, Planned, changes, plan_of
from coretune.results.store import ResultsStore
from coretune.results.times import now_iso
from coretune.spec.study import Study


def note_plan(store: ResultsStore, study: Study) -> None:
    """Writes `planned.json` of a study with contrasts; where the plan has changed since, appends the new one.

    Raises:
        StorageError: It cannot be read or written, or a newer coretune wrote it.
    """
    if study.contrasts is None:
        return
    plan, planned = plan_of(study), store.planned()
    earlier = planned.entries if planned is not None else ()
    if earlier and not changes(earlier[-1].plan, plan):
        return
    entry = Plan(
        date=now_iso(),
        version=coretune.__version__,
        revision=own_revision(),
        test_scores=count_test_scores(store),
        plan=plan,
    )
    store.put_planned(Planned(entries=(*earlier, entry)))


def count_test_scores(store: ResultsStore) -> int:
    """Returns how many runs of a directory have been evaluated on a test part, those of earlier searches included."""
    return sum(
        any(evaluation.spec.get("split", "test") == "test" for evaluation in store.evaluations(run_id))
        for run_id in store.run_ids()
    )
