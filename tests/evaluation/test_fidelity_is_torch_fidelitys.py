"""FD, KID, IS, precision and recall equal torch-fidelity's, in features whose weights are known."""

import hashlib
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import timm
import torch
from inception import untrained_inception
from PIL import Image
from scipy.linalg import sqrtm
from torch.utils.data import Dataset as View
from torch_fidelity import calculate_metrics, metric_prc

from harness.core.dataset import TensorView
from harness.core.errors import UserError
from harness.datasets.digits import Digits
from harness.evaluation.features import digits as features
from harness.evaluation.features import features as extractor
from harness.evaluation.features import shipped
from harness.evaluation.metric import Subject
from harness.evaluation.metrics import fidelity
from harness.evaluation.metrics.fidelity import Fidelity, closed_radii, in_closed_balls
from harness.evaluation.reference import reference
from harness.evaluation.samples import Samples, Sampling, eight_bits
from harness.runs.compose import compose
from harness.runs.run import Run

CPU = torch.device("cpu")
METRIC = Fidelity(features="digits", kid_subset=50, seed=4)
KEYS = {
    "fid": ("fd_digits", "frechet_inception_distance"),
    "kid": ("kid_digits", "kernel_inception_distance_mean"),
    "isc": ("is_digits", "inception_score_mean"),
    "precision": ("precision_digits", "precision"),
    "recall": ("recall_digits", "recall"),
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The cache folder, where reference statistics are computed once for this module."""
    return tmp_path_factory.mktemp("cache")


WEIGHTS = Path(features.__file__).with_suffix(".safetensors")


@pytest.fixture(scope="module")
def noisy(digits):
    """Test digits with noise: close to the training split, but not part of it."""
    images, _ = digits.tensors("test")
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return eight_bits((images + 0.1 * noise).clamp(0, 1))


class Given(Samples):
    """Samples in memory, cut into chunks."""

    def __init__(self, images, chunk):
        super().__init__(None, Sampling(count=len(images), chunk=chunk, seed=0))
        object.__setattr__(self, "images", images)

    def __getitem__(self, chunk):
        return self.images[list(self.indices(chunk))]


def scores(samples, data, cache, metric=METRIC, chunk=100, weights=None):
    subject = Subject(None, data, CPU, Given(samples, chunk), cache, weights or {})
    parts = [metric.score(subject, shard) for shard in range(metric.shards(subject))]
    return metric.merge(subject, parts).scores


def figures(samples, data, cache, **how):
    return {key: score.value for key, score in scores(samples, data, cache, **how).items()}


class Files(View):
    """PNGs of a folder, read as torch-fidelity does, but in grey: its own dataset converts every image to RGB."""

    def __init__(self, folder):
        self.paths = sorted(folder.iterdir())

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return torch.from_numpy(np.array(Image.open(self.paths[index])))[None]


def saved(images, folder):
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image[0].numpy()).save(folder / f"{i:05d}.png")
    return Files(folder)


def test_the_figures_are_those_of_direct_calls_on_stored_images(digits, cache, noisy, tmp_path):
    ours = figures(noisy, digits, cache)
    samples = saved(noisy, tmp_path / "samples")
    reference = saved(eight_bits(digits.tensors("train")[0]), tmp_path / "reference")
    for switch in ({"fid": True}, {"kid": True, "kid_subset_size": 50}, {"isc": True}, {"prc": True}):
        theirs = calculate_metrics(
            input1=samples,
            input2=reference,
            feature_extractor=features.NAME,
            feature_extractor_weights_path=str(WEIGHTS),
            rng_seed=4,
            cuda=False,
            save_cpu_ram=True,
            cache=False,
            verbose=False,
            **switch,
        )
        for name in ("precision", "recall") if "prc" in switch else list(switch)[:1]:
            key, theirs_key = KEYS[name]
            scale = 1000 if name == "kid" else 1
            assert ours[key] == pytest.approx(scale * theirs[theirs_key], rel=1e-6), name


def test_the_frechet_distance_is_its_formula(digits, cache, noisy):
    extractor = features.DigitsFeatures("x", ["features"], feature_extractor_weights_path=str(WEIGHTS))
    reference = eight_bits(digits.tensors("train")[0])
    a, b = (extractor(images)[0].double().numpy() for images in (noisy, reference))
    of_a, of_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    distance = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(of_a + of_b - 2 * sqrtm(of_a @ of_b).real)
    assert figures(noisy, digits, cache)["fd_digits"] == pytest.approx(distance, rel=1e-4)


def test_the_training_split_is_at_no_distance_from_itself_and_scrambled_pixels_are_far(digits, cache, noisy):
    train = eight_bits(digits.tensors("train")[0])
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    scrambled = train.flatten(1)[:, order].view(train.shape)
    same, near, far = (figures(images, digits, cache) for images in (train, noisy, scrambled))
    assert abs(same["fd_digits"]) < 1e-3
    assert abs(same["kid_digits"]) < 5 < far["kid_digits"] / 5
    assert (same["precision_digits"], same["recall_digits"]) == (1, 1)
    assert same["fd_digits"] < near["fd_digits"] < far["fd_digits"] / 5
    assert same["is_digits"] > 8, "all ten classes must be recognised"
    assert far["precision_digits"] < 0.5 < near["precision_digits"]


def test_one_image_over_and_over_is_precise_but_recalls_nothing(digits, cache):
    train = eight_bits(digits.tensors("train")[0])
    collapsed = figures(train[:1].repeat(200, 1, 1, 1), digits, cache)
    assert collapsed["precision_digits"] == 1, "precision and recall must not be swapped"
    assert collapsed["recall_digits"] < 0.05


def test_precision_and_recall_are_those_of_torch_fidelity_beyond_one_block_of_distances(monkeypatch):
    monkeypatch.setattr(fidelity, "ROWS", 500)
    monkeypatch.setattr(metric_prc.calc_cdist_part, "__defaults__", (500,))
    generator = torch.Generator().manual_seed(0)
    samples, images = (torch.randn(n, 8, generator=generator) for n in (1_100, 1_200))
    theirs = metric_prc.prc_features_to_metric(samples, images, save_cpu_ram=True, verbose=False, prc_batch_size=500)
    precise = in_closed_balls(samples, images, closed_radii(images)).float().mean()
    recalled = in_closed_balls(images, samples, closed_radii(samples)).float().mean()
    assert 0.1 < theirs["recall"] < 0.99 and 0.1 < theirs["precision"] < 0.99
    assert (float(precise), float(recalled)) == (theirs["precision"], theirs["recall"])


def test_radii_of_the_reference_are_computed_once_and_kept(digits, noisy, tmp_path, monkeypatch):
    sizes, made = [], fidelity.closed_radii
    monkeypatch.setattr(fidelity, "closed_radii", lambda points: sizes.append(len(points)) or made(points))
    first, again = (figures(noisy, digits, tmp_path) for _ in range(2))
    assert first == again
    assert sizes == [1257, len(noisy), len(noisy)], "those of samples are each run's own"
    (kept,) = tmp_path.glob("reference-*-radii.safetensors")
    kept.write_bytes(b"damaged")
    assert figures(noisy, digits, tmp_path) == first


def test_the_shipped_extractor_is_the_one_that_protocols_name():
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert shipped("digits") == digest == features.Digits.published
    (config,) = compose(["data=digits"])
    before = Run(config).protocol.hash
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.evaluation.features.shipped", lambda name, data: "0" * 64 if name == "digits" else "")
        assert Run(config).protocol.hash != before
    assert shipped("inception") == shipped("../digits") == ""


def test_a_damaged_extractor_is_refused_and_another_is_told(digits, tmp_path, monkeypatch):
    content = bytearray(WEIGHTS.read_bytes())
    content[-1] ^= 1
    damaged = tmp_path / "digits.safetensors"
    damaged.write_bytes(content)
    given = extractor("digits", digits, str(damaged), CPU, tmp_path)
    assert given.warnings == [f"the extractor's weights (sha256 {given.digest[:12]}) are not the published ones"]
    assert extractor("digits", digits, None, CPU, tmp_path).warnings == []
    monkeypatch.setattr(features.Digits, "file", lambda self, data, cache: damaged)
    with pytest.raises(UserError, match=f"{damaged} is damaged"):
        extractor("digits", digits, None, CPU, tmp_path)


def test_the_extractor_tells_unseen_digits_apart(digits):
    extractor = features.DigitsFeatures("x", ["logits"], feature_extractor_weights_path=str(WEIGHTS))
    images, labels = digits.tensors("test")
    (logits,) = extractor(eight_bits(images))
    assert (logits.argmax(1) == labels).float().mean() > 0.95


def test_the_figures_do_not_depend_on_the_chunks(digits, cache, noisy):
    whole, pieces = (figures(noisy, digits, cache, chunk=chunk) for chunk in (360, 7))
    assert pieces == pytest.approx(whole, rel=1e-4)


def test_the_interval_of_the_distance_covers_that_of_other_samples(digits, cache):
    images = eight_bits(digits.tensors("train")[0])
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(1))
    halves = [scores(images[half], digits, cache)["fd_digits"] for half in order.split(500)[:2]]
    assert halves[0].low <= halves[1].value <= halves[0].high
    assert halves[0].low < halves[0].value < halves[0].high


# Inception with its real architecture and random weights


class Coloured(Digits):
    """Three digits of each class of a split, in colour."""

    @property
    def shape(self):
        return 3, 8, 8

    def tensors(self, split):
        images, labels = Digits().tensors(split)
        chosen = torch.cat([(labels == c).nonzero()[:3, 0] for c in range(10)])
        tint = torch.tensor([1.0, 0.7, 0.4]).view(1, 3, 1, 1)
        return images[chosen] * tint, labels[chosen]

    def view(self, split, branch):
        return TensorView(*self.tensors(split))

    def labels(self, split):
        return self.tensors(split)[1]


class Shifted(Digits):
    """Digits with a different preprocessing."""

    def view(self, split, branch):
        return Digits(pad=1).view(split, "labelled")


INCEPTION = Fidelity(features="inception", kid_subset=20, seed=4)


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inception")
    net = untrained_inception(folder)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    net.train()(eight_bits(Coloured().tensors("train")[0][::3]))  # so that features of images differ
    torch.save(net.state_dict(), folder / "random.pth")
    return folder / "random.pth"


def of_low_rank(matrix, eigvals=np.linalg.eigvals):
    """Return the nonzero eigenvalues of a matrix of rank at most 64, from its restriction to a basis of its image."""
    basis, _ = np.linalg.qr(matrix @ np.random.default_rng(0).normal(size=(len(matrix), 64)))
    return eigvals(basis.T @ matrix @ basis)


def test_pytorch_fids_resize_is_torchs_and_reaches_the_same_net(inception):
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = []
    for name in ("pytorchfid", "inception"):
        net = extractor(name, Coloured(), str(inception), CPU, inception.parent)
        net.net.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        net(images)
    resized = torch.nn.functional.interpolate(images / 255, (299, 299), mode="bilinear", align_corners=False)
    torch.testing.assert_close(seen[0], 2 * resized - 1, atol=1e-5, rtol=0)
    assert (seen[0] - seen[1]).abs().max() > 0.1, "Inception's own resize is TensorFlow's"


def test_inceptions_figures_are_those_of_a_direct_call_on_folders_of_pngs(inception, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "harness.evaluation.metrics.fidelity.jackknife", lambda n, statistic, value: (value, value)
    )  # it takes a minute
    monkeypatch.setattr(np.linalg, "eigvals", of_low_rank)  # both sides need eigenvalues: 2,048 features, 30 images
    data = Coloured()
    samples = eight_bits((data.tensors("test")[0] * 0.9 + 0.05).clamp(0, 1))
    ours = scores(samples, data, tmp_path / "cache", INCEPTION, len(samples), {"inception": str(inception)})
    for name, images in (("samples", samples), ("reference", eight_bits(data.tensors("train")[0]))):
        (tmp_path / name).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / name / f"{i:05d}.png")
    theirs = calculate_metrics(
        input1=str(tmp_path / "samples"),
        input2=str(tmp_path / "reference"),
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(inception),
        fid=True,
        isc=True,
        kid=True,
        prc=True,
        kid_subset_size=20,
        rng_seed=4,
        cuda=False,
        save_cpu_ram=True,
        cache=False,
        verbose=False,
    )
    named = {key.removesuffix("_digits").replace("fd", "fid"): name for key, name in KEYS.values()}
    for key, name in named.items():
        scale = 1000 if key == "kid" else 1
        assert ours[key].value == pytest.approx(scale * theirs[name], rel=1e-6), key
    assert ours["fid"].value > 0
    assert "not the published ones" in ours["fid"].warnings[0]


def test_the_interval_does_not_take_classes_for_chance(digits, cache):
    images, labels = digits.tensors("train")
    turns = torch.stack([(labels == c).nonzero()[:100, 0] for c in range(10)], 1).flatten()  # in the order of samples
    score = scores(eight_bits(images[turns]), digits, cache)["fd_digits"]
    assert score.high < 3 * score.value, "leaving out a class would change the distance by many times that"


def test_a_statistics_file_takes_the_references_place(digits, cache, noisy, tmp_path):
    subject = Subject(None, digits, CPU, None, cache)
    of_train = reference(subject.features("digits"), digits, "train", cache)
    np.savez(tmp_path / "train.npz", **of_train.statistics)
    against_file = Fidelity(features="digits", kid_subset=50, seed=4, statistics=str(tmp_path / "train.npz"))
    ours, theirs = scores(noisy, digits, cache, against_file), scores(noisy, digits, cache)
    assert ours["fd_digits_given"].value == theirs["fd_digits"].value
    assert "train.npz" in ours["fd_digits_given"].title, "another reference must have its own column"
    assert set(ours) == {"fd_digits_given", "is_digits"}, "the other metrics need images"


def test_a_reference_is_computed_once_and_named_by_all_that_it_depends_on(digits, cache, tmp_path):
    features = Subject(None, digits, CPU, None, cache).features("digits")

    def made():
        return {path.name for path in tmp_path.glob("reference-*")}

    first = reference(features, digits, "train", tmp_path)
    (one,) = made()
    time = (tmp_path / one).stat().st_mtime_ns
    again = reference(features, digits, "train", tmp_path)
    assert (tmp_path / one).stat().st_mtime_ns == time
    assert np.array_equal(first.statistics["sigma"], again.statistics["sigma"])
    reference(features, digits, "validation", tmp_path)
    reference(features, digits, "train", tmp_path, of_class=3)
    reference(features, Digits(validation=181), "train", tmp_path)  # one image less
    reference(features, Shifted(), "train", tmp_path)  # another preprocessing
    digest, features.digest = features.digest, "0" * 64
    reference(features, digits, "train", tmp_path)  # other weights
    features.digest = digest
    assert len(made()) == 6


def test_a_reference_summed_up_in_batches_is_that_of_all_images_at_once(digits, cache, tmp_path, monkeypatch):
    features = Subject(None, digits, CPU, None, cache).features("digits")
    whole = reference(features, digits, "train", tmp_path / "whole")
    monkeypatch.setattr("harness.evaluation.reference.KEPT", 200)
    summed = reference(features, digits, "train", tmp_path / "summed")
    assert np.allclose(summed.statistics["mu"], whole.statistics["mu"], atol=1e-6)
    assert np.allclose(summed.statistics["sigma"], whole.statistics["sigma"], atol=1e-6)
    assert len(summed.features) <= 200
    assert torch.equal(summed.features[0], whole.features[0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "64 features"),
        ({"mu": np.zeros(64)}, "mu and sigma"),
        ({"mu": np.full(64, np.nan), "sigma": np.eye(64)}, "not finite"),
    ],
)
def test_statistics_that_do_not_fit_are_refused_beforehand(digits, tmp_path, content, reason):
    np.savez(tmp_path / "wrong.npz", **content)
    metric = Fidelity(features="digits", kid_subset=50, seed=4, statistics=str(tmp_path / "wrong.npz"))
    with pytest.raises(UserError, match=reason):
        metric.ready(digits, Sampling(count=100, chunk=10, seed=0), {})


def test_fewer_samples_than_features_are_refused_beforehand(digits):
    with pytest.raises(UserError, match="At least 65"):
        METRIC.ready(digits, Sampling(count=64, chunk=10, seed=0), {})
    METRIC.ready(digits, Sampling(count=65, chunk=10, seed=0), {})


def test_weights_that_cannot_be_had_are_explained(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def away(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr("torch.hub.download_url_to_file", away)
    with pytest.raises(UserError, match=r"extractors\.inception=PATH"):
        INCEPTION.ready(digits, Sampling(count=3000, chunk=10, seed=0), {})
    with pytest.raises(UserError, match="there is no such file"):
        INCEPTION.ready(digits, Sampling(count=3000, chunk=10, seed=0), {"inception": "nowhere.pth"})


def test_a_weights_file_that_is_none_is_explained_and_executes_nothing(digits, tmp_path):
    class Touching:
        def __reduce__(self):
            return (Path(tmp_path / "executed").touch, ())

    torch.save({"fc.weight": Touching()}, tmp_path / "evil.pth")
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "other.pth")
    for name in ("evil.pth", "other.pth"):
        with pytest.raises(UserError, match="does not hold weights"):
            Subject(None, digits, CPU, None, tmp_path, {"inception": str(tmp_path / name)}).features("inception")
    assert not (tmp_path / "executed").exists()


def test_dinov2_is_asked_for_its_class_token(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "harness.evaluation.features.dinov2.DINOv2Features.architecture", "vit_small_patch14_dinov2"
    )  # a small net of the same family
    net = timm.create_model("vit_small_patch14_dinov2", num_classes=0)
    torch.save(net.state_dict(), tmp_path / "random.pth")
    features = Subject(None, digits, CPU, None, tmp_path, {"dinov2": str(tmp_path / "random.pth")}).features("dinov2")
    images = eight_bits(digits.tensors("test")[0][:2])
    layers = features(images)
    assert layers["features"].shape == (2, 384)
    resized = torch.nn.functional.interpolate(images.expand(-1, 3, -1, -1).float() / 255, 518, mode="bicubic")
    assert torch.isfinite(net.eval()(resized)).all()
    assert not torch.equal(layers["features"][0], layers["features"][1])


def test_features_of_two_weights_are_never_mixed(digits, cache, noisy):
    subject = Subject(None, digits, CPU, Given(noisy, 100), cache)
    parts = [METRIC.score(subject, shard) for shard in range(METRIC.shards(subject))]
    parts[1]["extractor"] = "another"
    with pytest.raises(UserError, match=r"other weights .* remove parts/"):
        METRIC.merge(subject, parts)


def test_a_file_that_is_given_where_none_is_known_is_doubtful(digits, cache, noisy, monkeypatch):
    monkeypatch.setattr(features.Digits, "published", "")
    own, given = scores(noisy, digits, cache), scores(noisy, digits, cache, weights={"digits": str(WEIGHTS)})
    assert own["fd_digits"].value == given["fd_digits"].value
    assert own["fd_digits"].warnings == []
    assert "origin cannot be checked" in given["fd_digits"].warnings[0]
