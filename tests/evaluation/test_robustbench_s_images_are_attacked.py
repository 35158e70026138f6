"""RobustBench's 5,000 images are found by their names in a folder of ImageNet's format, and no others are attacked."""

import hashlib

import numpy as np
import pytest
import torch
from on_disk import _picture, _save
from torch import nn

from harness.core.energy import EnergyModel
from harness.core.errors import UserError
from harness.datasets.imagenet import ImageNet
from harness.evaluation.evaluator import metrics
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.robustbench import LIST, RobustBench
from harness.evaluation.reference import evenly
from harness.runs.compose import compose

UPSTREAM = "d4121626d07722a0126c35b1563042e46a546f1a05ce705f2cdc635896d58574"
ATTACK = {"split": "test", "norm": "Linf", "eps": 4 / 255, "targets": 9, "chunk": 4, "seed": 0, "count": 6}
IDS = LIST.read_text().split()


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """A folder of ImageNet with six of the listed images, and two others in the class of each."""
    folder, rng = tmp_path_factory.mktemp("imagenet"), np.random.default_rng(0)
    for place in evenly(len(IDS), 6):
        wnid, name = IDS[place].split("/")
        _save(folder / "train" / wnid / f"{wnid}_1.JPEG", _picture(rng), "RGB")
        for file in (name, "ILSVRC2012_val_00000000.JPEG", "ILSVRC2012_val_00099999.JPEG"):
            _save(folder / "val" / wnid / file, _picture(rng), "RGB")
    return ImageNet(root=str(folder), size=16, validation=0, check=False)


def test_the_list_is_robustbench_s():
    assert hashlib.sha256(LIST.read_bytes()).hexdigest() == UPSTREAM
    assert len(set(IDS)) == 5000


def test_the_listed_images_are_attacked_and_no_others(imagenet):
    model = EnergyModel(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16**2, len(imagenet.classes))), [0.5], [0.5]).eval()
    subject = Subject(model.requires_grad_(False), imagenet, torch.device("cpu"), samples=None, cache=None)
    metric = RobustBench(**ATTACK)
    listing = imagenet.view("test", "plain").listing
    found = [listing.path(place).relative_to(listing.folder).as_posix() for place in metric.indices(subject)]
    assert found == sorted(IDS[place] for place in evenly(len(IDS), 6))

    result = metric.merge(subject, [metric.score(subject, shard) for shard in range(metric.shards(subject))])
    (key,) = metric.keys(imagenet)
    assert [*result.scores] == [key] == ["robust_accuracy/linf_0.0156863"]
    assert result.scores[key].n == 6 and result.scores[key].title == "Robust accuracy (Linf 4/255)"


def test_the_protocol_attacks_the_whole_list():
    (config,) = compose(["data=imagenet256", "protocol=robustbench-imagenet"])
    metric = metrics(config.protocol)["robustness"]
    assert isinstance(metric, RobustBench) and metric.count == 5000 and metric._radius == "4/255"


def test_a_missing_image_is_named_before_training(imagenet):
    metric = RobustBench(**ATTACK | {"count": 12})
    with pytest.raises(UserError, match=r"6 of 12 images of RobustBench's list are not in .*/val, such as n\d+/ILSVRC"):
        metric.ready(imagenet, None, {})


def test_other_data_and_splits_are_refused(digits):
    with pytest.raises(UserError, match="which these data are not"):
        RobustBench(**ATTACK).ready(digits, None, {})
    with pytest.raises(ValueError, match="split must be test"):
        RobustBench(**ATTACK | {"split": "validation"})
