"""How fast images come to the training step, packed and augmented in batches, against torchvision's usual way.

    python benchmarks/input.py

Ours is what a run does: a pack (made before, which is done once), and `Sampler.batches`: order, gathering,
augmentation. The rival is `ImageFolder` and `DataLoader` with v2 transforms on tensors, as torchvision's documentation
has them; its workers, of one thread each, live on between epochs, and the best number of 0, 1, 2 of them counts. Both
read the same files, shuffle, have the same augmentation and batch, and end in float tensors. There are two settings:
CIFAR-10 with crop and flip, and PACS at 96 pixels with random resized crop and flip. Images are those of
`CORETUNE_TEST_DATA` or, without it, made up, of the same sizes and kinds. The two take turns, epoch by epoch; speeds
are medians.

`ratio_wall` is that of wall times, in which both may use all cores: ours by its threads, the rival by its workers.
`ratio_cpu` is that of CPU times, of all processes, ours with one thread: not disturbed by what else the machine does.
`ratio` is the lower of the two. `loader_share` is the CPU time of a batch of 96-pixel images in that of a ResNet-18
step on it, one thread each. `further_process_share` is what each process beside the first adds to the
proportional set size of the pack, in shares of the pack, once all have read all of it.

The `ratio` of the whole says how far the promise that is kept worst is kept: 10 times (CIFAR-10), 3 times (PACS), 5 %
of a step, 5 % of the pack. From 1 on all are kept.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import v2

from coretune.data.fingerprint import fingerprint
from coretune.data.pack import Packed, pack
from coretune.data.sources.folder import Folder
from coretune.spec.augment import AugmentSpec
from coretune.spec.catalog.datasets import FolderParameters
from coretune.tuning.context import Context
from coretune.tuning.sampling import Sampler

WORKERS = (0, 1, 2)
ROUNDS, OUR_EPOCHS, STEPS = 4, 8, 3
LOADER_GOAL, MEMORY_GOAL = 0.05, 0.05
FURTHER = 2
LEAST = 1e-3
"""A share below it is as good as none."""


@dataclass(frozen=True)
class Setting:
    """Images and what is done to them.

    Attributes:
        side: Pixels.
        images: How many.
        batch: Images per batch.
        suffix: Kind of the files.
        goal: How many times as fast as the rival.
        ours: The augmentation, in our words.
        theirs: The same, in torchvision's.
    """

    side: int
    images: int
    batch: int
    suffix: str
    goal: float
    ours: AugmentSpec
    theirs: v2.Transform


SETTINGS: dict[str, Setting] = {
    "cifar10": Setting(
        32, 2000, 128, ".png", 10.0, AugmentSpec(crop_padding=4, flip=True), v2.RandomCrop(32, padding=4)
    ),
    "pacs": Setting(
        96,
        800,
        64,
        ".jpg",
        3.0,
        AugmentSpec(crop_scale=(0.2, 1.0), flip=True),
        v2.RandomResizedCrop(96, scale=(0.2, 1.0), antialias=True),
    ),
}


@dataclass(frozen=True)
class Cost:
    """What something took for each image, in seconds."""

    wall: float
    cpu: float


def timed(run: Callable[[], int]) -> Cost:
    """Runs what returns a number of images."""
    started, before = time.perf_counter(), cpu_seconds()
    images = run()
    return Cost((time.perf_counter() - started) / images, (cpu_seconds() - before) / images)


def cpu_seconds() -> float:
    """CPU time of this process and of its living children; that of children comes in ticks of 10 ms."""
    children = [process.cpu_times() for process in psutil.Process().children()]
    return time.process_time() + sum(each.user + each.system for each in children)


def write_images(name: str, setting: Setting, folder: Path) -> None:
    """Writes an image folder, `<class>/<number>`, of real images if there are any."""
    data = os.environ.get("CORETUNE_TEST_DATA")
    real = REAL[name](Path(data), setting.images) if data else None
    for number, content in enumerate(real or made_up(setting)):
        place = folder / f"class{number % 4}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}{setting.suffix}").write_bytes(content)


def real_cifar10(data: Path, images: int) -> Iterator[bytes]:
    """Yields images of CIFAR-10 as PNG, which is how mirrors unpack it."""
    table = pq.read_table(data / "cifar10" / "train.parquet", columns=["img"]).slice(0, images)
    for row in table.column("img"):
        yield encoded(Image.open(BytesIO(row.as_py()["bytes"])).convert("RGB"), "PNG")


def real_pacs(data: Path, images: int) -> Iterator[bytes]:
    """Yields images of PACS as they are, from all domains."""
    files = sorted((data / "pacs").glob("*/*/*.jpg"))
    for file in files[:: max(1, len(files) // images)][:images]:
        yield file.read_bytes()


REAL: Mapping[str, Callable[[Path, int], Iterator[bytes]]] = {"cifar10": real_cifar10, "pacs": real_pacs}


def made_up(setting: Setting) -> Iterator[bytes]:
    """Yields images that are smooth with a little noise, as photographs are."""
    draws = np.random.default_rng(0)
    for _ in range(setting.images):
        coarse = Image.fromarray(draws.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((setting.side, setting.side), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = smooth + draws.integers(-12, 13, smooth.shape, dtype=np.int16)
        image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        yield encoded(image, "PNG" if setting.suffix == ".png" else "JPEG")


def encoded(image: Image.Image, kind: str) -> bytes:
    """Returns an image as a file's content."""
    stream = BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def packed_images(folder: Path, side: int, cache: Path) -> Packed:
    """Returns the pack of an image folder."""
    source = Folder(folder, FolderParameters())
    return pack(source, fingerprint(source, cache), side, cache)


def sampler(packed: Packed, setting: Setting) -> Sampler:
    """Returns what draws our batches."""
    indices = np.arange(len(packed.labels), dtype=np.int64)
    return Sampler(packed, indices, setting.ours, setting.batch, 1, 0, setting.side)


def our_epochs(made: Sampler, context: Context, epochs: int) -> int:
    """Draws epochs, and returns how many images they had."""
    return sum(len(batch.labels) for epoch in range(epochs) for batch in made.batches(epoch, 0, context))


def our_cost(made: Sampler, context: Context) -> Cost:
    """Draws epochs with one thread, of which the CPU time counts, and with all, of which the wall time does."""
    cpu = timed(lambda: our_epochs(made, context, OUR_EPOCHS)).cpu
    torch.set_num_threads(os.cpu_count() or 1)
    wall = timed(lambda: our_epochs(made, context, OUR_EPOCHS)).wall
    torch.set_num_threads(1)
    return Cost(wall, cpu)


def loader(folder: Path, setting: Setting, workers: int) -> DataLoader[tuple[torch.Tensor, torch.Tensor]]:
    """Returns the rival."""
    transform = v2.Compose(
        [v2.ToImage(), setting.theirs, v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)]
    )
    images = ImageFolder(str(folder), transform=transform)
    return DataLoader(images, setting.batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0)


def their_epoch(made: DataLoader[tuple[torch.Tensor, torch.Tensor]]) -> int:
    """Draws an epoch, and returns how many images it had."""
    return sum(len(labels) for _, labels in made)


def measure_speed(setting: Setting, folder: Path, packed: Packed) -> dict[str, object]:
    """Lets both draw epochs in turn; the first round is not counted."""
    context, ours = Context(torch.device("cpu")), sampler(packed, setting)
    rivals = {workers: loader(folder, setting, workers) for workers in WORKERS}
    found: dict[int | str, list[Cost]] = {"ours": [], **{workers: [] for workers in WORKERS}}
    for round_number in range(ROUNDS + 1):
        costs: dict[int | str, Cost] = {"ours": our_cost(ours, context)}
        for workers, rival in rivals.items():
            costs[workers] = timed(lambda rival=rival: their_epoch(rival))  # type: ignore[misc]
        for name, cost in costs.items() if round_number else ():
            found[name].append(cost)
    rivals.clear()  # and with them their workers

    def median(name: int | str, clock: str) -> float:
        return statistics.median(getattr(cost, clock) for cost in found[name])

    best = {clock: min(WORKERS, key=lambda workers, clock=clock: median(workers, clock)) for clock in ("wall", "cpu")}
    ratios = {clock: median(best[clock], clock) / median("ours", clock) for clock in best}
    return {
        "ratio": round(min(ratios.values()), 2),
        "goal": setting.goal,
        "ratio_wall": round(ratios["wall"], 2),
        "ratio_cpu": round(ratios["cpu"], 2),
        "images_per_s": round(1 / median("ours", "wall")),
        "images_per_cpu_s": round(1 / median("ours", "cpu")),
        "rival_images_per_s": {str(workers): round(1 / median(workers, "wall")) for workers in WORKERS},
        "rival_images_per_cpu_s": {str(workers): round(1 / median(workers, "cpu")) for workers in WORKERS},
    }


def measure_step(setting: Setting, packed: Packed) -> dict[str, float]:
    """Times a ResNet-18 step and the making of its batch, in turn, on one thread."""
    torch.manual_seed(0)
    net = resnet18(num_classes=len(packed.classes)).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    batches = sampler(packed, setting).batches(0, 0, Context(torch.device("cpu")))
    loading, stepping = [], []
    for number in range(STEPS + 1):
        started = time.process_time()
        batch = next(batches)
        loaded = time.process_time()
        loss = functional.cross_entropy(net(batch.views[0]), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        stepped = time.process_time()
        if number:  # the first batch draws the epoch's numbers, the first step finds no memory
            loading.append(loaded - started)
            stepping.append(stepped - loaded)
    load, step = statistics.median(loading), statistics.median(stepping)
    return {
        "loader_share": round(load / step, 4),
        "batch_ms": round(1000 * load, 2),
        "step_ms": round(1000 * step, 1),
    }


@contextmanager
def holding(folder: Path, side: int, cache: Path) -> Iterator[subprocess.Popen[str]]:
    """Starts a process that has a pack open, as a trial has it, and reads all of it for each line that it is sent."""
    command = [sys.executable, str(Path(__file__).resolve()), "hold", str(folder), str(side), str(cache)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.communicate()


def hold(folder: Path, side: int, cache: Path) -> None:
    """Draws an epoch of a pack for each line of its input, and says so."""
    setting = next(setting for setting in SETTINGS.values() if setting.side == side)
    made = sampler(packed_images(folder, side, cache), setting)
    for _ in sys.stdin:
        print(our_epochs(made, Context(torch.device("cpu")), 1), flush=True)


def proportional_set_size(packed: Packed, processes: Sequence[subprocess.Popen[str]]) -> int:
    """Lets this and other processes read all of a pack, and returns its share of their memory, in bytes.

    Raises:
        RuntimeError: A process has ended, or has not read all images.
    """
    for process in processes:
        assert process.stdin is not None
        print("read", file=process.stdin, flush=True)
    for process in processes:
        assert process.stdout is not None
        if (answer := process.stdout.readline().strip()) != str(len(packed.labels)):
            raise RuntimeError(f"a process that reads {len(packed.labels)} images said {answer!r}")
    packed.images.max()  # now, since memory that rests may be taken back
    pids = (os.getpid(), *(process.pid for process in processes))
    maps = (found for pid in pids for found in psutil.Process(pid).memory_maps())
    return sum(found.pss for found in maps if found.path.endswith("images.u8"))


def measure_memory(setting: Setting, folder: Path, packed: Packed, cache: Path) -> dict[str, float]:
    """Returns what further processes add to the pack's proportional set size."""
    with ExitStack() as stack:
        one = proportional_set_size(packed, [])
        processes = [stack.enter_context(holding(folder, setting.side, cache)) for _ in range(FURTHER)]
        all_of_them = proportional_set_size(packed, processes)
    further = (all_of_them - one) / FURTHER
    return {
        "further_process_share": round(further / packed.images.nbytes, 4),
        "pack_mb": round(packed.images.nbytes / 2**20, 2),
        "pss_of_one_mb": round(one / 2**20, 2),
        "pss_of_all_mb": round(all_of_them / 2**20, 2),
        "further_processes": FURTHER,
    }


def measure() -> dict[str, object]:
    """Measures speeds, the loader's share of a step, and memory."""
    torch.set_num_threads(1)
    speeds: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        cache = Path(temporary) / "cache"
        for name, setting in SETTINGS.items():
            folder = Path(temporary) / name
            write_images(name, setting, folder)
            packed = packed_images(folder, setting.side, cache)
            speeds[name] = measure_speed(setting, folder, packed)
        step = measure_step(setting, packed)
        memory = measure_memory(setting, folder, packed, cache)
        del packed
        shutil.rmtree(cache)
    kept = [
        float(str(found["ratio"])) / setting.goal
        for found, setting in zip(speeds.values(), SETTINGS.values(), strict=True)
    ]
    kept.append(LOADER_GOAL / max(step["loader_share"], LEAST))
    kept.append(MEMORY_GOAL / max(memory["further_process_share"], LEAST))
    return {
        "name": "input",
        "ratio": round(min(kept), 3),
        "goal": 1.0,
        "better": "higher",
        "rival": "torchvision's ImageFolder and DataLoader with 0, 1 or 2 workers and v2 transforms; times its goals",
        "detail": {
            "images": "real" if os.environ.get("CORETUNE_TEST_DATA") else "made up",
            "rounds": ROUNDS,
            **speeds,
            **step,
            **memory,
        },
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["hold"]:
        hold(Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    else:
        print(json.dumps(measure()))
