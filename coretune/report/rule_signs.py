"""How the configurations and weights of a table's rows were chosen: once for all, or with a sign beside each figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from coretune.report.domain_signs import signs_for
from coretune.report.evaluated import EvaluatedRow
from coretune.report.leaderboard import Row


@dataclass(frozen=True)
class Selection:
    """The selection rules of a table.

    Attributes:
        rows: All rows of the table; those of means have the rules of the cells that they are over.
    """

    rows: Sequence[Row | EvaluatedRow]

    @cached_property
    def rules(self) -> list[str]:
        """The rules of cells that have a figure, each once; while none has one, of all cells."""
        cells = [row for row in self.rows if row.kind == "cell"]
        scored = [row for row in cells if row.mean is not None]
        return list(dict.fromkeys(row.selection_rule for row in scored or cells))

    @cached_property
    def _signs(self) -> dict[str, str]:
        return signs_for(self.rules) if len(self.rules) > 1 else {}

    def sign(self, row: Row | EvaluatedRow) -> str:
        """Returns what stands beside a row's figure: a comma between two signs, nothing where all have one rule."""
        if row.mean is None or not self._signs:
            return ""
        return ",".join(self._signs[rule] for rule in self._rules_of(row))

    def _rules_of(self, row: Row | EvaluatedRow) -> list[str]:
        if row.kind == "cell":
            return [row.selection_rule]
        rules = {
            one.selection_rule
            for one in self.rows
            if one.kind == "cell"
            and one.mean is not None
            and (one.backbone, one.method) == (row.backbone, row.method)
            and one.dataset in row.datasets
        }
        return [rule for rule in self.rules if rule in rules]

    def __str__(self) -> str:
        """Returns the rule, or each behind its sign, without a full stop at the end; empty for no rows."""
        if not self._signs:
            return "".join(self.rules)
        return ". ".join(f"{sign} {rule}" for rule, sign in self._signs.items())
