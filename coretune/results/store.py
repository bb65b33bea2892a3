"""The results directory: the one place that knows its layout.

    RESULTS/
      study.yaml · manifest.json · planned.json · state.json · optuna.journal · log.txt
      leaderboard.csv · contrasts.csv · domains.csv · evaluations.csv · runs.csv
      cells/<cell>/search.json · proposed.jsonl
      runs/<run_id>/  run.json · metrics-*.jsonl · log.txt · state/ · record.json · *.safetensors · evals/<eval_id>.json

Rank 0 of a run writes that run's folder; the driver alone writes all else.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from coretune.errors import StorageError
from coretune.results.cellfile import CellFile, TrialEntry
from coretune.results.files import CORRUPT, explain, put_atomic, set_aside
from coretune.results.mirror import PARTIAL, Mirror, Role, mirror_of
from coretune.results.neighbours import adopt
from coretune.results.planned import Planned
from coretune.results.proposals import NAME as PROPOSALS
from coretune.results.proposals import add_proposal, drop_proposals, read_proposals, with_proposals
from coretune.results.record import Evaluation, Record
from coretune.results.remote import remote_url
from coretune.spec.frozen import Frozen
from coretune.spec.run import EvalSpec

EARLIER = ".earlier-"
"""What follows the name of a cell's search that was set aside, since the study that it was for has changed."""

Model = TypeVar("Model", bound=Frozen)


class ResultsStore:
    """Reads and writes one results directory.

    A file that cannot be read counts as absent and is said in `warnings`.

    Args:
        place: A directory, or an address in an object store (`s3://bucket/name`, `gs://bucket/name`).
        repair: As the attribute.
        role: Whose copy of an object store it is; None: the driver's with `repair`, else a worker's.

    Attributes:
        mirror: Where the directory really lies.
        root: The directory; of an object store's its copy on this machine.
        repair: Whether unreadable files are set aside under a new name, so that they are made again. For the one
            process that holds the directory's lock.
        warnings: What could not be read, one line each.
    """

    def __init__(self, place: Path | str, *, repair: bool = False, role: Role | None = None) -> None:
        self.mirror = mirror_of(place, role or ("driver" if repair else "worker"))
        self.root = self.mirror.root
        self.repair = repair
        self.warnings: list[str] = []

    def run_folder(self, run_id: str) -> Path:
        """Returns the folder of a run."""
        return self.root / "runs" / run_id

    def state_folder(self, run_id: str) -> Path:
        """Returns the folder of an unfinished run's state."""
        return self.run_folder(run_id) / "state"

    def drop_state(self, run_id: str) -> None:
        """Removes the state of a run that is finished."""
        shutil.rmtree(self.state_folder(run_id), ignore_errors=True)
        self.mirror.publish_all(f"runs/{run_id}/state")

    def keep_state(self, run_id: str) -> None:
        """Makes the state of an unfinished run, just written, safe against the loss of this machine."""
        self.mirror.publish_all(f"runs/{run_id}/state")

    def fetch_run(self, run_id: str) -> None:
        """Makes sure that all of a run is here, as its last execution left it."""
        self.mirror.fetch_below(f"runs/{run_id}")

    def fetch_weights(self, run_id: str, which: str) -> None:
        """Makes sure that the weights of a finished run are here, if they were kept."""
        self.mirror.fetch_changed(self._name(self.weights_path(run_id, which)))

    def weights_path(self, run_id: str, which: str = "last") -> Path:
        """Returns where a run's weights lie: `model.safetensors` of the last epoch, else `best` or `swad`."""
        return self.run_folder(run_id) / ("model.safetensors" if which == "last" else f"{which}.safetensors")

    def has_weights(self, run_id: str, which: Iterable[str]) -> bool:
        """Returns whether all these weights of a run were kept."""
        return all(self.mirror.has(self._name(self.weights_path(run_id, each))) for each in which)

    def drop_weights(self, run_id: str) -> None:
        """Removes the weights of a run."""
        for which in ("last", "best", "swad"):
            path = self.weights_path(run_id, which)
            path.unlink(missing_ok=True)
            self.mirror.publish(self._name(path))

    def run_ids(self) -> list[str]:
        """Returns the ids of all runs that have a folder, sorted.

        Raises:
            StorageError: The folder cannot be read.
        """
        folder = self.root / "runs"
        try:
            return sorted(path.name for path in folder.iterdir() if path.is_dir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(explain(error, folder)) from error

    def record(self, run_id: str) -> Record | None:
        """Returns a run's record, or None if it has none (or an unreadable one, or another run's)."""
        self.mirror.fetch(f"runs/{run_id}/record.json")
        self.mirror.fetch_below(f"runs/{run_id}/evals")
        return self._record(run_id)

    def _record(self, run_id: str) -> Record | None:
        path = self.run_folder(run_id) / "record.json"
        record = self._read(path, Record)
        if record is not None and record.run_id != run_id:
            self._reject(path, f"it is of the run {record.run_id}")
            return None
        return record

    def reject_record(self, run_id: str, why: str) -> None:
        """Treats a record as unreadable, for a reason that only its reader knows."""
        self._reject(self.run_folder(run_id) / "record.json", why)

    def epochs(self, run_id: str) -> dict[int, dict[str, float]]:
        """Returns the metrics that a run reported, by epoch; a torn last line counts as absent."""
        content = self._bytes(self.run_folder(run_id) / "metrics-0.jsonl") or b""
        found: dict[int, dict[str, float]] = {}
        for line in content.splitlines():
            try:
                metrics = json.loads(line)
                epoch = int(metrics.pop("epoch"))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            found[epoch] = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
        return found

    def put_record(self, record: Record) -> None:
        """Writes a record; its run counts as finished from then on."""
        put_atomic(self.run_folder(record.run_id) / "record.json", _text(record))
        if (
            self.repair
        ):  # the driver writes a record only in a worker's place, and the rest of the folder is not its own
            self.mirror.publish(f"runs/{record.run_id}/record.json")
        else:
            self.mirror.publish_changed(f"runs/{record.run_id}")

    def records(self) -> Iterator[Record]:
        """Yields all readable records, by run id."""
        for run_id in self.run_ids():
            if (record := self._record(run_id)) is not None:
                yield record

    def evaluation(self, run_id: str, eval_id: str) -> Evaluation | None:
        """Returns an evaluation, or None if there is none."""
        return self._read(self.run_folder(run_id) / "evals" / f"{eval_id}.json", Evaluation)

    def evaluation_ids(self, run_id: str) -> list[str]:
        """Returns the ids of a run's evaluations, sorted, whether or not they can be read."""
        return sorted(path.stem for path in (self.run_folder(run_id) / "evals").glob("*.json"))

    def lacking(self, run_id: str, evaluations: Iterable[EvalSpec]) -> list[EvalSpec]:
        """Returns those of some evaluations that a run does not have, in their order."""
        return [spec for spec in evaluations if self.evaluation(run_id, spec.eval_id(run_id)) is None]

    def partial_evaluation(self, run_id: str, eval_id: str) -> Path:
        """Returns the folder where an evaluation that can go on after a kill keeps what it has done: here alone."""
        return self.run_folder(run_id) / "evals" / f"{eval_id}{PARTIAL}"

    def put_evaluation(self, evaluation: Evaluation) -> None:
        """Writes an evaluation beside its run's record."""
        self._write(self.run_folder(evaluation.run_id) / "evals" / f"{evaluation.eval_id}.json", evaluation)

    def evaluations(self, run_id: str) -> Iterator[Evaluation]:
        """Yields all readable evaluations of a run."""
        for path in sorted((self.run_folder(run_id) / "evals").glob("*.json")):
            if (evaluation := self._read(path, Evaluation)) is not None:
                yield evaluation

    def cell(self, key: str) -> CellFile | None:
        """Returns a cell's search, with what its driver has proposed since it was written, or None if there is none."""
        proposals = read_proposals(self.root)
        found = self._read(self.root / "cells" / key / "search.json", CellFile)
        return None if found is None else with_proposals(found, proposals)

    def put_cell(self, cell: CellFile) -> None:
        """Writes a cell's search, without a disk sync: the records could rebuild it."""
        path = self.root / "cells" / cell.key / "search.json"
        put_atomic(path, f"{cell.text}\n".encode(), durable=False)
        self.mirror.publish(self._name(path))

    def set_cell_aside(self, key: str) -> Path:
        """Renames a cell's search, with all that was proposed, and returns its new path.

        Raises:
            StorageError: It cannot be renamed.
        """
        if (found := self.cell(key)) is not None:
            self.put_cell(found)
        return self.set_aside(self.root / "cells" / key / "search.json", mark=EARLIER)

    def earlier_cells(self, key: str) -> Iterator[tuple[Path, CellFile]]:
        """Yields the searches of a cell that were set aside, the newest first, each with its path."""
        for path in sorted((self.root / "cells" / key).glob(f"search.json{EARLIER}*"), reverse=True):
            if (cell := self._read(path, CellFile)) is not None:
                yield path, cell

    def reinstate_cell(self, path: Path) -> None:
        """Makes a search that was set aside its cell's own again.

        Raises:
            StorageError: It cannot be renamed.
        """
        try:
            path.replace(path.with_name("search.json"))
        except OSError as error:
            raise StorageError(explain(error, path)) from error
        self.mirror.publish(self._name(path), self._name(path.with_name("search.json")))

    def cells(self) -> Iterator[CellFile]:
        """Yields all readable cells, by key, each as `cell` returns it."""
        proposals = read_proposals(self.root)
        for path in sorted((self.root / "cells").glob("*/search.json")):
            if (cell := self._read(path, CellFile)) is not None:
                yield with_proposals(cell, proposals)

    def add_proposal(self, key: str, trial: TrialEntry) -> None:
        """Adds a trial to a cell's search, without writing all of it anew."""
        add_proposal(self.root, key, trial)
        self.mirror.publish(PROPOSALS)

    def drop_proposals(self) -> None:
        """Forgets what was added to searches: they were all written since."""
        drop_proposals(self.root)
        self.mirror.publish(PROPOSALS)

    def planned(self) -> Planned | None:
        """Returns what the study planned to compare and when, or None if it never planned contrasts."""
        return self._read(self.root / "planned.json", Planned)

    def put_planned(self, planned: Planned) -> None:
        """Writes what the study planned to compare."""
        self._write(self.root / "planned.json", planned)

    def put_json(self, name: str, value: Any) -> None:
        """Writes one of the driver's JSON files (`state.json`, `manifest.json`)."""
        self.put(name, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())

    def put(self, name: str, content: bytes) -> None:
        """Writes one of the driver's files."""
        put_atomic(self.root / name, content)
        self.mirror.publish(name)

    def set_aside(self, path: Path, mark: str = CORRUPT) -> Path:
        """Renames a file of the directory as `files.set_aside` does, for everybody."""
        target = set_aside(path, mark)
        self.mirror.publish(self._name(path), self._name(target))
        return target

    def json(self, name: str) -> Any | None:
        """Returns one of the driver's JSON files, or None if it is absent or unreadable."""
        path = self.root / name
        content = self._bytes(path)
        if content is None:
            return None
        try:
            return json.loads(content)
        except ValueError as error:
            self._reject(path, str(error))
            return None

    def adopt(self, run_id: str, *, weights: bool = False) -> bool:
        """Copies a completed run from a results directory beside this one, if one has it.

        A run is named by the hash of its description, so that another study's run is as good as our own. A results
        directory is one by its `manifest.json`: other folders beside this one are not looked into. A neighbour
        that cannot be read is said in `warnings` and left out.

        Args:
            run_id: The run.
            weights: Whether a run without weights is of no use.

        Returns:
            Whether the run was found; its record, evaluations and weights are here now.

        Raises:
            StorageError: It cannot be written here.
        """
        return adopt(self, run_id, weights=weights)

    def _write(self, path: Path, model: Frozen) -> None:
        put_atomic(path, _text(model))
        self.mirror.publish(self._name(path))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _read(self, path: Path, kind: type[Model]) -> Model | None:
        content = self._bytes(path)
        if content is None:
            return None
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            self._refuse_newer(path, content, kind)
            self._reject(path, f"{error.error_count()} problems, first: {error.errors()[0]['msg']}")
            return None

    def _refuse_newer(self, path: Path, content: bytes, kind: type[Frozen]) -> None:
        """A file that a later coretune wrote is not corrupt: to set it aside would train again what is recorded."""
        try:
            value = json.loads(content)
        except ValueError:
            return
        version = value.get("schema_version") if isinstance(value, dict) else None
        known = kind.model_fields["schema_version"].default
        if isinstance(version, int) and version > known:
            raise StorageError(f"{path} has format {version}, this coretune reads up to {known}: use a newer coretune")

    def _bytes(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(explain(error, path)) from error

    def _reject(self, path: Path, why: str) -> None:
        done = f"set aside as {self.set_aside(path).name}, and made again" if self.repair else "left out"
        self.warn(f"{path} is not readable ({why}); {done}")

    def warn(self, line: str) -> None:
        """Says something in `warnings`, once."""
        if line not in self.warnings:  # `watch` reads the same files again and again
            self.warnings.append(line)


def _text(model: Frozen) -> bytes:
    return (model.model_dump_json(indent=1) + "\n").encode()


def reading(place: Path | str) -> ResultsStore:
    """Returns a results directory to be read: of one in an object store, a copy as it is now.

    Raises:
        StorageError: The object store cannot be reached.
    """
    if (url := remote_url(place)) is None:
        return ResultsStore(place)
    mirror = Mirror(url, "reader")
    mirror.refresh()
    return ResultsStore(mirror.root)
