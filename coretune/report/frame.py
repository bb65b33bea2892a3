"""The leaderboard for notebooks: `ct.leaderboard("results/quickstart")`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coretune.errors import RequestError
from coretune.report.export import to_dataframe
from coretune.report.leaderboard import build
from coretune.results.remote import remote_url
from coretune.results.store import reading

if TYPE_CHECKING:
    import pandas


def leaderboard(results: Path | str) -> pandas.DataFrame:
    """Computes the leaderboard of a results directory, or of one in an object store: cells' rows, then mean rows.

    Columns are the attributes of `coretune.report.leaderboard.Row`; what cannot be computed is NaN.

    Raises:
        RequestError: There is no such directory.
    """
    folder = Path(results)
    if remote_url(results) is None and not folder.is_dir():
        raise RequestError(f"{folder} is no directory; give the results directory of a study, e.g. results/quickstart")
    return to_dataframe(build(reading(folder)))
