"""The Tune actor of runs of several workers: it holds no model, and forwards one run after another to a group."""

from __future__ import annotations

from typing import Any

import ray

from coretune.cluster.desk import News, Task
from coretune.study.trainable import ReusedTrainable, WorkerOptions

WAIT_S = 1.0
"""How long to wait for news of a run at most: meanwhile it cannot be stopped."""


class GroupTrainable(ReusedTrainable):
    """Forwards runs. Its config is that of `RunTrainable`, and `group`, the name of the group that executes the run."""

    _options: WorkerOptions
    _run_id: str | None
    _group: Any

    def setup(self, config: dict[str, Any]) -> None:
        """Starts the first run."""
        self._begin(config)

    def step(self) -> dict[str, Any]:
        """Returns what has become of the run after about `report_every_s`; without a run, waits a little."""
        run_id = self._run_id
        if run_id is None:
            return self._wait()
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

    def _start(self, config: dict[str, Any]) -> None:
        self._options = config["options"]
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
