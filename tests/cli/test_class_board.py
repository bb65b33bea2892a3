from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import StringIO

from rich.console import Console

from coretune.report.evaluated import EvaluatedRow
from coretune_cli.class_board import class_tables


def row(method: str, metric: str, mean: float | None, backbone: str = "net") -> EvaluatedRow:
    empty = dict.fromkeys(("std", "ci_low", "ci_high", "diff", "diff_ci_low", "diff_ci_high", "p_paired_t"))
    return EvaluatedRow(
        dataset="streets",
        backbone=backbone,
        method=method,
        evaluation="test",
        metric=metric,
        selection_rule="defaults; last epoch",
        n=5,
        mean=mean,
        stderr=None if mean is None else 0.5,
        p_wilcoxon=None,
        n_pairs=0,
        seeds=(),
        values=(),
        spec="{}",
        datasets=(),
        kind="cell",
        **empty,  # type: ignore[arg-type]
    )


def drawn(rows: Sequence[EvaluatedRow]) -> list[list[str]]:
    file = StringIO()
    for part in class_tables("test", rows, 80):
        Console(file=file, width=80).print(part)
    return [line.split() for line in file.getvalue().splitlines()]


def test_classes_are_rows_and_methods_columns() -> None:
    lines = drawn(
        [row("ce", "pixel_accuracy", 80.0), row("ce", "iou_traffic_light", 12.345), row("core", "pixel_accuracy", 81.0)]
    )
    assert ["%", "ce", "core"] in lines
    assert ["pixel", "accuracy", "80.00", "±", "0.50", "81.00", "±", "0.50"] in lines
    assert ["IoU", "traffic_light", "12.35", "±", "0.50", "–"] in lines  # no pixel of it for the other method


def test_each_backbone_has_a_table() -> None:
    lines = drawn([row("ce", "iou_sky", 80.0, "a"), row("ce", "iou_sky", 70.0, "b")])
    assert ["test:", "streets,", "a"] in lines and ["test:", "streets,", "b"] in lines


def test_classes_keep_their_order_where_one_method_lacks_one() -> None:
    rows = [row("ce", f"iou_{c}", 50.0) for c in (6, 8, 10)] + [row("core", f"iou_{c}", 50.0) for c in (6, 7, 8, 10)]
    assert [line[1] for line in drawn(rows) if line[:1] == ["IoU"]] == ["6", "7", "8", "10"]


def test_a_mean_over_fewer_seeds_says_over_how_many() -> None:
    rare = replace(row("ce", "iou_7", 12.0), n=1, stderr=None)
    lines = drawn([row("ce", "pixel_accuracy", 80.0), rare])
    assert ["IoU", "7", "12.00", "(1", "of", "5)"] in lines
    assert ["pixel", "accuracy", "80.00", "±", "0.50"] in lines


def test_methods_of_several_rules_have_signs() -> None:
    lines = drawn([row("ce", "iou_sky", 80.0), replace(row("core", "iou_sky", 81.0), selection_rule="oracle")])
    assert ["%", "ce†", "core‡"] in lines
