"""A run's model for MLflow to store, load and serve: weights and a config, neither of which contains code."""

from pathlib import Path

import numpy as np
import torch

from harness.core.energy import EnergyModel
from harness.core.reading import read_file
from harness.core.tensors import load_tensors
from harness.runs.build import untrained
from harness.runs.run import Run, load


class Served:
    """MLflow's model interface: predicts logits, N x K, of float images in [0, 1], N x C x H x W."""

    def __init__(self, model: EnergyModel) -> None:
        self.model = model

    def predict(self, images: np.ndarray, params: dict[str, object] | None = None) -> np.ndarray:
        """The logits of images."""
        with torch.no_grad():
            return self.model(torch.as_tensor(np.asarray(images, np.float32))).numpy()

    def get_raw_model(self) -> EnergyModel:
        """The model itself, for `mlflow.pyfunc.load_model(…).get_raw_model()`."""
        return self.model


def _load_pyfunc(path: str) -> Served:  # pyright: ignore[reportUnusedFunction] - MLflow calls it by this name
    model = untrained(load(Path(path)))
    model.load_state_dict(load_tensors(Path(path, "weights.safetensors"), torch.device("cpu")))
    return Served(model.eval())


def weights(run: Run) -> Path | None:
    """The file of a run's final weights; None if there is none."""
    path = run.stage_runs[-1].folder / "weights.safetensors" if run.stage_runs else None
    return path if path and path.exists() else None


def describe(run: Run, folder: Path) -> None:
    """Write MLflow's model folder into an empty folder, except data/weights.safetensors, which the caller adds."""
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    images = TensorSpec(np.dtype(np.float32), (-1, *run.data.shape))
    logits = TensorSpec(np.dtype(np.float32), (-1, len(run.data.classes)))
    described = Model(signature=ModelSignature(Schema([images]), Schema([logits])))
    pyfunc.add_to_model(described, loader_module=__name__, data="data")
    described.save(folder / "MLmodel")
    (folder / "data").mkdir()
    (folder / "data" / "config.yaml").write_bytes(read_file(run.folder / "config.yaml"))
