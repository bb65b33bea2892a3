"""Evaluations of robustness as rows of a file and as a picture."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from support.robustness import attack, calibration, corruptions, evaluation

from coretune.errors import RequestError
from coretune.report.robustness import COLUMNS, draw, to_csv, write_figure


def rows(*evaluations: object) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(list(evaluations)))))  # type: ignore[arg-type]


def test_every_number_has_a_row() -> None:
    found = rows(attack(), corruptions(), calibration())
    assert tuple(found[0]) == COLUMNS and {row["images"] for row in found} == {"200"}
    curve = {
        (row["eps"], row["attack"]): row["value"] for row in found if row["metric"] == "robust_top1" and row["eps"]
    }
    assert curve[("0", "")] == "92.0" and curve[("1/255", "")] == "17.25" and curve[("2/255", "pgd")] == "0.75"
    assert len(curve) == 7
    errors = {(row["corruption"], row["severity"]): row["value"] for row in found if row["metric"] == "error"}
    assert errors == {
        ("gaussian_noise", "1"): "10.0",
        ("gaussian_noise", "5"): "30.0",
        ("frost", "1"): "20.0",
        ("frost", "5"): "40.5",
    }
    bins = [row for row in found if row["metric"] == "bin_accuracy_scaled"]
    assert [row["bin"] for row in bins] == ["1", "2", "3", "4"] and bins[0]["value"] == "" and bins[1]["value"] == "0.6"
    assert [row["value"] for row in found if row["metric"] == "temperature"] == ["1.5"]


def test_an_evaluation_with_nothing_but_numbers_has_only_these() -> None:
    (row,) = rows(evaluation("knn", {"knn_top1": 50.0}, {}))
    assert (row["evaluation"], row["metric"], row["value"]) == ("knn", "knn_top1", "50.0")


def test_each_picture_has_its_panel() -> None:
    figure = draw([attack(reliable=True), corruptions(), calibration(), evaluation("knn", {}, {})], "run a")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["pgd, square; reliable: yes", "common corruptions, mean 25.1 %", "reliability, 4 bins"]
    assert list(figure.axes[0].lines[0].get_ydata()) == [92.0, 17.25, 0.5]
    assert len(figure.axes[1].patches) == 2
    said = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]  # type: ignore[union-attr]
    assert said == ["raw, ECE 6.0 %", "temperature, ECE 3.0 %"]
    alone = draw([calibration(scaled=False)]).axes[0].get_legend()
    assert alone is not None and len(alone.get_texts()) == 1


@pytest.mark.parametrize(("name", "begin"), [("x.png", b"\x89PNG"), ("x.pdf", b"%PDF"), ("y.SVG", b"<?xml")])
def test_the_ending_is_the_format(tmp_path: Path, name: str, begin: bytes) -> None:
    write_figure(tmp_path / name, [corruptions()])
    assert (tmp_path / name).read_bytes().startswith(begin)


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="written as png, pdf, svg"):
        write_figure(tmp_path / "x.jpg", [corruptions()])
    with pytest.raises(RequestError, match="nothing to draw"):
        write_figure(tmp_path / "x.png", [evaluation("knn", {}, {})])
