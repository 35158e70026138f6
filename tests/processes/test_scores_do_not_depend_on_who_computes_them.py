"""The record is the same with one, two or three processes, any micro-batch size, and a kill in any chunk."""

import shutil
import time

import pytest
import torch
from commandline import harness, quick, start

from harness.runs import record
from harness.runs.build import evaluators
from harness.runs.compose import compose
from harness.runs.run import Run

CHUNKS = ("protocol.metrics.robustness.chunk=5", "protocol.metrics.robustness.eps=0.3", "protocol.samples.chunk=15")
"""Four chunks of attacks, five of samples; at this radius some images are robust and some are not."""

ARGUMENTS = [*quick("standard", steps=150), *CHUNKS]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which the run is trained and evaluated by one process."""
    folder = tmp_path_factory.mktemp("alone")
    status, _, err = harness(*ARGUMENTS, folder=folder)
    assert status == 0, err
    return folder


def found(folder):
    (path,) = folder.glob("runs/*/record.json")
    return record.read(path).result()


def untouched(trained, folder):
    """A folder with only the trained stage and extractor."""
    for part in ("stages", "cache"):
        shutil.copytree(trained / "runs" / part, folder / "runs" / part)
    return folder


def test_the_record_is_that_of_one_process_and_whole_batches(trained, tmp_path):
    how = ("evaluators=3", "microbatch=16")
    status, out, err = harness(*ARGUMENTS, *how, folder=untouched(trained, tmp_path))
    assert status == 0, err
    assert "train" not in out
    expected = found(trained)
    assert 0 < expected["outcomes"]["l2_0.3/square"].count("1") < 20, "some must be robust and some must not"
    ours = found(tmp_path)
    assert ours["outcomes"] == expected["outcomes"]
    # A batch of another size may add numbers in another order, in the last bit, on some CPUs.
    scores, others = ({key: score["value"] for key, score in side["scores"].items()} for side in (ours, expected))
    assert scores == pytest.approx(others, rel=1e-3)
    assert {**ours, "scores": 0} == {**expected, "scores": 0}


def test_the_record_is_the_same_after_a_kill_in_each_chunk(trained, tmp_path):
    arguments, kills = [*ARGUMENTS, "evaluators=2"], 0
    untouched(trained, tmp_path)
    for chunks in range(1, 5):
        process = start(*arguments, folder=tmp_path)
        while process.poll() is None and len(list(tmp_path.glob("runs/*/parts/robustness/0*.json"))) < chunks:
            time.sleep(0.005)
        process.kill()
        process.communicate()
        kills += process.returncode == -9
    assert kills >= 3
    status, out, err = harness(*arguments, folder=tmp_path)
    assert status == 0, out + err
    assert found(tmp_path) == found(trained)


def test_a_fault_in_one_process_ends_the_run_with_its_own_words(trained, tmp_path):
    folder = untouched(trained, tmp_path)
    process = start(*ARGUMENTS, "evaluators=2", folder=folder)
    while process.poll() is None and not list(folder.glob("runs/*/samples/0*.npy")):
        time.sleep(0.005)
    (weights,) = folder.glob("runs/stages/*/weights.safetensors")
    weights.write_bytes(b"broken")  # the processes of the next phase will read this
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    (failure,) = folder.glob("runs/*/failure.md")
    assert "safetensor" in failure.read_text().lower()


def test_each_gpu_gets_a_process_where_one_run_goes_at_a_time(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    cuda, cpu = torch.device("cuda"), torch.device("cpu")

    def number(device, *overrides):
        (config,) = compose([*overrides])
        return evaluators(Run(config), device)

    assert number(cuda) == 4
    assert number(cpu) == number(cuda, "device=cuda:1") == number(cuda, "launcher=processes") == 1
    assert number(cuda, "evaluators=3", "launcher=processes") == number(cpu, "evaluators=3") == 3
