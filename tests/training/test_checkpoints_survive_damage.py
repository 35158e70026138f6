"""The newest intact checkpoint is used, loading executes nothing, and a file is written completely or not at all."""

import hashlib
import logging
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.files import atomic_write, read_json, read_lines, write_json
from harness.core.tensors import load_tensors, save_tensors
from harness.training import checkpoint

CPU = torch.device("cpu")


def load_newest(folder, device):
    path = checkpoint.newest(folder)
    return None if path is None else checkpoint.load(path)


def content(step):
    return {"step": step, "weights": torch.full((50,), float(step)), "none": None, "nested": {"a": [1, 2.5]}}


def fill(folder, *steps):
    for step in steps:
        checkpoint.save(folder, step, content(step))
    return checkpoint.list_checkpoints(folder)


def test_what_was_saved_is_loaded(tmp_path):
    fill(tmp_path, 7)
    loaded = load_newest(tmp_path, CPU)
    assert torch.equal(loaded.pop("weights"), content(7)["weights"])
    assert loaded == {"step": 7, "none": None, "nested": {"a": [1, 2.5]}}


def test_the_newest_wins_by_step_and_only_two_are_kept(tmp_path):
    paths = fill(tmp_path, 1, 2, 9, 10, 100)
    assert [int(path.name.split("-")[0]) for path in paths] == [10, 100]
    assert sorted(tmp_path.iterdir()) == paths
    assert load_newest(tmp_path, CPU)["step"] == 100


def test_an_empty_or_absent_folder_gives_none(tmp_path):
    assert load_newest(tmp_path, CPU) is None
    assert load_newest(tmp_path / "absent", CPU) is None


def flip(data, bit):
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path_factory, caplog, data):
    folder = tmp_path_factory.mktemp("checkpoints")
    _, newest = fill(folder, 1, 2)
    whole = newest.read_bytes()
    if data.draw(st.booleans(), "truncated"):
        newest.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    else:
        newest.write_bytes(flip(whole, data.draw(st.integers(0, 8 * len(whole) - 1))))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert load_newest(folder, CPU)["step"] == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert newest.name in caplog.text


def test_damage_to_all_gives_none_and_names_each(tmp_path, caplog):
    paths = fill(tmp_path, 1, 2)
    for path in paths:
        path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert load_newest(tmp_path, CPU) is None
    assert all(path.name in caplog.text for path in paths)


def test_a_damaged_file_does_not_count_among_the_two_kept(tmp_path):
    _, newest = fill(tmp_path, 1, 2)
    newest.write_bytes(b"")
    assert load_newest(tmp_path, CPU)["step"] == 1
    fill(tmp_path, 2)
    checkpoint.list_checkpoints(tmp_path)[-1].write_bytes(b"")
    assert load_newest(tmp_path, CPU)["step"] == 1


def test_leftover_temporary_files_are_ignored(tmp_path):
    fill(tmp_path, 1)
    with atomic_write(tmp_path / "0000000002-0123456789abcdef.pt") as temporary:
        temporary.write_bytes(b"half of it")
        (tmp_path / f"{temporary.name[:-3]}x.pt").write_bytes(b"what a killed process left")
        assert len(checkpoint.list_checkpoints(tmp_path)) == 1
        temporary.write_bytes(b"")
    (tmp_path / "0000000002-0123456789abcdef.pt").unlink()
    assert len(list(tmp_path.iterdir())) == 2
    assert load_newest(tmp_path, CPU)["step"] == 1


class Trap:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_loading_executes_nothing_even_where_the_checksum_holds(tmp_path):
    sprung = tmp_path / "sprung"
    folder = tmp_path / "checkpoints"
    checkpoint.save(folder, 1, {"step": 1, "trap": Trap(sprung)})
    (path,) = checkpoint.list_checkpoints(folder)
    with pytest.raises(pickle.UnpicklingError):
        load_newest(folder, CPU)
    assert not sprung.exists()
    torch.load(path, weights_only=False)
    assert sprung.exists(), "the trap itself must work"


def test_the_checksum_is_that_of_the_whole_file(tmp_path):
    (path,) = fill(tmp_path, 3)
    assert path.name == f"0000000003-{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}.pt"


def test_tensors_come_back_as_they_were(tmp_path):
    tensors = {"a": torch.rand(3, 2).t(), "n": torch.tensor(5), "empty": torch.zeros(0)}
    save_tensors(tmp_path / "t.safetensors", tensors)
    loaded = load_tensors(tmp_path / "t.safetensors", CPU)
    assert set(loaded) == set(tensors)
    for name, value in tensors.items():
        assert loaded[name].dtype == value.dtype
        assert torch.equal(loaded[name], value)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_file_whole(tmp_path, error):
    path = tmp_path / "deep" / "file.txt"
    write_json(path, {"old": True})
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("half of the new")
        raise error
    assert read_json(path) == {"old": True}
    assert list(path.parent.iterdir()) == [path], "no temporary file must remain"


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_last_line_cut_short_is_left_out(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_lines(path) == [{"step": 1}, {"step": 2}]
    assert read_lines(tmp_path / "absent.jsonl") == []
