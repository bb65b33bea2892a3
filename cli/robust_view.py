"""What `coretune robust eval` found, on the screen. Pure functions, no input or output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from coretune_cli.columns import Column, fitted
from coretune_cli.formats import duration
from coretune_cli.robust_transfer import Transfer, verdict_of

if TYPE_CHECKING:
    from coretune.results.record import Evaluation

Row = Mapping[str, Any]

NAMES = 13
"""Characters of what a line is about, with its margin."""


@dataclass(frozen=True)
class Found:
    """One evaluation, and how it came about.

    Attributes:
        label: What was asked for.
        evaluation: The evaluation.
        recorded: Whether it was there already.
        transfer: Of an attack, what became of transfer; None where nobody asked for it.
    """

    label: str
    evaluation: Evaluation
    recorded: bool
    transfer: Transfer | None = None


def view(found: Sequence[Found], width: int) -> RenderableType:
    """Draws evaluations, one below the other."""
    parts: list[RenderableType] = []
    for item in found:
        parts += [Text("")] if parts else []
        parts += [title(item), *_BODIES.get(item.label, _numbers)(item, width)]
    return Group(*parts)


def title(found: Found) -> Text:
    """Returns what was evaluated, on how many images, and how long it took."""
    evaluation = found.evaluation
    spec, images = evaluation.spec, evaluation.details.get("images")
    took = evaluation.timings.get("total_s")
    said = f"on {spec.get('split', 'test')}, {images:,} images" if isinstance(images, int) else ""
    said += f", seed {spec.get('seed', 0)}" if spec.get("limit") is not None else ""
    how = "recorded" if found.recorded else "done"
    return Text.assemble((found.label, "bold"), f"  {said}  ", (f"{how}, took {duration(took)}", "dim"))


def _attack(found: Found, width: int) -> Iterator[RenderableType]:
    evaluation = found.evaluation
    details, metrics = evaluation.details, evaluation.metrics
    if (threat := details.get("threat")) is not None:
        yield _line("threat", str(threat))
    curve = list(details.get("curve", ()))
    names = list(dict.fromkeys(each["name"] for point in curve for each in point.get("attacks", ())))
    columns: list[Column[Row]] = [
        Column("ε", lambda point: str(point["eps"]), 0, "right"),
        Column("robust top1 %", lambda point: _percent(point.get("robust_top1"), bold=True), 0, "right"),
    ]
    if len(names) > 1:
        columns += [_after(name, rank) for rank, name in enumerate(names, 1)]
    yield Padding(fitted(columns, curve, width - 2), (0, 0, 0, 2), expand=False)
    yield _line("clean", f"{_number(metrics.get('clean_top1'))} %")
    yield _line("robust", f"{_number(metrics.get('robust_top1'))} % at ε = {headline(evaluation)}")
    yield from _median(details.get("median_perturbation"))
    yield from _verdict(verdict_of(evaluation, found.transfer))
    yield from (_line("note", str(note), style="dim") for note in details.get("notes", ()))


def headline(evaluation: Evaluation) -> str:
    """Returns the size of perturbations that an attack's `robust_top1` is for."""
    from coretune.spec.catalog.attack_choice import AttackParameters

    return AttackParameters.model_validate(evaluation.spec["evaluation"].get("params", {})).headline_eps


def _after(name: str, rank: int) -> Column[Row]:
    """Returns the column of what an attack and those before it left."""

    def left(point: Row) -> Text:
        found = next((each for each in point.get("attacks", ()) if each["name"] == name), None)
        return Text("") if found is None else _percent(found["robust_top1"])

    return Column(f"after {name}", left, rank, "right")


def _median(found: Row | None) -> Iterator[RenderableType]:
    if not found:
        return
    value, unbroken = found.get("value"), found.get("unbroken")
    said = "not broken on half of the images" if value is None else f"{value:.4g} (255 × it: {255 * value:.3g})"
    yield _line("median", f"smallest perturbation {said}, {found.get('images')} images, {unbroken} unbroken")


def _verdict(verdict: Row) -> Iterator[RenderableType]:
    reliable = bool(verdict["reliable"])
    yield _line("transfer", str(verdict["transfer"]), style="dim")
    probed = verdict["probed"]
    basis = "" if probed is None else f", by probes of {probed} {'image' if probed == 1 else 'images'}"
    said = Text.assemble(("yes", "bold green") if reliable else ("no", "bold red"), basis)
    yield _line("reliable", said)
    for reason in verdict["reasons"]:
        yield _line("", f"– {reason}", style="red")


def _corruptions(found: Found, width: int) -> Iterator[RenderableType]:
    details, metrics = found.evaluation.details, found.evaluation.metrics
    severities = details.get("severities", [])
    rows = [{"name": name, "values": values} for name, values in details.get("error", {}).items()]
    means = details.get("mean_error", {})
    columns: list[Column[Row]] = [
        Column("error % of", lambda row: str(row["name"]).replace("_", " ")),
        *(_at(severity, place) for place, severity in enumerate(severities)),
        Column("mean", lambda row: _percent(means[row["name"]], bold=True), 0, "right"),
    ]
    yield Padding(fitted(columns, rows, width - 2), (0, 0, 0, 2), expand=False)
    yield _line(
        "corrupted", f"error {_number(metrics.get('corruption_error'))} %, mean over corruptions and severities"
    )
    yield _line("clean", f"error {_number(metrics.get('clean_error'))} %")
    yield _line("severity", f"{details.get('table')}; these images have {details.get('side')}", style="dim")
    if "frost" in details:
        yield _line("frost", str(details["frost"]), style="dim")


def _at(severity: int, place: int) -> Column[Row]:
    """Returns the column of a severity."""
    return Column(f"at {severity}", lambda row: _percent(row["values"][place]), 9 - place, "right")


def _calibration(found: Found, width: int) -> Iterator[RenderableType]:
    details, metrics = found.evaluation.details, found.evaluation.metrics
    scaled = "temperature" in metrics
    rows = [("raw", "")] + ([(f"temperature {metrics['temperature']:.3g}", "_scaled")] if scaled else [])

    def value(metric: str, digits: int) -> Any:
        return lambda row: f"{metrics[metric + row[1]]:.{digits}f}"

    columns: list[Column[tuple[str, str]]] = [
        Column("", lambda row: row[0]),
        Column("ECE %", value("ece", 2), 0, "right"),
        Column("Brier", value("brier", 4), 0, "right"),
        Column("NLL", value("nll", 4), 0, "right"),
    ]
    yield Padding(fitted(columns, rows, width - 2), (0, 0, 0, 2), expand=False)
    yield _line(
        "top1", f"{_number(metrics.get('top1'))} %, at a mean confidence of {_number(metrics.get('confidence'))} %"
    )
    kind = str(details.get("binning", "")).replace("_", " ")
    yield _line("bins", f"{details.get('bins')} of {kind}", style="dim")
    fitted_on = details.get("temperature")
    if fitted_on is not None:
        end = "; it is at the end of its range: there is no best one" if fitted_on["at_its_end"] else ""
        yield _line(
            "", f"temperature fitted on {fitted_on['images']:,} images of the validation part{end}", style="dim"
        )
    elif "not_scaled" in details:
        yield _line("", str(details["not_scaled"]), style="dim")


def _numbers(found: Found, width: int) -> Iterator[RenderableType]:
    yield from (_line(name, f"{value:.6g}") for name, value in found.evaluation.metrics.items())


def _line(name: str, text: str | Text, style: str = "") -> Table:
    """Draws a name and a text; where the text is too long it goes on below itself."""
    line = Table.grid(padding=0)
    line.add_column(width=NAMES, no_wrap=True, style="dim")
    line.add_column(overflow="fold")
    line.add_row(f"  {name}", text if isinstance(text, Text) else Text(text, style=style))
    return line


def _percent(value: float | None, *, bold: bool = False) -> Text:
    return Text(_number(value), style="bold" if bold else "")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


_BODIES = {"attack": _attack, "corruptions": _corruptions, "calibration": _calibration}
