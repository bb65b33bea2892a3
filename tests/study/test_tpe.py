from __future__ import annotations

import random

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from coretune.study.tpe import CellTPESampler

SPACE: dict[str, BaseDistribution] = {
    "train.lr": FloatDistribution(0.003, 0.3, log=True),
    "method.scope": CategoricalDistribution(("own", "all")),
    "method.dim": IntDistribution(2, 9),
    "method.fixed": FloatDistribution(1.0, 1.0),
}


def proposed(reused: bool, *, failures: bool, objectives: int = 1) -> list[dict[str, object]]:
    """Forty proposals, by one sampler that is reseeded or by a new one of Optuna's own each time."""
    study = optuna.create_study(directions=["maximize", "minimize"][:objectives])
    sampler = CellTPESampler(SPACE, n_startup_trials=4)
    found, draws = [], random.Random(0)
    for number in range(40):
        sampler.reseed(number)
        study.sampler = sampler if reused else optuna.samplers.TPESampler(seed=number, n_startup_trials=4)
        trial = study.ask(SPACE)
        found.append(trial.params)
        state = draws.choice([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, None])
        if state is None:
            continue  # still running
        if objectives == 1:
            trial.report(draws.random(), 1)
        state = state if failures else TrialState.COMPLETE
        values = [draws.random() for _ in range(objectives)]
        study.tell(trial, values if state is TrialState.COMPLETE else None, state=state)
    return found


@pytest.mark.parametrize("failures, objectives", [(False, 1), (True, 1), (False, 2)])
def test_it_proposes_what_optunas_own_does(failures: bool, objectives: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ours = proposed(True, failures=failures, objectives=objectives)
    assert ours == proposed(False, failures=failures, objectives=objectives)
    assert len({str(params) for params in ours}) > 30
