"""A run's copy in MLflow, and the note in the run's folder (mlflow.json) of what was sent."""

import hashlib
import logging
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

from PIL import Image
from pydantic import BaseModel

from harness.core.errors import Unreadable, why
from harness.core.files import read_lines, write_json
from harness.core.reading import parsed, png, read_file, regular
from harness.evaluation.score import Count
from harness.runs import row as rows
from harness.runs.folder import OVER
from harness.runs.run import Run
from harness.tracking import store
from harness.tracking import tags as shown
from harness.tracking.outbox import Multirun
from harness.tracking.tags import Point

log = logging.getLogger(__name__)

BATCH = {"metrics": 1000, "params": 100, "tags": 100}
"""Maximum number of items of each kind in one MLflow request."""

FILES = (
    "config.yaml", "record.json", "metrics.jsonl", "selection.json", "failure.md",
    "samples.png", "reliability.png", "reliability.json", "counterfactuals.png", "counterfactual_strip.png",
    "nearest.png", "long_chains.png", "long_chains.json",
)  # fmt: skip
STATUS = {
    "done": "FINISHED", "skipped": "FINISHED", "failed": "FAILED", "diverged": "FAILED", "collapsed": "FAILED",
}  # fmt: skip
"""The files that are mirrored, and MLflow's status for a state; other states are RUNNING, and the tag names them."""

PREVIEW = 256
"""Longer side, in pixels, of an image in MLflow's charts."""


class Note(BaseModel):
    """What was sent to the MLflow run `run_id`: numbers of points, digests of files, names of images, the model."""

    uri: str = ""
    run_id: str = ""
    points: Count = 0
    usage: Count = 0
    files: dict[str, str] = {}
    images: list[str] = []
    model: bool = False


class Mirror:
    """Sends what MLflow lacks of a run, noting each step, so that an interrupted push can continue."""

    def __init__(self, run: Run) -> None:
        self.run, self.client = run, store.connect(run.config)
        begun = _modified(run.folder / "started")
        self.image = store.find(self.client, run.config, "fingerprint", run.fingerprint, run.name, begun)
        self.id, self.begun = self.image.info.run_id, self.image.info.start_time
        note = _read_note(run.folder / "mlflow.json")
        if note.run_id != self.id:  # another database, or the run was deleted there
            note = Note()
        self.note: dict[str, Any] = note.model_dump() | {"uri": store.uri(run.config), "run_id": self.id}

    def send(self, multirun: Multirun | None) -> None:
        """Send everything in the folder that MLflow lacks."""
        # Send the config, the datasets, the curves and, when the run is over, the scores.
        row = rows.row_of(self.run.folder)
        self._log("params", [item for item in shown.params(self.run) if item[0] not in self.image.data.params])
        if not (self.image.inputs and self.image.inputs.dataset_inputs):
            self.client.log_inputs(self.id, shown.inputs(self.run))
        self._send_points("points", shown.curves(self.run, self.begun))
        self._send_points("usage", _usage(self.run))
        if row.state in OVER:
            self._log("metrics", shown.scores(row, self.begun))

        # Send the images first, as they add to the tags.
        tags = shown.tags(self.run, row, self.id) | ({"sweep": multirun.label} if multirun else {})
        self._send_images(tags)
        old_tags = self.image.data.tags
        self._log("tags", [(key, text) for key, text in tags.items() if old_tags.get(key, "") != text])

        for name in FILES:
            self._send_file(self.run.folder / name)
        if row.state == "done" and self.run.config.tracking_model:
            self._send_model()
        if (status := STATUS.get(row.state, "RUNNING")) != self.image.info.status:
            self._set_status(status)

    def _set_status(self, status: str) -> None:
        if status == "RUNNING":
            self.client.update_run(self.id, status)
        else:
            over = _modified(self.run.folder / "record.json") or _modified(self.run.folder / "failure.md") or self.begun
            self.client.set_terminated(self.id, status, max(over, self.begun))  # copied files may have wrong times

    def _send_points(self, kind: str, points: list[Point]) -> None:
        """Send the points not sent yet; their times are fixed, so that a point that is sent twice is stored once."""
        while batch := points[self.note[kind] :][: BATCH["metrics"]]:
            self._log("metrics", batch)
            self._remember(**{kind: self.note[kind] + len(batch)})

    def _send_images(self, tags: dict[str, str]) -> None:
        """Send the sample grids of training, under the file names that MLflow's image charts expect."""
        from harness.runs.previews import glimpses

        if grids := glimpses(self.run):
            tags["mlflow.loggedImages"] = "True"
        for step, path in grids:
            content = parsed(path, png)
            name = f"train~samples+step+{step}+timestamp+{self.begun}+{UUID(hashlib.sha256(content).hexdigest()[:32])}"
            if name in self.note["images"]:
                continue
            # MLflow needs the full image and a small preview.
            with TemporaryDirectory() as folder, Image.open(BytesIO(content), formats=["PNG"]) as image:
                whole, preview = Path(folder, f"{name}.png"), Path(folder, f"{name}+compressed.webp")
                image.save(whole)
                image.thumbnail((PREVIEW, PREVIEW))
                image.save(preview)
                self.client.log_artifacts(self.id, folder, "images")
            self._remember(images=[*self.note["images"], name])

    def _send_file(self, path: Path) -> None:
        """Send a file of the run's folder, unless it was sent as it is; one that cannot be read is left out."""
        try:
            content = read_file(path)
            if path.suffix == ".png":
                png(content)
        except FileNotFoundError:
            return
        except (Unreadable, ValueError) as error:
            log.warning("%s is not sent to MLflow: %s.", path, why(error))
            return
        # Send the bytes that were read, whatever has become of the file.
        digest = hashlib.sha256(content).hexdigest()
        if digest != self.note["files"].get(path.name):
            with TemporaryDirectory() as folder:
                copy = Path(folder, path.name)
                copy.write_bytes(content)
                self.client.log_artifact(self.id, str(copy))
            self._remember(files={**self.note["files"], path.name: digest})

    def _send_model(self) -> None:
        """Send the weights, once, as an MLflow model that executes no code when it is loaded."""
        from harness.tracking.served import describe, weights

        if self.note["model"] or (path := weights(self.run)) is None:
            return
        with TemporaryDirectory() as folder:
            describe(self.run, Path(folder))
            self.client.log_artifacts(self.id, folder, "model")
        self.client.log_artifact(self.id, str(regular(path)), "model/data")
        self._remember(model=True)

    def _log(self, kind: str, items: Sequence[tuple[Any, ...]]) -> None:
        from mlflow import entities

        entity = {"metrics": entities.Metric, "params": entities.Param, "tags": entities.RunTag}[kind]
        for first in range(0, len(items), BATCH[kind]):
            batch: dict[str, Any] = {kind: [entity(*item) for item in items[first : first + BATCH[kind]]]}
            self.client.log_batch(self.id, **batch)

    def _remember(self, **sent: object) -> None:
        self.note.update(sent)
        write_json(self.run.folder / "mlflow.json", self.note)


def _usage(run: Run) -> list[Point]:
    """The machine's usage during the run, under the names of MLflow's system metrics."""
    return [
        (f"system/{key}", value, line["time"], step)
        for step, line in enumerate(read_lines(run.folder / "system.jsonl"))
        for key, value in line.items()
        if key != "time"
    ]


def _modified(path: Path) -> int | None:
    """Modification time of a file, in ms; None if there is no such file."""
    return int(path.stat().st_mtime * 1000) if path.exists() else None


def _read_note(path: Path) -> Note:
    """What mlflow.json says was sent; nothing if there is none, or it cannot be read: sending twice does no harm."""
    try:
        return Note.model_validate_json(read_file(path))
    except FileNotFoundError:
        pass
    except (ValueError, Unreadable) as error:
        log.warning("%s cannot be read, so the run is sent again (%s).", path, why(error))
    return Note()
