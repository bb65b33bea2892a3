"""A warm group of workers: a Ray Train run that lives as long as it is needed, and the desk where it gets its runs."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from dataclasses import dataclass
from typing import Any

import ray

from coretune.cluster.desk import Desk, News, Sign, Task, Verdict
from coretune.results.record import Cause
from coretune.spec.study import Resources

ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths in a study are relative to the working directory
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # one process more for each group, for what our own budget covers
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "180",  # the default of 60 s is not enough on a busy machine
}
"""Read by Ray Train in the process that starts a run."""

MEETING_S = 300
"""How long workers that have just started have to find each other: on a busy machine some start much later."""

REBUILDS = 3
"""How often a group is rebuilt before it is given up, and another one started in its place."""

NEVER_S = 1e9
"""A group of fewer workers grows when it is rebuilt: to do so in the middle of a run would cost what is not stored."""


@dataclass(frozen=True)
class GroupOptions:
    """What a group is.

    Attributes:
        resources: `workers`, what each of them gets, and how long they wait for each other.
    """

    resources: Resources

    @property
    def bundle(self) -> dict[str, float]:
        """What Ray sets apart for one worker."""
        return {"CPU": self.resources.cpus} | ({"GPU": self.resources.gpus} if self.resources.gpus else {})

    @property
    def backend(self) -> str:
        """How the workers talk: NCCL, which wants a GPU for each of them, or else gloo."""
        return "nccl" if self.resources.gpus >= 1 else "gloo"

    @property
    def workers(self) -> int | tuple[int, int]:
        """How many there are; the least and the most where Train may start with fewer."""
        least, most = self.resources.least_workers, self.resources.workers
        return most if least == most else (least, most)


class GroupHost:
    """The actor that owns a group: its desk, and the Ray Train run whose workers come to it.

    Train replaces all workers when one of them is lost, by fewer of them if there is no place for all and the options
    allow it. After `REBUILDS` of them, or if they do not start, the group is dead.

    Args:
        options: What it is.
        name: Of the Train run.
    """

    def __init__(self, options: GroupOptions, name: str) -> None:
        self._options = options
        self._name = name
        self._desk = Desk()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        os.environ.update({key: os.environ.get(key, value) for key, value in ENVIRONMENT.items()})

    async def open(self) -> None:
        """Starts the workers; returns at once."""
        me = ray.get_runtime_context().current_actor
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._train, args=(me, loop), name="coretune-group", daemon=True)
        self._thread.start()

    def _train(self, me: Any, loop: asyncio.AbstractEventLoop) -> None:
        why = "its workers have ended"
        try:
            with tempfile.TemporaryDirectory(prefix="coretune-group-") as folder:
                self._trainer(me, folder).fit()
        except Exception as error:  # whatever Train raises, the group is dead, and the desk says why
            why = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        finally:
            self._ended.set()
            asyncio.run_coroutine_threadsafe(self._desk.die(why), loop)

    def _trainer(self, me: Any, folder: str) -> Any:
        import ray.train
        import ray.train.torch
        from ray.train.v2.api.config import FailureConfig, ScalingConfig  # ray.train has the types of older ones

        from coretune.cluster.connection import ConnectionConfig
        from coretune.cluster.member import serve

        options = self._options
        failures = FailureConfig(max_failures=REBUILDS, controller_failure_limit=REBUILDS)
        return ray.train.torch.TorchTrainer(
            serve,
            train_loop_config={"desk": me, "resources": options.resources},
            torch_config=ConnectionConfig(backend=options.backend, timeout_s=MEETING_S),
            scaling_config=ScalingConfig(
                num_workers=options.workers,
                use_gpu=bool(options.resources.gpus),
                resources_per_worker=options.bundle,
                elastic_resize_monitor_interval_s=NEVER_S,
            ),
            run_config=ray.train.RunConfig(name=self._name, storage_path=folder, failure_config=failures),
        )

    async def start(self, task: Task) -> None:
        """Gives the group a run."""
        await self._desk.start(task)

    async def news(self, run_id: str, wait_s: float) -> News:
        """Returns what has become of a run."""
        return await self._desk.news(run_id, wait_s)

    async def stop(self, run_id: str) -> str | None:
        """Stops a run with its state stored."""
        return await self._desk.stop(run_id)

    async def up(self) -> str | None:
        """Returns once all workers are there, or why the group is dead."""
        await self._desk.up()
        return self._desk.dead

    async def crews(self) -> int:
        """Returns how often the group was built."""
        return self._desk.crews

    async def close(self, wait_s: float) -> bool:
        """Sends the workers home; returns whether they have gone, with all that Train has started."""
        await self._desk.close()
        return await asyncio.to_thread(self._ended.wait, wait_s)

    async def join(self, crew: str, rank: int, workers: int) -> None:
        """Takes a worker in."""
        await self._desk.join(crew, rank, workers)

    async def next(self, crew: str, rank: int, taken: int) -> Task | None:
        """Returns a worker's next run."""
        return await self._desk.next(crew, rank, taken)

    async def report(self, crew: str, sign: Sign) -> bool:
        """Takes a sign of life."""
        return await self._desk.report(crew, sign)

    async def meet(self, crew: str, rank: int, cause: Cause, part: str, *, consequence: bool) -> Verdict:
        """Takes a worker's failure."""
        return await self._desk.meet(crew, rank, cause, part, consequence=consequence)

    async def end(self, crew: str, outcome: str, error: str | None) -> None:
        """Takes the end of a run."""
        await self._desk.end(crew, outcome, error)
