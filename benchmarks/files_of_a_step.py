"""The files that one AT-JEM joint step runs through, fetching its batch, logging and watching included.

    python benchmarks/files_of_a_step.py

Prints the files, and how many count: those of the dataset, the outliers and the net, and core/random, shard, timing,
device and distributed do not.
"""

import sys
import tempfile
from pathlib import Path
from types import FrameType

import harness
from harness.runs import build
from harness.training import loop
from harness.training.loop import Progress, train

ROOT = Path(harness.__file__).parents[1]
APART = (
    "datasets/",
    "harness/models/",
    *(f"harness/core/{name}.py" for name in ["random", "shard", "timing", "device", "distributed"]),
)


def main() -> None:
    """Train some steps, listening to the calls between the first two looks of a watch.

    There are enough steps that the monitors of training, which are no part of a step, do not measure after the second.
    """
    (run,) = harness.plan("method=atjem", "threads=1", "method.joint.training.epochs=1.1")
    joint = run.stage_runs[-1]
    files = {str(Path(loop.__file__).relative_to(ROOT))}  # the loop calls the step, and is not called by it

    def listen(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(ROOT)):
            files.add(str(Path(frame.f_code.co_filename).relative_to(ROOT)))

    def watch(progress: Progress) -> None:
        # The second step is the one that is listened to: it begins when the first was shown, and ends when it is.
        sys.setprofile(listen if progress.step == 1 else None)

    with tempfile.TemporaryDirectory() as folder:
        device = build.prepare(run.config)
        model, inputs = build.initial(run), build.stage_inputs(run, joint.name, joint.stage, device)
        train(joint.stage, model, inputs, Path(folder), 1e9, watch)
    files.discard(str(Path(__file__).resolve().relative_to(ROOT)))
    counted = sorted(file for file in files if not file.startswith(APART) and ".venv" not in file)
    print(*counted, f"{len(counted)} files count, of {len(files)}", sep="\n")


if __name__ == "__main__":
    main()
