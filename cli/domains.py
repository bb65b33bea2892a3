"""`coretune domains run`: the shipped study `domain_generalization`, with the data, methods and seeds that are said."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from coretune.errors import RequestError, UnfitError
from coretune_cli.arguments import AddressOption, JsonOption, OutOption, SetOption, SlotsOption
from coretune_cli.chosen import PathOption
from coretune_cli.plan import plan as plan_study
from coretune_cli.running import RetryOption, TimeOption
from coretune_cli.running import run as run_study
from coretune_cli.shipped import MethodsOption, PlanOption, SeedsOption, as_sets, at, methods_and_seeds

STUDY = "domain_generalization"
OWN = "domain_folders"

app = typer.Typer(name="domains", help="Leave one domain out: train on the others, test on it.", no_args_is_help=True)

DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        metavar="NAME",
        help="pacs, vlcs, office_home; domain_folders or manifest for images of your own, with --path.",
    ),
]
HeldOutOption = Annotated[
    list[str] | None,
    typer.Option(
        "--held-out", metavar="DOMAIN", help="A domain to hold out, or all, each in turn; default: all. Repeatable."
    ),
]


@app.command("run")
def run(
    command: typer.Context,
    dataset: DatasetOption = None,
    path: PathOption = None,
    held_out: HeldOutOption = None,
    methods: MethodsOption = None,
    seeds: SeedsOption = None,
    sets: SetOption = None,
    plan: PlanOption = False,
    time_limit: TimeOption = None,
    slots: SlotsOption = None,
    out: OutOption = None,
    address: AddressOption = None,
    retry_failed: RetryOption = False,
    as_json: JsonOption = False,
) -> int:
    """Run the shipped study domain_generalization, or go on with it, on your choice of data and methods.

    Whatever else its file says can be changed by --set, as in coretune study run; --set preset=smoke says in minutes
    whether it runs.
    """
    said = [*overrides(dataset, path, held_out or [], methods, seeds), *(sets or [])]
    if plan:
        return plan_study(command, STUDY, said, None, out, as_json=as_json)
    return run_study(STUDY, said, None, time_limit, slots, out, address, retry_failed, as_json)


def overrides(
    dataset: str | None, path: Path | None, held_out: list[str], methods: str | None, seeds: int | None
) -> list[str]:
    """Returns what the options change in the study, as `--set` has it.

    Raises:
        RequestError: A path without a data set's name, images without domains, or a domain that they do not have.
        UnfitError: The images are not there, or not as expected.
    """
    found: dict[str, Any] = {}
    if dataset is not None or path is not None:
        name = dataset or OWN
        keys: dict[str, Any] = {"held_out_domain": _held_out(name, path, held_out)}
        found["datasets"] = {name: keys | at(path)}
    elif held_out:
        raise RequestError("--held-out: whose domain? Say --dataset NAME, or --path DIR for images of your own")
    return as_sets(found | methods_and_seeds(methods, seeds), {"datasets": "--dataset, --path and --held-out"})


def _held_out(name: str, path: Path | None, said: list[str]) -> str | list[str]:
    """Returns which domains of a data set are held out: those that were said, or all that there are.

    What is published has its domains in its declaration, which the study is checked against; of others the images say.

    Raises:
        RequestError: The images have no domains, or none of a name that was said.
        UnfitError: The images are not there, or not as expected.
    """
    from coretune.data.domain_splits import no_domains
    from coretune.data.source import domains_of, open_source
    from coretune.spec.catalog import load_catalog
    from coretune.spec.domains import ALL
    from coretune.spec.wording import nearest

    catalog, everything = load_catalog(), said in ([], [ALL])
    about = catalog.dataset(name)
    if about.domains or about.counts:
        return ALL if everything else said
    source = open_source(catalog, catalog.ref("dataset", name), None if path is None else str(path))
    domains = domains_of(source)
    if domains is None:
        raise RequestError(f"--dataset {name}: {no_domains(None, source)}")
    if "" in domains.names:
        raise UnfitError(f"--dataset {name}: {no_domains(domains, source)}")
    if strange := [] if everything else [each for each in said if each not in domains.names]:
        raise RequestError(f"--held-out: no domain {strange[0]!r}{nearest(strange[0], domains.names)}")
    return list(domains.names) if everything else said
