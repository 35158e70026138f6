"""`prune` shows what a folder of runs holds, removes what is asked for and nothing else, and leaves workers alone."""

import pytest
from recorded import finish, make, robust

from harness.runs.folder import lock


@pytest.fixture
def run(tmp_path):
    """A finished run with a file of each kind, and a stage that no run uses."""
    run = finish(make(tmp_path), robust(40))
    stage = run.stage_runs[0].folder
    sizes = {
        run.folder / "samples" / "0000000.npy": 10,
        run.folder / "parts" / "accuracy" / "00000.json": 20,
        run.root / "cache" / "reference.safetensors": 30,
        stage / "checkpoints" / "1.pt": 40,
        stage / "state.safetensors": 2_000_000,
        stage / "weights.safetensors": 50,
        stage / "done.json": 2,
        run.root / "stages" / "joint-digits-s0-00000000" / "weights.safetensors": 60,
    }
    for path, size in sizes.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    return run


def left(run):
    return {path.relative_to(run.root).as_posix() for path in run.root.rglob("*") if path.is_file()}


def test_it_shows_everything_and_removes_nothing_by_itself(run, type_):
    before = left(run)
    status, out, _ = type_("prune")
    assert status == 0 and left(run) == before
    for kind, size in {"samples": "10 B", "parts": "20 B", "caches": "30 B", "checkpoints": "40 B"}.items():
        assert any(kind in line and f" {size} " in line for line in out.splitlines())
    assert any("buffers" in line and " 2 MB " in line for line in out.splitlines())
    assert any("orphans" in line and " 60 B " in line for line in out.splitlines())


@pytest.mark.parametrize(
    ("kind", "gone"),
    [
        ("samples", "{run}/samples/0000000.npy"),
        ("parts", "{run}/parts/accuracy/00000.json"),
        ("caches", "cache/reference.safetensors"),
        ("checkpoints", "stages/{stage}/checkpoints/1.pt"),
        ("buffers", "stages/{stage}/state.safetensors"),
        ("orphans", "stages/joint-digits-s0-00000000/weights.safetensors"),
    ],
)
def test_one_kind_is_removed(run, type_, kind, gone):
    before = left(run)
    status, out, err = type_("prune", f"remove={kind}")
    assert status == 0 and "Freed: " in out, err
    locks = {name for name in left(run) if name.endswith("/lock")}
    assert before - left(run) == {gone.format(run=run.name, stage=run.stage_runs[0].folder.name)}
    assert left(run) - before <= locks


def test_what_a_process_works_on_stays(run, type_):
    before = left(run)
    with lock(run.folder), lock(run.stage_runs[0].folder):
        status, _, _ = type_("prune", "remove=samples,parts,checkpoints,buffers")
    assert status == 0 and before <= left(run)


def test_no_stage_is_an_orphan_while_a_run_cannot_be_read(run, type_):
    other = run.root / "at-digits-s1-00000000"
    other.mkdir()
    (other / "config.yaml").write_text("a: [")
    status, out, err = type_("prune", "remove=orphans")
    assert status == 3 and "no stage counts as an orphan" in out and other.name in err
    assert "stages/joint-digits-s0-00000000/weights.safetensors" in left(run)


def test_a_link_is_neither_followed_nor_counted(run, type_, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("x")
    (run.root / "stages" / "linked").symlink_to(tmp_path / "elsewhere")
    (run.folder / "kept").symlink_to(tmp_path / "elsewhere")
    assert type_("prune", "remove=orphans,parts")[0] == 0
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_an_unknown_kind_is_explained(run, type_):
    status, _, err = type_("prune", "remove=weights")
    assert status == 2 and "checkpoints, samples, parts, buffers, caches, orphans" in err
