"""`coretune robust`: trained models under attacks and common corruptions, and their calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from coretune.errors import MissingError, RequestError
from coretune.runs.interrupt import EXIT_CODE as INTERRUPTED
from coretune_cli.arguments import AddressOption, DeviceOption, JsonOption, ResultsArgument
from coretune_cli.on_cluster import elsewhere
from coretune_cli.output import note
from coretune_cli.robust_options import (
    DEFAULT_ATTACK,
    OPTIONS,
    ArchOption,
    AttackOption,
    CalibrationOption,
    CheckpointOption,
    CorruptionsOption,
    CsvOption,
    DataOption,
    EpsOption,
    FigureOption,
    LimitOption,
    MeanOption,
    MedianOption,
    NormOption,
    PathOption,
    RestartsOption,
    RunOption,
    SaveOption,
    SeedOption,
    SizeOption,
    StdOption,
    StepsOption,
    SuccessOption,
    TransferArchOption,
    TransferOption,
    WhichOption,
    asked,
    attack_parameters,
    numbers,
)
from coretune_cli.tune import harden

if TYPE_CHECKING:
    from coretune_cli.robust_subject import Subject

app = typer.Typer(
    name="robust",
    help="Trained models under attacks and common corruptions, and their calibration.",
    no_args_is_help=True,
)


@app.command("eval")
def evaluate(
    command: typer.Context,
    results: ResultsArgument = None,
    run: RunOption = None,
    attack: AttackOption = None,
    eps: EpsOption = None,
    norm: NormOption = None,
    steps: StepsOption = None,
    restarts: RestartsOption = None,
    success: SuccessOption = None,
    median: MedianOption = None,
    transfer_from: TransferOption = None,
    transfer_arch: TransferArchOption = None,
    corruptions: CorruptionsOption = False,
    calibration: CalibrationOption = False,
    weights: WhichOption = None,
    limit: LimitOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    address: AddressOption = None,
    path: PathOption = None,
    checkpoint: CheckpointOption = None,
    arch: ArchOption = None,
    data: DataOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    image_size: SizeOption = None,
    csv: CsvOption = None,
    save_adversarial: SaveOption = None,
    figure: FigureOption = None,
    as_json: JsonOption = False,
) -> int:
    """Attack a trained model, corrupt its images, measure its calibration.

    Without a run it is the best final run of the newest results.

    What is found is written beside the run's record, and not computed again.
    """
    outputs = [csv, figure, save_adversarial, None if results is None else Path(results)]
    if (code := elsewhere(command, address, device=device, outputs=outputs)) is not None:
        return code
    said = attack_parameters(attack, eps, norm, steps, restarts, success, median)
    if not (said or corruptions or calibration):
        note(f"--attack {DEFAULT_ATTACK}, since nothing is asked for; quote --attack autoattack", style="dim")
        said = {"attacks": DEFAULT_ATTACK}
    if said and "attacks" not in said:
        first = next(iter(said))
        raise RequestError(f"--{OPTIONS.get(first, first)} is of an attack: say which, --attack pgd")
    for option, value in {
        "--save-adversarial": save_adversarial,
        "--transfer-from": transfer_from,
        "--transfer-arch": transfer_arch,
    }.items():
        if value is not None and not said:
            raise RequestError(f"{option} needs an attack: --attack pgd")
    if save_adversarial is not None and save_adversarial.suffix != ".safetensors":
        raise RequestError(f"--save-adversarial {save_adversarial}: images are written as safetensors: end its name so")
    if figure is not None:
        from coretune.report.figure_file import check_format

        check_format(figure)
    own = {"--arch": arch, "--data": data, "--mean": mean, "--std": std, "--image-size": image_size}
    _check_place(checkpoint, {name: value for name, value in own.items() if value is not None}, results, run)
    wanted: dict[str, Any] = {"attack": said or None, "corruptions": corruptions, "calibration": calibration}
    from coretune.spec.catalog import load_catalog

    asked(load_catalog(), **wanted, weights="last", limit=limit, seed=seed)  # what is wrong is said before torch loads
    from coretune.runs.alone import context_on
    from coretune.runs.process import set_up
    from coretune_cli.reading import data_notes
    from coretune_cli.robust_eval import evaluated, foreign_model, report, transferred, write
    from coretune_cli.robust_subject import RecordedRun, choose_run

    set_up()
    context = context_on(device)
    with data_notes():
        if checkpoint is not None:
            subject: Subject = foreign_model(checkpoint, str(arch), str(data), path, mean, std, image_size, context)
        else:
            place = None if path is None else str(path)
            choice = choose_run(results, run, None if weights is None else weights.value)
            subject = RecordedRun(choice, context, place)
        specs = asked(subject.catalog, **wanted, weights=subject.weights, limit=limit, seed=seed)
        try:
            found = [evaluated(subject, name, spec, save_adversarial) for name, spec in specs.items()]
            if said:
                found[0] = replace(
                    found[0], transfer=transferred(subject, specs["attack"], transfer_from, transfer_arch)
                )
        except KeyboardInterrupt:
            kept = " from the images that are done" if checkpoint is None else ""
            note(f"interrupted: the same command goes on{kept}", style="bold")
            return INTERRUPTED
        subject.finish()
    report(subject, found, as_json=as_json)
    write(subject, found, csv, figure, save_adversarial)
    return 0


app.command("train")(harden)


def _check_place(checkpoint: Path | None, own: Mapping[str, Any], results: str | None, run: str | None) -> None:
    """Refuses options that do not go together."""
    if checkpoint is None and own:
        raise RequestError(f"{next(iter(own))} is of a model that coretune did not train: give --checkpoint FILE")
    if checkpoint is None:
        return
    if run is not None or results is not None:
        raise RequestError("--checkpoint is no run: leave out the results directory and --run")
    missing = [name for name in ("--arch", "--data") if name not in own]
    if missing:
        raise RequestError(f"--checkpoint needs {' and '.join(missing)}: its architecture, and the data it is for")
    for name in ("--mean", "--std"):
        numbers(name, own.get(name))
    if not checkpoint.exists():
        raise MissingError(f"{checkpoint}: cannot be read: there is no such file")
