"""The own features that are shipped are whole, classify their dataset, and are part of the names of its protocols."""

import shutil
from pathlib import Path

import pytest
import torch

from harness.core.errors import UserError
from harness.core.files import sha256
from harness.datasets.fashion_mnist import FashionMNIST
from harness.evaluation.features import Features, features, own, shipped
from harness.evaluation.samples import eight_bits
from harness.runs.compose import compose
from harness.runs.run import Run

CPU = torch.device("cpu")
FILES = sorted(Path(own.__file__).parent.glob("own-*.safetensors"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_file_has_the_sha256_that_stands_beside_it(path):
    assert shipped("own", path.stem.partition("-")[2]) == sha256(path)
    assert path.stat().st_size < 1_000_000


def test_fashion_mnist_is_never_trained_on(tmp_path, monkeypatch):
    monkeypatch.delattr(own, "train")
    data = FashionMNIST()
    found = features("own", data, None, CPU, tmp_path)
    assert found.warnings == [] and list(tmp_path.iterdir()) == []


def test_a_changed_bit_is_found(tmp_path):
    for part in FILES[0].parent.glob(f"{FILES[0].stem}.*"):
        shutil.copy(part, tmp_path)
    path = tmp_path / FILES[0].name
    assert Features(own.Own(), path, CPU)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        Features(own.Own(), path, CPU)


@pytest.mark.parametrize("protocol", ["fashion", "fashion_light"])
def test_protocols_are_named_by_the_weights_of_their_data(protocol, monkeypatch):
    (config,) = compose([f"protocol={protocol}", "data=fashion_mnist"])
    before = Run(config).protocol.hash
    monkeypatch.setattr("harness.evaluation.features.shipped", lambda name, data: f"{name} of {data}")
    assert Run(config).protocol.hash != before


def test_they_classify_real_images_and_no_feature_is_dead(tmp_path):
    data = FashionMNIST()
    try:
        data.ready()
    except UserError as error:
        pytest.skip(str(error))
    images, labels = data.tensors("test")
    layers = features("own", data, None, CPU, tmp_path)(eight_bits(images))
    assert 100 * (layers["logits"].argmax(1) == labels).float().mean() >= 92
    assert layers["features"].std(0).min() > 0.5 and layers["features"].std(0).max() < 2
