"""Evaluations of robustness as rows of a file and as a picture: attacks, common corruptions, calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from coretune.errors import RequestError
from coretune.report.export import table_to_csv
from coretune.report.figure_file import write_drawn
from coretune.results.record import Evaluation

COLUMNS = (
    *("run_id", "eval_id", "evaluation", "images", "seed", "metric"),
    *("eps", "attack", "corruption", "severity", "bin", "value"),
)


def name_of(evaluation: Evaluation) -> str:
    """Returns the name of what an evaluation is: `attack`, `corruptions`."""
    return str(evaluation.spec.get("evaluation", {}).get("name", ""))


def to_csv(evaluations: Sequence[Evaluation]) -> str:
    """Returns every number of evaluations as CSV, one a row; what does not belong to it is an empty cell.

    Columns: run_id, eval_id, evaluation, images, seed, metric, value; of an attack's curve eps and attack (empty: the
    worst case over all of them), of corruptions corruption and severity, of a reliability diagram bin, from 1.
    """
    rows = (_head(each) | dict.fromkeys(COLUMNS[6:]) | row for each in evaluations for row in _rows(each))
    return table_to_csv(COLUMNS, rows)


def _head(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "run_id": evaluation.run_id,
        "eval_id": evaluation.eval_id,
        "evaluation": name_of(evaluation),
        "images": evaluation.details.get("images"),
        "seed": evaluation.spec.get("seed", 0),
    }


def _rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    for metric, value in evaluation.metrics.items():
        yield {"metric": metric, "value": value}
    details = evaluation.details
    for point in details.get("curve", ()):
        yield {"metric": "robust_top1", "eps": point["eps"], "value": point["robust_top1"]}
        for attack in point.get("attacks", ()):
            found = {"eps": point["eps"], "attack": attack["name"], "value": attack["robust_top1"]}
            yield {"metric": "robust_top1", **found}
    for corruption, values in details.get("error", {}).items():
        for severity, value in zip(details["severities"], values, strict=True):
            yield {"metric": "error", "corruption": corruption, "severity": severity, "value": value}
    for key, end in (("reliability", ""), ("reliability_scaled", "_scaled")):
        for number, part in enumerate(details.get(key, ()), 1):
            for metric in ("images", "confidence", "accuracy"):
                yield {"metric": f"bin_{metric}{end}", "bin": number, "value": part[metric]}


def write_figure(path: Path, evaluations: Sequence[Evaluation], title: str = "") -> None:
    """Writes the picture of `draw`, as PNG of 150 dots per inch, PDF or SVG by the file's ending, whole or not at all.

    Raises:
        RequestError: The ending is another one, or there is nothing to draw.
        StorageError: The disk is full or the folder is read-only.
    """
    write_drawn(lambda: draw(evaluations, title), path)


def draw(evaluations: Sequence[Evaluation], title: str = "") -> Figure:
    """Draws one panel for each evaluation that has a picture.

    Of an attack accuracy over ε, of corruptions the mean error of each, of calibration the reliability diagram.

    Raises:
        RequestError: None of them has one.
    """
    panels = [(_PANELS[name_of(each)], each) for each in evaluations if name_of(each) in _PANELS]
    if not panels:
        raise RequestError("there is nothing to draw: only attack, corruptions and calibration have a picture")
    figure = Figure(figsize=(5 * len(panels), 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for place, (panel, evaluation) in zip(axes, panels, strict=True):
        panel(place, evaluation)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _curve(axes: Axes, evaluation: Evaluation) -> None:
    curve = evaluation.details.get("curve", ())
    names = [str(point["eps"]) for point in curve]
    places = range(len(names))
    axes.plot(places, [point["robust_top1"] for point in curve], marker="o", color="tab:blue", clip_on=False)
    axes.set_xticks(list(places), names)
    axes.set_ylim(0, 100)
    axes.set_xlabel("ε (steps of the grid, not to scale)")
    axes.set_ylabel("accuracy (%)")
    verdict = evaluation.details.get("verdict", {})
    reliable = {True: "reliable: yes", False: "reliable: no"}.get(verdict.get("reliable"), "")
    attacks = ", ".join(each["name"] for each in evaluation.details.get("attacks", ()))
    axes.set_title("; ".join(filter(None, (attacks, reliable))), fontsize=9)


def _corruptions(axes: Axes, evaluation: Evaluation) -> None:
    means: Mapping[str, float] = evaluation.details.get("mean_error", {})
    places = range(len(means))
    axes.barh(list(places), list(means.values()), color="tab:blue")
    axes.set_yticks(list(places), [name.replace("_", " ") for name in means], fontsize=7)
    axes.invert_yaxis()
    if (clean := evaluation.metrics.get("clean_error")) is not None:
        axes.axvline(clean, color="black", linewidth=1, linestyle=":")
    axes.set_xlim(0, 100)
    axes.set_xlabel("error (%), dotted: clean")
    axes.set_title(
        f"common corruptions, mean {evaluation.metrics.get('corruption_error', float('nan')):.1f} %", fontsize=9
    )


def _reliability(axes: Axes, evaluation: Evaluation) -> None:
    for key, label, colour in (
        ("reliability", "ece", "tab:blue"),
        ("reliability_scaled", "ece_scaled", "tab:orange"),
    ):
        parts = [part for part in evaluation.details.get(key, ()) if part["images"]]
        if not parts:
            continue
        said = f"{'temperature' if label != 'ece' else 'raw'}, ECE {evaluation.metrics[label]:.1f} %"
        sizes = [8 + 60 * part["images"] / sum(each["images"] for each in parts) for part in parts]
        confidence, accuracy = ([part[name] for part in parts] for name in ("confidence", "accuracy"))
        axes.plot(confidence, accuracy, color=colour, linewidth=1, label=said)
        axes.scatter(confidence, accuracy, s=sizes, color=colour)
    axes.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle=":")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.legend(loc="lower right", fontsize=8)
    axes.set_title(f"reliability, {evaluation.details.get('bins')} bins", fontsize=9)


_PANELS: Mapping[str, Callable[[Axes, Evaluation], None]] = {
    "attack": _curve,
    "corruptions": _corruptions,
    "calibration": _reliability,
}
