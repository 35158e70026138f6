"""A weights file of an extractor is data, whatever its name ends in: a pickle planted in it executes nothing."""

import contextlib
import io
import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.core.errors import UserError
from harness.evaluation import features as extractors
from harness.evaluation.features import features
from harness.evaluation.features.digits import Digits

CPU = torch.device("cpu")
FOLDER = Path(extractors.__file__).parent
NAMES = sorted({path.stem for path in FOLDER.glob("*.py")} - {"__init__", "classifier", "download", "vit"})
ENDINGS = ("", ".safetensors", ".SAFETENSORS", ".pth", ".pt", ".bin", ".ckpt", ".zip")


class Touches:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def saved(content, zipped):
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def both(trap):
    """Return safetensors that are valid, and a pickle too.

    To unpickle them: the header's length, 0x554, is BINSTRING of the next 5 bytes, which end where the tensor's name
    begins; V takes the rest of the header, up to a newline, for a text; the tensor's bytes are the code.
    """
    code = pickle.dumps(trap, 0)
    header = json.dumps({"V": {"dtype": "U8", "shape": [len(code)], "data_offsets": [0, len(code)]}}).encode()
    return struct.pack("<Q", 0x554) + header.ljust(0x553) + b"\n" + code


def plant(trap):
    """Return the contents of files with a trap, by the way in which they hold it."""
    content = {"fc.weight": trap}
    pickles = {f"pickle {protocol}": pickle.dumps(content, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}
    return pickles | {"zip": saved(content, True), "legacy": saved(content, False), "both": both(content)}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", NAMES)
def test_a_planted_pickle_executes_nothing_under_any_ending(name, digits, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "harness.evaluation.features.dinov2.DINOv2Features.architecture", "vit_small_patch14_dinov2"
    )  # a small one
    monkeypatch.setattr("harness.evaluation.features.clip.CLIPFeatures.architecture", "vit_tiny_patch16_224")
    marker = tmp_path / "executed"
    for kind, content in plant(Touches(marker)).items():
        # What is valid safetensors reaches the net, which takes a second to build: there, one telling name is enough.
        for ending in ENDINGS if kind != "both" else (".safetensors",):
            path = tmp_path / f"weights{ending}"
            path.write_bytes(content)
            with pytest.raises(UserError, match="does not hold weights of the extractor"):
                features(name, digits, str(path), CPU, tmp_path)
            assert not marker.exists(), f"{kind} in {path.name}"


@pytest.mark.filterwarnings("ignore")
def test_the_traps_would_work(tmp_path):
    for kind, content in plant(Touches(tmp_path / "executed")).items():
        with contextlib.suppress(Exception):
            torch.load(io.BytesIO(content), weights_only=False)
        assert (tmp_path / "executed").exists(), kind
        (tmp_path / "executed").rmdir()
    (tmp_path / "both").write_bytes(both(Touches(tmp_path / "executed")))
    assert list(load_file(tmp_path / "both")) == ["V"]


def test_every_extractor_is_tried():
    assert {"clip", "digits", "dinov2", "inception", "pytorchfid", "spatial"} <= set(NAMES)


@pytest.mark.parametrize("ending", ["", ".pth", ".safetensors", ".zip"])
def test_weights_are_read_in_every_format_under_any_ending(ending, digits, tmp_path):
    own, images = Digits().file(digits, tmp_path), torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8)
    expected = features("digits", digits, None, CPU, tmp_path)(images)["features"]
    for zipped in (None, True, False):
        path = tmp_path / f"weights{ending}"
        weights = load_file(own)
        save_file(weights, path) if zipped is None else path.write_bytes(saved(weights, zipped))
        assert torch.equal(features("digits", digits, str(path), CPU, tmp_path)(images)["features"], expected)
