"""The searches of a study on disk: what is proposed is there before it is started, the rest a little later."""

from __future__ import annotations

from collections.abc import Iterable

from coretune.results.store import ResultsStore
from coretune.study.cell import StudyCell


class CellFiles:
    """Knows which cells' files are behind, and writes them.

    A resume needs to know what was proposed: a run whose trial it does not know would be lost to the search. So a
    proposal is noted at once, in one line. What came of a run a resume takes from its record.

    Args:
        store: Where they lie.
    """

    def __init__(self, store: ResultsStore) -> None:
        self._store = store
        self._behind: dict[str, StudyCell] = {}
        self._noted = True  # by a driver that was killed, perhaps

    @property
    def behind(self) -> Iterable[StudyCell]:
        """The cells whose files are behind."""
        return tuple(self._behind.values())

    def changed(self, cell: StudyCell) -> None:
        """Notes that a cell's file is behind."""
        self._behind[cell.key] = cell

    def proposed(self, cell: StudyCell, number: int) -> None:
        """Writes down a trial that is about to be started.

        Raises:
            StorageError: It cannot be written.
        """
        self._store.add_proposal(cell.key, cell.entry(number))
        self._noted = True
        self.changed(cell)

    def write(self, cell: StudyCell) -> None:
        """Writes a cell's file.

        Raises:
            StorageError: It cannot be written.
        """
        self._store.put_cell(cell.file())
        self._behind.pop(cell.key, None)

    def write_all(self) -> None:
        """Writes the files that are behind, so that no proposal stands beside them.

        Raises:
            StorageError: One cannot be written.
        """
        for cell in self.behind:
            self.write(cell)
        if self._noted:
            self._store.drop_proposals()
            self._noted = False
