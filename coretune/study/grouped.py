"""The Tune actor of runs of several workers: it holds no model, and forwards one run after another to a group."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray import tune

from coretune.cluster.desk import News, Task
from coretune.study.trainable import LONGEST_PAUSE_S, SHORTEST_PAUSE_S, WorkerOptions

WAIT_S = 1.0
"""How long to wait for news of a run at most: meanwhile it cannot be stopped."""


class GroupTrainable(tune.Trainable):
    """Forwards runs. Its config is that of `RunTrainable`, and `group`, the name of the group that executes the run."""

    _options: WorkerOptions
    _run_id: str | None
    _group: Any
    _pause: float

    def setup(self, config: dict[str, Any]) -> None:
        """Starts the first run."""
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Stops the present run, if it is unfinished, and starts another."""
        self._stop()
        self._start(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Returns what has become of the run after about `report_every_s`; without a run, waits a little."""
        run_id = self._run_id
        if run_id is None:
            time.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
            return {"run_id": None, "done": False}
        news: News = ray.get(self._group.news.remote(run_id, WAIT_S))
        result: dict[str, Any] = {"run_id": run_id, "reports": [], "done": news.ended}
        for sign in news.signs:
            result |= {"epoch": sign.epoch, "images_per_s": sign.images_per_s, "life": sign.life}
            if sign.metrics is not None:
                result["reports"].append((sign.epoch, dict(sign.metrics)))
        if news.ended:
            self._run_id = None
        if news.lost is not None or news.error is not None:
            return result | {"lost": news.lost or news.error, "dead": news.dead}
        return result if news.outcome is None else result | {"outcome": news.outcome}

    def cleanup(self) -> None:
        """Stops the run, whose workers store its state."""
        self._stop()

    def _start(self, config: dict[str, Any]) -> None:
        self._options = config["options"]
        self._pause = SHORTEST_PAUSE_S
        self._run_id, self._group = config["run_id"], None
        if config["job"] is None:
            return
        self._group = ray.get_actor(config["group"])
        in_step = self._options.report_every_s == 0
        ray.get(self._group.start.remote(Task(config["run_id"], config["job"], self._options.results, in_step)))

    def _stop(self) -> None:
        if self._run_id is not None and self._group is not None:
            ray.get(self._group.stop.remote(self._run_id))
        self._run_id = None
