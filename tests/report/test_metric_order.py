from __future__ import annotations

from coretune.report.metric_order import merged


def test_what_only_a_later_list_has_stands_behind_what_precedes_it_there() -> None:
    assert merged([["6", "8", "10"], ["6", "7", "8", "9", "10", "11"]]) == ["6", "7", "8", "9", "10", "11"]
    assert merged([["1"], ["0", "1"]]) == ["0", "1"]
    assert merged([]) == []
