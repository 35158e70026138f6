"""Every method composes on grey images of 28 pixels and on a folder of pictures, and takes two steps of each stage."""

import on_disk
import pytest
from untrained import UNTRAINED

import harness
from harness.core.files import read_json
from harness.core.registry import names
from harness.datasets import fashion_mnist
from harness.runs.compose import compose
from harness.runs.execute import train_stage
from harness.runs.progress import Watch

METHODS = [name for name in names("method") if name not in UNTRAINED]
SETS = {"fashion_mnist": ["data.validation=20"], "folder": ["data.validation=0.2"]}


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A folder with little of both, the originals as long as these tests last."""
    folder, patch = tmp_path_factory.mktemp("disk"), pytest.MonkeyPatch()
    on_disk.idx(folder / "data", fashion_mnist.FILES, patch)
    on_disk.pictures(folder / "data" / "folder")
    yield folder
    patch.undo()


def shortened(part, path="method"):
    """Yield overrides that limit each walk to two steps, each buffer to a few images, and each stage to two steps."""
    for key, value in part.items():
        if key == "training":
            yield from (f"{path}.training.batch=2", f"{path}.training.lr=1e-6", f"{path}.training.epochs=EPOCHS")
            yield from [f"{path}.training.real_batch=1"] * bool(value["real_batch"])
        elif isinstance(value, dict):
            yield from shortened(value, f"{path}.{key}")
        elif key == "steps":
            yield f"{path}.steps={min(value, 2)}"
        elif key == "buffer":
            yield f"{path}.buffer=30"


@pytest.mark.parametrize("data", SETS)
@pytest.mark.parametrize("method", METHODS)
def test_two_steps_of_every_stage(method, data, disk, monkeypatch):
    monkeypatch.chdir(disk)
    words = [f"method={method}", f"data={data}", *SETS[data], "outliers.count=50"]
    (config,) = compose(words)
    images = harness.plan(*words, *few(config, 1))[0].data.length("train")
    (run,) = harness.plan(*words, *few(config, 4 / images))
    for training in run.stage_runs:
        train_stage(run, training, Watch())
        assert read_json(training.folder / "done.json")["steps"] == 2


def few(config, epochs):
    return [word.replace("EPOCHS", str(epochs)) for word in shortened(config.method)]
