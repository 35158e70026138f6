"""With launcher=processes each run sees one GPU, that with the fewest jobs.

The jobs are real; the GPUs are names.
"""

import os
import subprocess
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.launch import processes
from harness.launch.jobs import Job
from harness.launch.processes import Processes, visible_gpus
from harness.launch.show import Show

WAIT = 'echo "${CUDA_VISIBLE_DEVICES-unset}" > "$0/seen"; until [ -e "$0/end" ]; do sleep 0.05; done'
"""What a job does: write what it sees, and go on until it is told to end."""


class Work:
    """The work of a job, with the folder of its run."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return partial, (subprocess.check_call, ["sh", "-c", WAIT, self.folder])


class Sweep(Show):
    """Jobs that end in a given order, and the devices that they saw."""

    def __init__(self, folder, devices, ends=()):
        self.folders = [folder / str(number) for number in range(len(devices))]
        self.runs = [
            SimpleNamespace(root=folder, folder=place, config=SimpleNamespace(device=device))
            for place, device in zip(self.folders, devices, strict=True)
        ]
        self.order = [*ends, *(number for number in range(len(devices)) if number not in ends)]
        self.patience = time.monotonic() + 100
        for place in self.folders:
            place.mkdir()

    @contextmanager
    def states(self, runs):
        """Give the function that the launcher calls again and again."""
        yield self.refresh

    def refresh(self):
        """End the next job in the order, once all jobs that have room are at work."""
        assert time.monotonic() < self.patience
        at_work = [place for place in self.folders if (place / "seen").exists()]
        ended = [place for place in self.folders if (place / "end").exists()]
        if len(at_work) == min(len(ended) + self.parallel, len(self.folders)) and self.order:
            (self.folders[self.order.pop(0)] / "end").touch()

    def seen(self, parallel, monkeypatch):
        """Run the jobs, and return what each of them saw."""
        self.parallel, work = parallel, [Job(Work(folder), folder, []) for folder in self.folders]
        monkeypatch.setattr(processes, "freeze", lambda runs: runs)
        monkeypatch.setattr(processes, "snapshot", lambda root: root)
        monkeypatch.setattr(processes, "jobs", lambda runs, parent: work)
        Processes(parallel).run(self.runs, None, self)
        return [(place / "seen").read_text().strip() for place in self.folders]


@pytest.fixture
def gpus(monkeypatch):
    """A function that sets the number of GPUs, and the names that this process was given."""

    def gpus(number, names=None):
        monkeypatch.setattr("torch.cuda.device_count", lambda: number)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if names is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)

    return gpus


@pytest.mark.parametrize(
    ("number", "given", "names"),
    [
        (3, None, ["0", "1", "2"]),
        (2, "3, 1", ["3", "1"]),
        (2, "0,2,-1,1", ["0", "2"]),  # CUDA sees nothing behind an index that does not exist
        (2, "GPU-8f6d1a2b,GPU-0c9e", ["GPU-8f6d1a2b", "GPU-0c9e"]),
        (1, "MIG-41b36014-042a-5d3f", ["MIG-41b36014-042a-5d3f"]),
        (0, "", []),
        (0, None, []),
    ],
)
def test_gpus_have_the_names_that_the_process_was_given(gpus, number, given, names):
    gpus(number, given)
    assert visible_gpus() == names


def test_a_job_takes_the_gpu_that_another_left(gpus, monkeypatch, tmp_path):
    gpus(3, "GPU-a,GPU-b,GPU-c")
    sweep = Sweep(tmp_path, ["auto"] * 6, ends=[1, 0, 3])
    # Job 3 follows job 1 on b, job 4 follows job 0 on a, job 5 follows job 3 on b.
    assert sweep.seen(3, monkeypatch) == ["GPU-a", "GPU-b", "GPU-c", "GPU-b", "GPU-a", "GPU-b"]


def test_more_jobs_than_gpus_share_them_equally(gpus, monkeypatch, tmp_path):
    gpus(2)
    assert Sweep(tmp_path, ["cuda"] * 4).seen(4, monkeypatch) == ["0", "1", "0", "1"]


@pytest.mark.parametrize(("given", "seen"), [("2,3", "2,3"), (None, "unset")])
def test_a_run_that_names_its_device_sees_all(gpus, monkeypatch, tmp_path, given, seen):
    """Its index counts among all GPUs of the command; and on a machine without GPUs nothing changes either."""
    gpus(2, given)
    assert Sweep(tmp_path, ["cuda:1", "cpu"]).seen(2, monkeypatch) == [seen, seen]


def test_without_gpus_jobs_see_what_the_command_sees(gpus, monkeypatch, tmp_path):
    gpus(0)
    assert Sweep(tmp_path, ["auto"]).seen(1, monkeypatch) == ["unset"]
    assert "CUDA_VISIBLE_DEVICES" not in os.environ and Path(tmp_path, "jobs").is_dir()
