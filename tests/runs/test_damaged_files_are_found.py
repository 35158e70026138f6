"""A file that is cut short, emptied, zeroed or changed by one bit is found: made again, or refused by its path."""

import shutil
from pathlib import Path

import pytest
from commandline import quick

import harness
from harness.core.errors import UserError
from harness.core.files import read_checked, read_lines, write_checked
from harness.runs import record
from harness.runs.failure import RunFailed
from harness.runs.run import Run

WORDS = [*quick("at", 8), "~protocol.metrics.ood", "~protocol.metrics.counterfactuals"]

MADE_AGAIN = (
    "*/parts/fidelity/00000.json", "*/parts/fidelity/00000.npz", "*/parts/robustness/00001.json",
    "*/samples/0000000.json", "*/samples/0000035.npy", "*/selection.json", "*/started",
    "cache/reference-*.safetensors",
)  # fmt: skip
REFUSED = ("stages/*/weights.safetensors", "stages/*/state.safetensors", "stages/*/done.json")


def flipped(content: bytes) -> bytes:
    """One bit changed, in the middle."""
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


DAMAGES = {
    "cut short": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeroed": lambda content: bytes(len(content)),
    "one bit": flipped,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run that is done, and its record."""
    folder = tmp_path_factory.mktemp("made")
    (run,) = harness.plan(*WORDS, f"runs={folder}/runs")
    return folder, harness.run(run)


@pytest.fixture
def unfinished(made, tmp_path) -> Run:
    """A copy of the run without its record, so that the same command goes on from its pieces."""
    shutil.copytree(made[0] / "runs", tmp_path / "runs")
    (run,) = harness.plan(*WORDS, f"runs={tmp_path}/runs")
    (run.folder / "record.json").unlink()
    return run


def damage(run: Run, pattern: str, how: str) -> Path:
    path = min(run.root.glob(pattern))
    path.write_bytes(DAMAGES[how](path.read_bytes()))
    return path


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("pattern", MADE_AGAIN)
def test_what_can_be_made_again_is(pattern, how, made, unfinished, caplog):
    path = damage(unfinished, pattern, how)
    if pattern == "*/started" and how == "one bit":
        path.write_bytes(b"\x80\n")
    assert harness.run(unfinished).result() == made[1].result()
    if pattern != "*/started":
        assert str(path) in caplog.text and "is damaged" in caplog.text


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("pattern", REFUSED)
def test_what_cannot_be_made_again_is_refused_by_its_path(pattern, how, unfinished):
    path = damage(unfinished, pattern, how)
    with pytest.raises((UserError, RunFailed)) as refusal:
        harness.run(unfinished)
    assert str(path) in str(refusal.value) and "redo=true" in str(refusal.value)
    assert "Traceback" not in str(refusal.value)


def test_redo_trains_a_damaged_stage_again(made, unfinished):
    path = damage(unfinished, "stages/*/weights.safetensors", "one bit")
    (run,) = harness.plan(*WORDS, "redo=true", f"runs={unfinished.root}")
    assert harness.run(run).result() == made[1].result()
    assert len(list(path.parent.glob("before/1/weights.safetensors"))) == 1


def test_one_bit_anywhere_in_the_weights_is_found(unfinished):
    (path,) = unfinished.root.glob("stages/*/weights.safetensors")
    content = path.read_bytes()
    for place in range(0, len(content), len(content) // 60):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(changed)
        with pytest.raises(UserError, match=r"weights\.safetensors is damaged"):
            harness.load(unfinished.folder)


def test_a_done_run_says_nothing_of_pieces_that_it_no_longer_needs(made, tmp_path):
    shutil.copytree(made[0] / "runs", tmp_path / "runs")
    (run,) = harness.plan(*WORDS, f"runs={tmp_path}/runs")
    shutil.rmtree(run.folder / "parts")
    assert harness.run(run) == record.read(run.folder / "record.json")


def test_a_damaged_line_of_a_curve_costs_that_line(tmp_path, caplog):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"st\x00\x00\n{"step": 3}\n')
    assert read_lines(tmp_path / "metrics.jsonl") == [{"step": 1}, {"step": 3}]
    assert "Line 2" in caplog.text


def test_files_of_older_versions_hold_no_digest_and_are_read(tmp_path):
    (tmp_path / "done.json").write_text('{"steps": 3}\n')
    assert read_checked(tmp_path / "done.json") == {"steps": 3}
    write_checked(tmp_path / "new.json", {"steps": 3})
    assert read_checked(tmp_path / "new.json") == {"steps": 3}
