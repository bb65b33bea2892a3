"""Writes the tables of a results directory: the leaderboard, the runs, contrasts, domains and evaluations."""

from __future__ import annotations

from coretune.report import contrasts, domains
from coretune.report.export import contrasts_to_csv, evaluations_to_csv, table_to_csv, to_csv
from coretune.report.leaderboard import Leaderboard, build_from
from coretune.report.reader import Reader
from coretune.report.runs_table import FIRST, LAST, runs_table_from
from coretune.report.typeset_domains import domains_to_csv
from coretune.results.files import put_atomic
from coretune.results.store import ResultsStore

TABLES = ("leaderboard.csv", "contrasts.csv", "domains.csv", "evaluations.csv", "runs.csv")
"""Names of all tables; some directories have no use for some of them."""


class Writer:
    """Rewrites the tables as records arrive; what is settled is read once, so that a rewrite costs little."""

    def __init__(self, store: ResultsStore) -> None:
        self._reader = Reader(store)
        self._written: dict[str, bytes] = {}

    def write(self) -> Leaderboard:
        """Rewrites the tables that changed, each whole or not at all, and returns the leaderboard.

        `contrasts.csv` is of a study that plans contrasts, `domains.csv` of one that holds domains out, and
        `evaluations.csv` of one with further evaluations.

        Raises:
            StorageError: The disk is full or the folder is read-only.
        """
        cells = self._reader.cells()
        leaderboard = build_from(self._reader, cells)
        runs = runs_table_from(self._reader, cells)
        self._put("leaderboard.csv", to_csv(leaderboard))
        if (planned := contrasts.build_from(self._reader, cells)) is not None:
            self._put("contrasts.csv", contrasts_to_csv(planned))
        if (by_domain := domains.build_from(self._reader, cells)) is not None:
            self._put("domains.csv", domains_to_csv(by_domain))
        if leaderboard.evaluations:
            self._put("evaluations.csv", evaluations_to_csv(leaderboard))
        self._put("runs.csv", table_to_csv(tuple(runs[0]) if runs else (*FIRST, *LAST), runs))
        return leaderboard

    def _put(self, name: str, text: str) -> None:
        content = text.encode()
        path = self._reader.store.root / name
        if self._written.get(name) != content or not path.exists():
            put_atomic(path, content)
            self._written[name] = content


def write(store: ResultsStore) -> Leaderboard:
    """Rewrites `leaderboard.csv`, `runs.csv` and, where there are any, the other tables.

    Each is written whole or not at all. Returns the leaderboard.

    A process that does this often keeps a `Writer`.

    Raises:
        StorageError: The disk is full or the folder is read-only.
    """
    return Writer(store).write()
