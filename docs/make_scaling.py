"""Writes the tables of docs/scaling.md: `python docs/make_scaling.py`; with `--check` it counts what workers send here.

Runs, their order and their slots are coretune's own: the study's book hands out `studies/nine_datasets.yaml` run by
run, on a clock that is only counted. How fast a GPU is, and a network, is assumed, and stands at the top.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
import torch.distributed as dist
from torch import nn

from coretune.nets.model import Model
from coretune.nets.scale_shift import BATCH_NORM
from coretune.results.files import put_atomic
from coretune.results.record import Evaluation, Record
from coretune.results.store import ResultsStore
from coretune.runs.job import Job
from coretune.spec.load import LoadedStudy, resolve_study
from coretune.spec.run import TrainSpec
from coretune.spec.yamlfile import read_yaml
from coretune.study.book import CellBook
from coretune.study.events import EventLog
from coretune.study.optuna_cell import grid
from coretune.study.resolved import ResolvedCell, ResolvedStudy
from coretune.tuning.context import Context
from coretune.tuning.contrast import contrast_loss
from coretune.tuning.division import divide
from coretune.tuning.gradient_sum import BUCKET_BYTES, FIRST_BYTES, GradientSum, gradient_buckets
from coretune.tuning.method import Method
from coretune.tuning.optimizer import trained_parameters
from coretune.tuning.shard import Shard
from coretune.tuning.task import Batch, Moment

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "scaling.md"
STUDY = ROOT / "studies" / "nine_datasets.yaml"
BEGIN, END = "<!-- tables:begin (python docs/make_scaling.py) -->", "<!-- tables:end -->"

IMAGES_PER_S = 938.0
"""Assumed: ResNet-50 trained at 224 px on one A100 in TF32, as NVIDIA publishes."""
AT_SIDE = 224
WITHIN_NODE, BETWEEN_NODES = 200e9, 20e9
"""Assumed: bytes a second that a worker sends and receives, by NVLink within a node of 8, by network between nodes."""
LATENCY_S = 20e-6
"""Assumed: what a collective takes however little it sends."""
GPUS_PER_NODE = 8
PASSES = {"delta": 4 / 3, "bi_tuning": 4 / 3}
"""Arithmetic of methods that encode every image once more without a gradient; that of the others is 1."""
EVALUATED = 1 / 3
"""Arithmetic of an image that is evaluated: a forward pass, of three."""
FLOAT = 4
CHECK_SIDE, CHECK_STEPS, CHECK_PATIENCE_S = 32, 3, 240.0


@dataclass(frozen=True)
class Images:
    """How many images a data set has, by part; those of docs/data.md, a tenth of the training images for validation."""

    all: int
    train: int
    validation: int
    test: int


def _drawn(total: int, train: int, test: int) -> Images:
    held_out = round(train * 0.1)
    return Images(total, train - held_out, held_out, test)


SETS = {
    "imagenet20": _drawn(26_348, 18_494, 7_854),
    "cifar10": _drawn(60_000, 50_000, 10_000),
    "cifar100": _drawn(60_000, 50_000, 10_000),
    "caltech101": _drawn(9_144, 3_060, 6_084),
    "dtd": Images(5_640, 1_880, 1_880, 1_880),
    "aircraft": Images(10_000, 3_334, 3_333, 3_333),
    "cars": _drawn(16_185, 8_144, 8_041),
    "pets": _drawn(7_349, 3_680, 3_669),
    "flowers102": Images(8_189, 1_020, 1_020, 6_149),
}


# --------------------------------------------------------------------------------------------------------------- time


def load() -> ResolvedStudy:
    """Returns the study with made-up fingerprints; the order of its runs does not depend on what is proposed."""
    loaded: LoadedStudy = resolve_study(read_yaml(STUDY), ["search.sampler=random"])
    cells = tuple(ResolvedCell(cell, f"{number:064x}", "random", None) for number, cell in enumerate(loaded.cells))
    return ResolvedStudy(loaded, cells, {})


def run_images(job: Job, dataset: str) -> float:
    """Returns the images of a run at 224 px, each as much as one that is trained: R = E n p + (v + t) / 3, times side².

    E epochs, n training images, p the method's passes, v images of all evaluations on the validation part, t of the
    test part where it is a final run.
    """
    train, images = job.spec.train, SETS[dataset]
    evaluations = -(-train.epochs // train.evaluate_every)
    held_out = evaluations * images.validation + (images.test if job.evaluations else 0)
    trained = train.epochs * images.train * PASSES.get(job.spec.method.name, 1.0)
    return (trained + held_out * EVALUATED) * (job.spec.data.input_side / AT_SIDE) ** 2


@dataclass(frozen=True)
class Schedule:
    """What became of a study on some slots, in the unit of the runs' lengths.

    Attributes:
        work: Of all runs.
        span: From the start to the end.
        tail: From the moment that a slot first finds no run, to the end.
        idle: Of all slots in the tail together.
        longest: The longest run.
    """

    work: float
    span: float
    tail: float
    idle: float
    longest: float


def schedule(study: ResolvedStudy, slots: int, length: Callable[[Job, str], float]) -> Schedule:
    """Lets the study's own book hand out its runs to slots; a run takes its length, and nothing else takes time."""
    with tempfile.TemporaryDirectory() as folder:
        store = ResultsStore(folder, repair=True)
        book = CellBook(study, store, EventLog(Path(folder) / "log.txt"))
        dataset = {cell.fingerprint: cell.cell.dataset.label for cell in study.cells}
        running: list[tuple[float, int, Job]] = []
        now, work, longest, first_idle, used, number = 0.0, 0.0, 0.0, math.inf, 0.0, itertools.count()
        while True:
            while len(running) < slots and (job := book.next_job()) is not None:
                lasts = length(job, dataset[job.spec.data.fingerprint])
                heapq.heappush(running, (now + lasts, next(number), job))
                work, longest = work + lasts, max(longest, lasts)
            if not running:
                break
            if len(running) < slots:
                first_idle = min(first_idle, now)
            ends, _, job = heapq.heappop(running)
            used += (ends - now) * (len(running) + 1) if now >= first_idle else 0.0
            now = ends
            _finish(store, job)
            book.on_finished(job.spec.run_id, ended=True)
    tail = now - min(first_idle, now)
    return Schedule(work, now, tail, slots * tail - used, longest)


def _finish(store: ResultsStore, job: Job) -> None:
    run_id, stamp = job.spec.run_id, "2026-01-01T00:00:00+00:00"
    score = {"top1": int(run_id[:4], 16) / 1000}
    for spec in job.all_evaluations:
        made = Evaluation(
            eval_id=spec.eval_id(run_id), run_id=run_id, spec=spec.model_dump(mode="json"), metrics=score, created=stamp
        )
        path = store.run_folder(run_id) / "evals" / f"{made.eval_id}.json"
        put_atomic(path, made.model_dump_json().encode(), durable=False)
    record = Record(
        run_id=run_id,
        status="completed",
        spec=job.spec.canonical(),
        metrics={"last": score},
        started=stamp,
        finished=stamp,
    )
    put_atomic(store.run_folder(run_id) / "record.json", record.model_dump_json().encode(), durable=False)


# ------------------------------------------------------------------------------------------------------- communication


@dataclass(frozen=True)
class Net:
    """What of a net its workers send.

    Attributes:
        parameters: Trained numbers, of the encoder and the method's heads.
        features: Width of the encoder's features.
        channels: Channels of each batch-norm layer.
        buckets: Bytes of the buckets in which gradients are summed, in the order of their sending.
    """

    parameters: int
    features: int
    channels: tuple[int, ...]
    buckets: tuple[int, ...]


def net_of(model: nn.Module, method: nn.Module, features: int) -> Net:
    """Returns what of a model is sent."""
    trained = trained_parameters(model, method)
    channels = tuple(m.num_features for m in model.modules() if isinstance(m, BATCH_NORM))
    buckets = tuple(sum(p.nbytes for p in bucket) for bucket in gradient_buckets(trained, FIRST_BYTES, BUCKET_BYTES))
    return Net(sum(parameter.numel() for parameter in trained), features, channels, buckets)


def step_bytes(net: Net, train: TrainSpec, workers: int) -> dict[str, int]:
    """Returns the bytes that a worker gives to each kind of collective in a step of one full batch, in fp32.

    features: all-gather, 4 w d, w the most samples of a worker; statistics: where each worker has whole batch-norm
    groups all-reduce of running means and variances, 4 · 2 C; else in each group and layer all-gather of 4 (2 c + 1)
    forward and all-reduce of 4 · 2 c backward; gradients: all-reduce, 4 P.
    """
    if workers == 1:
        return {"features": 0, "statistics": 0, "gradients": 0}
    whole = divide(train.batch, train, workers, views=1).whole
    statistics = 2 * sum(net.channels)
    if whole.synchronised:
        statistics = len(whole.groups) * sum(2 * c + 1 + 2 * c for c in net.channels)
    return {
        "features": FLOAT * whole.widest * net.features,
        "statistics": FLOAT * statistics,
        "gradients": FLOAT * net.parameters,
    }


def step_calls(net: Net, train: TrainSpec, workers: int) -> int:
    """Returns how many collectives a step has: for features, for each bucket of gradients, and for statistics.

    The last is one, or where groups are shared two for each layer and group.
    """
    if workers == 1:
        return 0
    whole = divide(train.batch, train, workers, views=1).whole
    return 1 + len(net.buckets) + (2 * len(whole.groups) * len(net.channels) if whole.synchronised else 1)


def sent(given: dict[str, int], workers: int) -> float:
    """Returns the bytes that a worker sends in rings: (k − 1) of what it gathers, 2 (k − 1) / k of what is reduced.

    Statistics of shared groups are gathered and reduced by halves; they are counted as gathered.
    """
    reduced = given["gradients"] * 2 * (workers - 1) / workers
    return reduced + (given["features"] + given["statistics"]) * (workers - 1)


def sending_s(net: Net, train: TrainSpec, workers: int) -> float:
    """Returns the seconds of a step's collectives, one after the other: c λ + b / B."""
    return step_calls(net, train, workers) * LATENCY_S + _sent_s(step_bytes(net, train, workers), workers)


def waiting_s(net: Net, train: TrainSpec, workers: int) -> float:
    """Returns the seconds of them for which computing waits.

    Gradients are sent while the last of a worker's batch-norm groups is gone back through, two thirds of its step;
    what is sent last, the bucket of the first layers, is waited for in any case.
    """
    if workers == 1:
        return 0.0
    whole = divide(train.batch, train, workers, views=1).whole
    one_by_one = len(whole.groups) if whole.synchronised else -(-len(whole.groups) // workers)
    behind = 2 / 3 * train.batch / IMAGES_PER_S / workers / one_by_one
    *_, last = (_bucket_s(size, workers) for size in net.buckets)
    gradients = sum(_bucket_s(size, workers) for size in net.buckets)
    return sending_s(net, train, workers) - gradients + max(last, gradients - behind)


def _bucket_s(size: int, workers: int) -> float:
    return LATENCY_S + _sent_s({"features": 0, "statistics": 0, "gradients": size}, workers)


def _sent_s(given: dict[str, int], workers: int) -> float:
    return sent(given, workers) / (WITHIN_NODE if workers <= GPUS_PER_NODE else BETWEEN_NODES)


def efficiency(net: Net, train: TrainSpec, workers: int) -> float:
    """Returns the speed of k workers over k times that of one: t / (t + k s), t of computing alone, s of waiting."""
    alone = train.batch / IMAGES_PER_S
    return alone / (alone + workers * waiting_s(net, train, workers))


# -------------------------------------------------------------------------------------------------------------- tables


def core_tuning_net() -> tuple[nn.Module, nn.Module, Net]:
    """Returns the study's backbone, from random weights, with the heads of Core-tuning for ten classes."""
    study = load()
    catalog = study.loaded.catalog
    (spec,) = (study.run_spec(c, {}, 0) for c in study.cells if c.cell.key.startswith("cifar10--core_tuning--"))
    encoder = catalog.get("backbone", "resnet50").load()(catalog.parameters("backbone", spec.backbone.arch))
    made = catalog.get("method", "core_tuning").load()
    method = made(catalog.parameters("method", spec.method), features=encoder.features, classes=10)
    method.prepare(encoder)
    return encoder, method, net_of(encoder, method, encoder.features)


def saved_bytes(encoder: nn.Module, side: int) -> int:
    """Returns the bytes that autograd keeps of an image for the backward pass, counted on the CPU, without weights."""
    own = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    encoder.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        held = encoder(torch.rand(2, 3, side, side))
    del held
    return sum(kept.values()) // 2


def tables() -> str:
    """Returns all tables as Markdown."""
    study = load()
    encoder, _, net = core_tuning_net()
    train = study.run_spec(study.cells[0], {}, 0).train
    parts = {
        "Work": work_table(study),
        "Time": time_table(study, net, train),
        "What workers send": communication_table(net, train),
        "Memory of a GPU": memory_table(encoder, net, train),
        "Storage": storage_table(study, net),
    }
    return "\n\n".join(f"### {title}\n\n" + "\n".join(rows) for title, rows in parts.items())


def work_table(study: ResolvedStudy) -> list[str]:
    """Returns trainings, images and GPU hours by data set."""
    rows, runs, trained, work = [], 0, 0.0, 0.0
    for label, images in SETS.items():
        jobs = list(all_jobs(study, label))
        own_trained = sum(job.spec.train.epochs * images.train for job in jobs)
        own_work = sum(run_images(job, label) for job in jobs)
        rows.append([f"`{label}`", f"{images.train:,}", str(len(jobs)), *_work(own_trained, own_work)])
        runs, trained, work = runs + len(jobs), trained + own_trained, work + own_work
    rows.append(["all", "", f"{runs:,}", *_work(trained, work)])
    return table(["data set", "training images", "trainings", "images trained, millions", "GPU hours"], rows)


def _work(trained: float, work: float) -> list[str]:
    return [f"{trained / 1e6:,.0f}", f"{work / IMAGES_PER_S / 3600:,.0f}"]


def all_jobs(study: ResolvedStudy, dataset: str) -> Iterable[Job]:
    """Yields the trainings of a data set, all with the default configuration; those of one configuration are one."""
    for cell in study.cells:
        if cell.cell.dataset.label != dataset:
            continue
        for _ in range(trials_of(study, cell)):
            yield Job(study.trial_specs(cell, {})[0])
        yield from (Job(spec, evaluations=(study.final_evaluation(),)) for spec in study.final_specs(cell, {}))


def trials_of(study: ResolvedStudy, cell: ResolvedCell) -> int:
    """Returns how many configurations a cell's search trains: no more than there are."""
    space = cell.cell.method.space
    if not space:
        return 0
    finite = all(item.kind in ("int", "choice") for item in space.values())
    return min(study.loaded.study.search.trials, len(grid(space)) if finite else sys.maxsize)


def time_table(study: ResolvedStudy, net: Net, train: TrainSpec) -> list[str]:
    """Returns how long the study takes on clusters of some sizes, and what is idle at its end."""
    rows, found = [], {}
    for gpus, workers in ((8, 1), (64, 1), (64, 4), (64, 8), (512, 1), (512, 4), (512, 8)):
        slots = gpus // workers
        if slots not in found:
            found[slots] = schedule(study, slots, run_images)
        made, per_hour = found[slots], 3600 * IMAGES_PER_S * workers * efficiency(net, train, workers)
        hours = [f"{value / per_hour:,.1f}" for value in (made.span, made.longest, made.tail)]
        busy = f"{100 * made.work / (made.span * slots):.0f} %"
        rows.append([str(gpus), str(workers), str(slots), *hours, busy, f"{made.idle * workers / per_hour:,.0f}"])
    return table(["GPUs", "workers", "slots", "hours", "longest run", "tail", "busy", "idle GPU hours"], rows)


def communication_table(net: Net, train: TrainSpec) -> list[str]:
    """Returns what a worker gives and sends in a step."""
    rows = []
    for workers in (1, 2, 4, 8, 16):
        given = step_bytes(net, train, workers)
        rows.append(
            [
                str(workers),
                *(f"{given[kind] / 2**20:.2f}" for kind in ("features", "statistics", "gradients")),
                str(step_calls(net, train, workers)),
                f"{sent(given, workers) / 2**20:.0f}",
                f"{sending_s(net, train, workers) * 1e3:.1f}",
                f"{waiting_s(net, train, workers) * 1e3:.1f}",
                f"{train.batch / IMAGES_PER_S / workers * 1e3:.0f}",
                f"{100 * efficiency(net, train, workers):.0f} %",
            ]
        )
    given_head = ["workers", "features", "statistics", "gradients", "collectives"]
    return table([*given_head, "sent, MiB", "sending, ms", "waiting, ms", "computing, ms", "efficiency"], rows)


def memory_table(encoder: nn.Module, net: Net, train: TrainSpec) -> list[str]:
    """Returns the memory of a run of Core-tuning by micro-batch."""
    rows = []
    states = 3 * FLOAT * net.parameters
    for side in (224, 256):
        image = saved_bytes(encoder, side)
        for micro in (train.batch, train.contrast_batch):
            rows.append(
                [
                    str(side),
                    str(micro),
                    f"{states / 1e9:.2f}",
                    f"{image / 1e6:.0f}",
                    f"{(states + micro * image) / 1e9:.1f}",
                ]
            )
    head = ["side", "micro-batch", "weights, gradients, momentum, GB", "kept of an image, MB", "together, GB"]
    return table(head, rows)


def storage_table(study: ResolvedStudy, net: Net) -> list[str]:
    """Returns what lies on disk."""
    sides = {cell.cell.dataset.label: cell.cell.dataset.image_size for cell in study.cells}
    packs = sum(SETS[label].all * side**2 * 3 for label, side in sides.items())
    finals = len(study.cells) * study.loaded.study.finals.seeds
    weights = FLOAT * net.parameters
    rows = [
        ["packs, on each node", "Σ n · side² · 3", f"{packs / 1e9:.1f} GB"],
        ["weights of final runs", f"{finals} · 4 P", f"{finals * weights / 1e9:.1f} GB"],
        ["a state, one per run under way", "weights and momentum: 2 · 4 P", f"{2 * weights / 1e6:.0f} MB"],
    ]
    return table(["what", "formula", "size"], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Returns a Markdown table."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def page(text: str) -> str:
    """Returns the page's text with its tables made anew.

    Raises:
        ValueError: The page has not both marks.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} needs the marks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


# --------------------------------------------------------------------------------------------------------------- check


def count_collectives() -> dict[str, int]:
    """Counts, from now on in this process, the bytes that are given to each kind of collective."""
    given = {"all_reduce": 0, "all_gather": 0}

    def counted(name: str, tensor_of: Callable[..., torch.Tensor]) -> None:
        real = getattr(dist, name)

        def call(*args: Any, **options: Any) -> Any:
            tensor = tensor_of(*args)
            given[name] += tensor.numel() * tensor.element_size()
            return real(*args, **options)

        setattr(dist, name, call)

    counted("all_reduce", lambda tensor, *_: tensor)
    counted("all_gather", lambda _, tensor: tensor)
    return given


def one_step(model: Model, method: Method, train: TrainSpec, shard: Shard, side: int) -> None:
    """Computes loss and gradients of one full batch of noise, on this worker's part of it."""
    division = divide(train.batch, train, shard.workers, views=method.views)
    own = torch.from_numpy(division.whole.own(shard.rank))
    images = torch.rand(train.batch, 3, side, side, generator=torch.Generator().manual_seed(0))[own]
    batch = Batch((images,), torch.arange(train.batch) % 10, torch.arange(train.batch))
    context = Context(device=torch.device("cpu"), shard=shard)
    loss = contrast_loss(model, batch, method, train, Moment(seed=0, epoch=0, step=0, progress=0.0), context)
    with GradientSum(trained_parameters(model.encoder, method), shard).of_backward():
        shard.part_of(loss.total).backward()


def _check_worker(rank: int, workers: int, meeting: str, train: TrainSpec, answers: Any) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    torch.manual_seed(0)
    encoder, method, net = core_tuning_net()
    model, shard = Model(encoder, method.classifier), Shard(rank, workers)
    model.train()
    one_step(model, method, train, shard, CHECK_SIDE)
    given = count_collectives()
    seconds = []
    for _ in range(CHECK_STEPS):
        dist.barrier()
        begun = time.perf_counter()
        one_step(model, method, train, shard, CHECK_SIDE)
        seconds.append(time.perf_counter() - begun)
    if rank == 0:
        per_step = {name: number // CHECK_STEPS for name, number in given.items()}
        answers.put((per_step, step_bytes(net, train, workers), statistics.median(seconds)))
    dist.destroy_process_group()


def check() -> list[str]:
    """Returns what was counted in steps of 1, 2 and 4 workers with gloo on this machine, beside what is computed."""
    study, rows = load(), []
    recipe = study.run_spec(study.cells[0], {}, 0).train
    for workers, contrast_batch in ((1, 64), (2, 64), (4, 64), (4, 128)):
        train = recipe.replace(contrast_batch=contrast_batch)
        spawning = multiprocessing.get_context("spawn")
        answers = spawning.Queue()
        with tempfile.TemporaryDirectory() as folder:
            asked = (workers, f"{folder}/meeting", train, answers)
            processes = [spawning.Process(target=_check_worker, args=(rank, *asked)) for rank in range(workers)]
            for process in processes:
                process.start()
            counted, computed, seconds = answers.get(timeout=CHECK_PATIENCE_S)
            for process in processes:
                process.join()
        total = sum(computed.values())
        rows.append(
            [
                str(workers),
                str(contrast_batch),
                f"{counted['all_gather']:,}",
                f"{counted['all_reduce']:,}",
                f"{sum(counted.values()):,}",
                f"{total:,}",
                f"{seconds:.2f}",
            ]
        )
    head = ["workers", "contrast batch", "all-gather", "all-reduce", "together", "computed", "seconds a step"]
    return table(head, rows)


def main() -> None:
    """Writes the page's tables; or prints what was counted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="count what several workers send, on this machine")
    if parser.parse_args().check:
        print("\n".join(check()))
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
