"""Optuna's TPE for a cell: one sampler for all of its proposals, over a space that is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial


class CellTPESampler(TPESampler):
    """Proposes what a new `TPESampler` with the same seed would, in less time.

    Optuna's own compares the distributions of all trials to find the space; those of a cell have all the same one.

    Args:
        distributions: The cell's space.
        options: Those of `TPESampler`.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution], **options: Any) -> None:
        super().__init__(**options)
        self._relative = {path: item for path, item in sorted(distributions.items()) if not item.single()}

    def reseed(self, seed: int) -> None:
        """Sets the random numbers back to those of a new sampler: one is made in a quarter of a millisecond."""
        self._rng.rng.seed(seed)
        self._random_sampler._rng.rng.seed(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns the cell's space; nothing for two objectives, whose parameters Optuna proposes one by one."""
        return dict(self._relative) if self._is_multivariate(study) else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns the proposal. Optuna's own notes it for other processes that ask meanwhile; here there are none."""
        return self._sample_relative(study, trial, search_space)
