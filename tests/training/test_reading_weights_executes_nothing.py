"""Damaged files, and pickles that contain code, are refused without executing them; such pickles can be converted."""

import io
import os
import pickle
import subprocess
import sys
import types
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from harness.core.errors import UserError
from harness.training import weights

WEIGHTS = {"conv1.weight": torch.arange(60.0).view(4, 15), "fc.bias": torch.ones(3)}


def packed(content, kind):
    if kind == "safetensors":
        return save(content)
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=kind == "zip")
    return stream.getvalue()


def refusal(call, *arguments):
    with pytest.raises(UserError) as refused:
        call(*arguments)
    return str(refused.value)


class Touches:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_code_in_a_file_is_not_executed(kind, tmp_path):
    path, marker = tmp_path / "some file.pth", tmp_path / "marker"
    path.write_bytes(packed({"model": WEIGHTS, "args": Touches(marker)}, kind))
    message = refusal(weights.read, path)
    assert not marker.exists()
    assert f"python -m harness convert '{path}' '{tmp_path / 'some file.safetensors'}'" in message
    assert (
        "asks for posix.mkdir" in message and "If you trust its source" in message and "executes that code" in message
    )


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_bare_pickle_is_no_checkpoint(protocol, tmp_path):
    (tmp_path / "file").write_bytes(pickle.dumps(Touches(tmp_path / "marker"), protocol))
    assert "holds no weights: it begins with" in refusal(weights.read, tmp_path / "file")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_a_conversion_on_the_command_line_is_read_as_the_original_would_be(kind, tmp_path):
    old, new = tmp_path / "old.pth", tmp_path / "new.safetensors"
    trained = WEIGHTS | {"tied.bias": WEIGHTS["fc.bias"]}  # two names for the same memory
    wrapped = {f"module.{name}": tensor for name, tensor in trained.items()}
    old.write_bytes(packed({"model": wrapped, "args": Namespace(lr=0.1)}, kind))
    assert "argparse.Namespace" in refusal(weights.read, old)
    hidden = (
        "import sys; sys.modules['hydra'] = None; sys.argv.insert(1, 'convert'); "
        "from harness.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", hidden, old, new], text=True, capture_output=True)
    assert done.returncode == 0 and "Executing the code" in done.stderr, done.stderr
    read = weights.read(new)
    assert set(read) == set(trained) and all(torch.equal(read[name], trained[name]) for name in trained)


def test_the_module_is_the_command(tmp_path):
    command = [sys.executable, "-m", "harness.foreign", tmp_path / "none.pth", tmp_path / "new.safetensors"]
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 2 and "No such file" in done.stderr and "Traceback" not in done.stderr


def test_a_conversion_overwrites_nothing(tmp_path):
    (tmp_path / "old").write_bytes(packed({"a": Touches(tmp_path / "marker")}, "zip"))
    (tmp_path / "new").write_text("mine")
    assert "exists already" in refusal(weights.convert, tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new").read_text() == "mine" and not (tmp_path / "marker").exists()


def test_a_conversion_of_safetensors_is_not_needed(tmp_path):
    (tmp_path / "old").write_bytes(save(WEIGHTS))
    assert "give it as it is" in refusal(weights.convert, tmp_path / "old", tmp_path / "new")


def test_a_whole_module_converts_to_its_weights(tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "old")
    weights.convert(tmp_path / "old", tmp_path / "new")
    assert set(weights.read(tmp_path / "new")) == {"weight", "bias"}


def of_a_module(name, monkeypatch):
    """Return the bytes of a checkpoint that needs a function of a module which is then removed."""
    module = types.ModuleType(name)
    module.made = lambda: Namespace()
    module.made.__module__, module.made.__qualname__ = name, "made"
    monkeypatch.setitem(sys.modules, name, module)
    content = packed(WEIGHTS | {"args": type("Made", (), {"__reduce__": lambda _: (module.made, ())})()}, "legacy")
    monkeypatch.setitem(sys.modules, name, None)
    return content


def test_a_package_that_a_conversion_lacks_is_named(tmp_path, monkeypatch):
    (tmp_path / "old").write_bytes(of_a_module("dill", monkeypatch))
    assert "asks for dill.made" in refusal(weights.read, tmp_path / "old")
    assert "pip install dill" in refusal(weights.convert, tmp_path / "old", tmp_path / "new")


def test_a_conversion_reads_with_dill_where_it_is_installed(tmp_path, monkeypatch):
    used = []

    class Unpickler(pickle.Unpickler):
        def __init__(self, *arguments, **options):
            used.append(True)
            super().__init__(*arguments, **options)

    dill = types.SimpleNamespace(Unpickler=Unpickler, load=pickle.load, __name__="dill", __version__="0.3.8")
    monkeypatch.setitem(sys.modules, "dill", dill)
    torch.save(WEIGHTS, tmp_path / "old")
    weights.convert(tmp_path / "old", tmp_path / "new")
    assert used and set(weights.read(tmp_path / "new")) == set(WEIGHTS)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@given(data=st.data())
def test_a_file_cut_short_is_refused(kind, data, tmp_path_factory):
    whole = packed(WEIGHTS, kind)
    path = tmp_path_factory.mktemp("cut") / "file"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    message = refusal(weights.read, path)
    assert str(path) in message and "python -m" not in message


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_file_is_refused_or_read(kind, place, flip, tmp_path_factory):
    content = bytearray(packed(WEIGHTS, kind))
    content[int(place * len(content))] ^= flip
    path = tmp_path_factory.mktemp("damaged") / "file"
    path.write_bytes(content)
    try:
        read = weights.read(path)
    except UserError:
        return
    if kind == "zip":  # the only format with checksums
        assert all(torch.equal(read[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html><html>", "it begins with b'<!DOCTYPE html"),
        (b"version https://git-lfs.github.com/spec/v1", "it begins with b'version https://git-lfs"),
        (b"PK\x03\x04 but no archive", "damaged, cut short, or something else"),
        (packed({"epoch": 3, "metrics": {}}, "zip"), "holds no weights, only epoch, metrics."),
        (packed([1, 2], "zip"), "holds no weights but one list."),
        (packed({}, "legacy"), "holds no weights, only an empty dict."),
        (packed({"module.n_averaged": torch.ones(1)}, "zip"), "holds no weights, only module.n_averaged."),
    ],
)
def test_what_holds_no_weights_is_said_to(content, message, tmp_path):
    (tmp_path / "file").write_bytes(content)
    assert message in refusal(weights.read, tmp_path / "file")


def test_folders_and_missing_files_are_named(tmp_path):
    assert refusal(weights.read, tmp_path) == f"{tmp_path} cannot be read: Is a directory."
    assert refusal(weights.read, Path("nowhere")) == "nowhere cannot be read: No such file or directory."
