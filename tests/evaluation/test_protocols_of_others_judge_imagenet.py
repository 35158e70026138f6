"""The protocols of DAT's and ADM's authors judge a small ImageNet in the real format, against the right images."""

import numpy as np
import on_disk
import pytest
import torch

import harness
from harness.core.dataset import gather
from harness.core.errors import UserError
from harness.core.tensors import save_tensors
from harness.datasets.imagenet import ImageNet
from harness.evaluation.evaluator import PHASES
from harness.evaluation.features.inception import Inception
from harness.evaluation.features.spatial import Spatial
from harness.evaluation.metrics.fidelity import Fidelity
from harness.evaluation.reference import frechet
from harness.evaluation.samples import Sampling
from harness.models.timm import timm_net
from harness.runs import build

CPU, SIZE = torch.device("cpu"), 32
ADM = "VIRTUAL_imagenet256_labeled.npz"


class Projected:
    """Features and logits in place of Inception's: random projections of the pixels."""

    source = type("Source", (Inception,), {"dims": 4, "ready": lambda *_: None})()
    digest, warnings = "0" * 64, ()

    def __call__(self, images):
        weights = torch.randn(3 * SIZE**2, 10, generator=torch.Generator().manual_seed(0))
        rows = images.flatten(1).float() @ weights / 1000
        return {"features": rows[:, : self.source.dims].contiguous(), "logits": rows[:, 4:].contiguous()}

    def require(self, parts):
        assert {part["extractor"] for part in parts} == {self.digest}


class ProjectedSpatial(Projected):
    """The same in place of Inception's spatial features: fewer, and other statistics of the file."""

    source = type("Source", (Spatial,), {"dims": 3, "ready": lambda *_: None})()
    digest = "1" * 64


STAND_INS = {"spatial": ProjectedSpatial()}
"""The stand-ins by extractor; `Projected` for the others."""


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A folder with ImageNet, Open Images, weights, and ADM's reference file, whose images are those of training."""
    folder = tmp_path_factory.mktemp("disk")
    on_disk.imagenet(folder / "data" / "imagenet", 5, 8)
    on_disk.openimages(folder / "data" / "openimages")
    torch.manual_seed(0)
    save_tensors(folder / "net.safetensors", timm_net(5, 3, "resnet18", {}).state_dict())
    write_reference(folder, slice(None, None, 2))
    return folder


def train_images(folder, view="reference"):
    data = ImageNet(root=str(folder / "data" / "imagenet"), size=SIZE, validation=5)
    images, _ = gather(data.view("train", view), [(i, 0) for i in range(data.length("train"))])
    return (images * 255).to(torch.uint8)


def write_reference(folder, rows):
    """Write a file in ADM's format: statistics of all training images, and some of the images."""
    images = train_images(folder)
    features = Projected()(images)["features"].double().numpy()
    (folder / "data" / "adm").mkdir(exist_ok=True)
    content = {"arr_0": images[rows].permute(0, 2, 3, 1).numpy(), "mu": features.mean(0)}
    spatial = {"mu_s": features[:, :3].mean(0), "sigma_s": np.cov(features[:, :3], rowvar=False)}
    np.savez(folder / "data" / "adm" / ADM, sigma=np.cov(features, rowvar=False), **content, **spatial)


@pytest.fixture
def judged(disk, monkeypatch, tmp_path):
    """A function that judges weights under a protocol, with fewer images, and gives the evaluation and its result."""
    monkeypatch.chdir(disk)
    monkeypatch.setattr("harness.evaluation.metric.features", lambda name, *_: STAND_INS.get(name, Projected()))

    def judge(protocol, *more):
        small = [f"data.size={SIZE}", "data.validation=5", "outliers.reserve=4", "model=timm", "method.sampler.steps=2"]
        small += [f"protocol.{key}" for key in ("samples.count=12", "samples.chunk=6", "selection.count=8", *more)]
        weights = [f"init={disk / 'net.safetensors'}", "init_accuracy=0", f"runs={tmp_path}"]
        (run,) = harness.plan("method=pretrained", "data=imagenet256", f"protocol={protocol}", *small, *weights)
        evaluation = build.evaluation(run, CPU)
        figures = evaluation.canaries()
        for phase in PHASES:
            for piece in evaluation.pieces(phase):
                piece.do()
            evaluation.finish(phase)
        return evaluation, figures, evaluation.merge()[0]

    return judge


def samples_of(evaluation):
    return torch.cat([Projected()(images)["features"] for images in evaluation.subject.samples])


def test_dat_s_protocol_compares_with_the_central_squares_and_chooses_on_them(judged, disk):
    few = ("ood.count=4", "ood.pgd.steps=1", "robustness.count=2", "robustness.eps=0.001")
    evaluation, _, result = judged("dat-paper-imagenet", *(f"metrics.{size}" for size in few))
    features = Projected()(train_images(disk))["features"].double()
    of_train = {"mu": features.mean(0).float().numpy(), "sigma": np.cov(features.numpy(), rowvar=False)}
    assert result.scores["fid"].value == pytest.approx(frechet(samples_of(evaluation), of_train), rel=1e-4)
    assert {"fid", "kid", "precision", "recall", "is", "ece"} <= result.scores.keys()
    assert any("L2 0.001" in score.title for score in result.scores.values())
    (choice,) = evaluation.selections().values()
    assert choice.split == ["train"] and "also reported" in choice.by and choice.by.endswith("of 1, 2, 3, 4, 5")


def test_adm_s_protocol_compares_with_the_statistics_and_images_of_its_file(judged, disk):
    evaluation, figures, result = judged("adm")
    assert list(figures.values())[-1] < 1e-3, "train against train"
    file = np.load(disk / "data" / "adm" / ADM)
    found = samples_of(evaluation)
    distance = frechet(found, {"mu": file["mu"].astype(np.float32), "sigma": file["sigma"]})
    spatial = frechet(found[:, :3], {"mu": file["mu_s"].astype(np.float32), "sigma": file["sigma_s"]})
    scores = {key: score for key, score in result.scores.items() if key.endswith("_given")}
    assert scores.keys() == {"fid_given", "sfid_given", "kid_given", "precision_given", "recall_given"}
    assert scores["sfid_given"].value == pytest.approx(spatial, rel=1e-4)
    assert scores["fid_given"].value == pytest.approx(distance, rel=1e-4)
    assert scores["recall_given"].n == len(file["arr_0"]) == 18, "against the images of the file"
    assert all(ADM in score.title for score in scores.values())
    (choice,) = evaluation.selections().values()
    assert choice.split == ["validation"] and "not reported" in choice.by


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "There is no reference file at .*protocol.metrics.fidelity.root=FOLDER"),
        ({}, "an .npz with mu and sigma is needed"),
        ({"arr_0": np.zeros((3, 64, 64, 3), np.uint8)}, "images of 64 x 64 pixels, and the data's have 32 x 32"),
        ({"arr_0": np.zeros((3, 32, 32, 3))}, "in uint8, but is float64"),
    ],
)
def test_a_reference_file_that_does_not_fit_is_refused_before_training(tmp_path, monkeypatch, content, reason):
    monkeypatch.setattr("harness.evaluation.metrics.fidelity.source", lambda _: Projected.source)
    if content is not None:
        statistics = {"mu": np.zeros(4), "sigma": np.eye(4)} if content else {}
        np.savez(tmp_path / ADM, **content, **statistics)
    metric = Fidelity(features="inception", kid_subset=2, seed=0, statistics=ADM, root=str(tmp_path))
    with pytest.raises(UserError, match=reason):
        metric.ready(ImageNet(size=SIZE), Sampling(count=10, chunk=10, seed=0), {})
