"""features=own: a classifier of the dataset itself, trained once per dataset, always to the same weights."""

import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch
from torch import nn

from harness.core.dataset import Dataset, TensorView
from harness.core.errors import UserError
from harness.datasets.digits import Digits
from harness.evaluation.features import features, missing
from harness.evaluation.features import own as module
from harness.evaluation.samples import eight_bits

CPU = torch.device("cpu")


class Wide(Dataset):
    """Colour pictures of an odd shape, in three classes by their brightest channel."""

    classes = ("red", "green", "blue")
    shape = (3, 9, 17)

    def __init__(self, images=150):
        self.known = torch.arange(images) % 3
        self.images = 0.5 * torch.rand(images, *self.shape, generator=torch.Generator().manual_seed(0))
        self.images[torch.arange(images), self.known] += 0.4

    def view(self, split, branch):
        return TensorView(self.images, self.known)

    def labels(self, split):
        return self.known


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(module, "FEWEST", 30)
    monkeypatch.setattr(module, "MOST", 30)


@pytest.fixture
def trainings(monkeypatch):
    """The datasets that a classifier was trained on."""
    found, train = [], module.train

    def counted(data):
        found.append(data)
        return train(data)

    monkeypatch.setattr(module, "train", counted)
    return found


def test_a_dataset_is_trained_on_once_and_another_anew(digits, trainings, tmp_path):
    first = features("own", digits, None, CPU, tmp_path)
    again = features("own", Digits(), None, CPU, tmp_path)
    other = features("own", Digits(split_seed=1), None, CPU, tmp_path)
    assert first.digest == again.digest != other.digest and len(trainings) == 2
    assert len(list(tmp_path.glob("own-*.safetensors"))) == 2


def test_two_at_a_time_train_once(tmp_path, monkeypatch):
    calls, begun = [], Event()

    def slow(data):
        calls.append(data)
        begun.wait(0.3)
        return nn.Linear(1, 1)

    monkeypatch.setattr(module, "train", slow)
    with ThreadPoolExecutor(2) as threads:
        paths = list(threads.map(lambda data: module.in_cache(data, tmp_path), [Wide(), Wide()]))
    assert len(calls) == 1 and paths[0] == paths[1]


def test_weights_do_not_depend_on_what_was_drawn_before_and_change_no_later_draw():
    torch.manual_seed(1)
    first = module.train(Wide()).state_dict()
    torch.manual_seed(2)
    second = module.train(Wide()).state_dict()
    drawn = torch.rand(3)
    torch.manual_seed(2)
    assert torch.equal(drawn, torch.rand(3))
    assert all(torch.equal(first[name], tensor) for name, tensor in second.items())


def test_damaged_weights_are_trained_again(tmp_path, trainings, caplog):
    digest = features("own", Wide(), None, CPU, tmp_path).digest
    (path,) = tmp_path.glob("own-*.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert features("own", Wide(), None, CPU, tmp_path).digest == digest
    assert len(trainings) == 2 and "trained again" in caplog.text


@pytest.mark.parametrize("data", [Wide(), Digits()], ids=["colour, 9 x 17", "grey, 8 x 8"])
def test_features_and_logits_are_those_of_the_classifier_in_evaluation_mode(data, tmp_path):
    classifier = module.train(data)
    assert not classifier.training
    images = eight_bits(data.tensors("train")[0])[:70]
    layers = features("own", data, None, CPU, tmp_path)(images)
    with torch.no_grad():
        expected = classifier.features(images / 255)
    torch.testing.assert_close(layers["features"], expected)
    torch.testing.assert_close(layers["logits"], classifier.head(expected))
    assert layers["features"].shape == (70, 64) and layers["logits"].shape == (70, len(data.classes))


def test_no_feature_is_dead_and_the_classes_are_told_apart(tmp_path):
    data = Wide()
    layers = features("own", data, None, CPU, tmp_path)(eight_bits(data.images))
    assert layers["features"].std(0).min() > 0.2 and layers["features"].std(0).max() < 5
    assert (layers["logits"].argmax(1) == data.known).float().mean() > 0.9


def test_large_images_are_reduced_first():
    classifier = module.Classifier(3, 2, 2).eval()
    images = torch.rand(2, 3, 150, 130)
    small = nn.functional.adaptive_avg_pool2d(images, 64)
    assert torch.equal(classifier.features(images), classifier.features(small))
    assert [module.halvings(side) for side in (4, 7, 8, 28, 32, 64)] == [0, 0, 1, 2, 3, 4]


def test_figures_of_a_dataset_without_shipped_weights_say_with_which_they_compare(digits, tmp_path):
    (text,), (other,) = (features("own", data, None, CPU, tmp_path).warnings for data in (digits, Digits(split_seed=1)))
    assert "compare only" in text and "compare only" in other
    assert text != other, "another training split has another classifier"


@pytest.mark.parametrize(("classes", "images"), [(("all",), 150), (("red", "green", "blue"), 100)])
def test_data_that_no_classifier_learns_from_are_refused(classes, images, tmp_path, monkeypatch):
    monkeypatch.setattr(Wide, "classes", classes)
    with pytest.raises(UserError, match="2 classes and 128"):
        features("own", Wide(images), None, CPU, tmp_path)


def test_nothing_of_it_is_missing_before_it_is_trained():
    assert missing("own", None) == []
