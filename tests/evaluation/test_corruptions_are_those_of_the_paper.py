"""Generated corruptions equal independent derivations, and depend on the seed and the image alone."""

import colorsys
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from harness.core.errors import Diverged, UserError
from harness.core.registry import find, make
from harness.evaluation.corrupt import CORRUPTIONS, GENERATED, SEVERITIES, corrupt, plasma
from harness.evaluation.metric import Subject
from harness.evaluation.metrics import corruptions as module

CPU = torch.device("cpu")
FIELDS = {"split": "test", "corruptions": ["impulse_noise", "contrast"], "constants": "cifar", "seed": 4}


def metric(**changes):
    return make(find("metric", "corruptions"), "protocol.metrics.corruptions", {**FIELDS, **changes})


def rng(seed=0):
    return np.random.default_rng(seed)


def picture(height, width, channels, seed=0):
    return rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def levels(x):
    """Bytes of an image in [0, 1], truncated as in the published files."""
    return np.uint8(255 * np.clip(x, 0, 1) + 1e-6)


@pytest.mark.parametrize("name", GENERATED)
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3), (9, 14, 3)])
def test_every_corruption_takes_images_of_any_size_and_gives_such_images(name, shape):
    for constants in ("cifar", "imagenet"):
        image = picture(*shape)
        before, found = image.copy(), corrupt(image, name, 5, constants, rng())
        assert found.shape == shape and found.dtype == np.uint8
        assert (found != image).any() and (image == before).all()


def test_all_fifteen_are_known_and_ten_are_generated():
    assert len(CORRUPTIONS) == 15 and len(GENERATED) == 10
    assert set(GENERATED) < set(CORRUPTIONS)
    assert all(len(strengths[of]) == 5 for _, strengths in GENERATED.values() for of in ("cifar", "imagenet"))


@pytest.mark.parametrize("name", GENERATED)
def test_a_higher_severity_changes_more(name):
    smooth = np.asarray(Image.fromarray(picture(6, 6, 3)).resize((64, 64), Image.Resampling.BICUBIC))
    distance = [
        np.abs(corrupt(smooth, name, severity, "imagenet", rng()).astype(float) - smooth).mean()
        for severity in SEVERITIES
    ]
    assert sorted(distance) == distance


def test_noise_has_the_published_strength():
    grey, n = np.full((200, 200, 1), 102, np.uint8), 40_000
    p = 102 / 255
    found = corrupt(grey, "gaussian_noise", 2, "cifar", rng()) / 255
    assert found.std() == pytest.approx(0.06, rel=0.02)
    assert found.mean() == pytest.approx(p - 0.5 / 255, abs=4 * 0.06 / n**0.5)  # truncation takes half a level
    found = corrupt(grey, "shot_noise", 5, "cifar", rng()) / 255
    assert found.std() == pytest.approx((p / 50) ** 0.5, rel=0.02)
    assert len(np.unique(found)) < 50, "counts of photons are whole"
    found = corrupt(grey, "impulse_noise", 5, "cifar", rng())
    for extreme in (0, 255):
        assert (found == extreme).mean() == pytest.approx(0.035, abs=4 * (0.035 / n) ** 0.5)
    assert ((found == 0) | (found == 255) | (found == 102)).all()


def mirrored(place, side):
    """An index beyond the border, reflected at the border's pixel."""
    place %= 2 * side - 2
    return min(place, 2 * side - 2 - place)


@pytest.mark.parametrize(("constants", "severity", "radius", "sd"), [("cifar", 3, 0.5, 0.6), ("cifar", 5, 1.5, 0.1)])
def test_defocus_is_a_convolution_with_a_smoothed_disk(constants, severity, radius, sd):
    image, reach = picture(7, 8, 1), 3
    offsets = range(-reach, reach + 1)
    disk = {(a, b): float(a * a + b * b <= radius**2) for a in offsets for b in offsets}
    bell = {a: np.exp(-a * a / (2 * sd * sd)) for a in (-1, 0, 1)}
    total = sum(bell.values()) ** 2 * sum(disk.values())
    kernel = {
        (a, b): sum(bell[i] * bell[j] * disk.get((a + i, b + j), 0) for i in bell for j in bell) / total
        for a, b in disk
    }
    by_hand = [
        [sum(k * image[mirrored(y + a, 7), mirrored(x + b, 8), 0] for (a, b), k in kernel.items()) for x in range(8)]
        for y in range(7)
    ]
    np.testing.assert_array_equal(
        corrupt(image, "defocus_blur", severity, constants, rng())[..., 0], levels(np.array(by_hand) / 255)
    )


def test_a_disk_of_the_window_s_size_loses_no_light():
    white = np.full((40, 40, 3), 200, np.uint8)
    assert set(np.unique(corrupt(white, "defocus_blur", 3, "imagenet", rng()))) <= {199, 200}


def test_zoom_is_the_mean_of_enlarged_centres():
    image = picture(20, 20, 3)
    x = torch.from_numpy(image / 255).permute(2, 0, 1)[None]
    parts = [x]
    for zoom in np.arange(1, 1.21, 0.01):
        side = int(np.ceil(20 / zoom))
        top = (20 - side) // 2
        large = round(side * zoom)
        centre = x[..., top : top + side, top : top + side]
        enlarged = interpolate(centre, (large, large), mode="bilinear", align_corners=True)
        cut = (large - 20) // 2
        parts.append(enlarged[..., cut : cut + 20, cut : cut + 20])
    expected = levels(torch.cat(parts).mean(0).permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(corrupt(image, "zoom_blur", 4, "cifar", rng()), expected)


def test_brightness_adds_to_the_value_in_hsv():
    image = picture(12, 12, 3)
    image[0, 0] = 0
    by_hand = np.zeros(image.shape)
    for place in np.ndindex(12, 12):
        hue, saturation, value = colorsys.rgb_to_hsv(*image[place] / 255)
        by_hand[place] = colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.2))
    np.testing.assert_array_equal(corrupt(image, "brightness", 4, "cifar", rng()), levels(by_hand))


def test_contrast_shrinks_towards_the_mean_of_each_channel():
    image = picture(9, 9, 3)
    mean = np.array([image[..., channel].mean() for channel in range(3)])
    expected = levels((0.4 * image + 0.6 * mean) / 255)
    np.testing.assert_array_equal(corrupt(image, "contrast", 3, "cifar", rng()), expected)


def test_pixels_are_means_of_boxes():
    image = picture(8, 8, 1)
    found = corrupt(image, "pixelate", 2, "imagenet", rng())[..., 0]
    means = image[..., 0].reshape(4, 2, 4, 2).mean((1, 3))
    assert np.abs(found - means.repeat(2, 0).repeat(2, 1)).max() <= 1  # each direction is rounded


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_that_of_the_quality(channels):
    image, stream = picture(16, 24, channels), BytesIO()
    Image.fromarray(image.squeeze()).save(stream, "JPEG", quality=58)
    found = corrupt(image, "jpeg_compression", 3, "cifar", rng())
    np.testing.assert_array_equal(found.squeeze(), np.asarray(Image.open(stream)))


class Noted:
    """A generator that keeps what it draws."""

    def __init__(self):
        self.drawn, self.widths = [], []

    def uniform(self, low, high, shape):
        self.widths.append((-low, high))
        self.drawn.append(rng(len(self.drawn)).uniform(low, high, shape))
        return self.drawn[-1]


def test_a_cloud_is_that_of_diamonds_and_squares():
    noted, side = Noted(), 8
    found = plasma(side, 2.5, noted)
    cloud, draws, step = np.zeros((side, side)), iter(noted.drawn), side
    while step > 1:
        half = step // 2
        for shift, neighbours in (
            ((half, half), [(a, b) for a in (-half, half) for b in (-half, half)]),
            ((0, half), [(-half, 0), (half, 0), (0, -half), (0, half)]),
            ((half, 0), [(-half, 0), (half, 0), (0, -half), (0, half)]),
        ):
            noise, old = next(draws), cloud.copy()
            for i, j in np.ndindex(noise.shape):
                y, x = shift[0] + i * step, shift[1] + j * step
                cloud[y, x] = sum(old[(y + a) % side, (x + b) % side] for a, b in neighbours) / 4 + noise[i, j]
        step = half
    np.testing.assert_allclose(found, (cloud - cloud.min()) / np.ptp(cloud))
    assert [width for _, width in noted.widths[::3]] == pytest.approx([1e4, 1600, 256])
    assert all(low == high for low, high in noted.widths)


def test_fog_adds_a_cloud_and_keeps_the_brightest_level_possible():
    image = picture(28, 28, 1)
    x, cloud = image / 255, plasma(32, 2.0, rng(3))[:28, :28, None]
    expected = levels((x + 1.0 * cloud) * x.max() / (x.max() + 1))
    np.testing.assert_array_equal(corrupt(image, "fog", 4, "cifar", rng(3)), expected)


@pytest.fixture
def subject(digits, digits_net):
    return Subject(digits_net().eval().requires_grad_(False), digits, CPU, samples=None, cache=None)


def parts(how, of):
    return [how.score(of, shard) for shard in range(how.shards(of))]


def test_accuracy_is_the_mean_over_corruptions_severities_and_images(subject, digits):
    images, labels = digits.tensors("test")
    pixels = (255 * images).round().byte().permute(0, 2, 3, 1).numpy()
    right = {}
    for severity in SEVERITIES:
        corrupted = np.stack([corrupt(image, "contrast", severity, "cifar", rng()) for image in pixels])
        x = torch.from_numpy(corrupted).permute(0, 3, 1, 2).float() / 255
        right[severity] = (subject.model(x).argmax(1) == labels).double()
    how = metric(corruptions=["contrast"])
    result = how.merge(subject, parts(how, subject))
    mean = torch.stack([*right.values()]).mean(0)
    score = result.scores["corrupted_accuracy"]
    assert score.value == pytest.approx(100 * float(mean.mean()))
    half = 1.967 * 100 * float(mean.std()) / len(labels) ** 0.5
    assert (score.high - score.low) / 2 == pytest.approx(half, rel=1e-3)
    assert (score.title, score.n, score.better) == ("Corrupted accuracy (1 of 15)", 360, "higher")
    assert result.scores["corrupted_accuracy/severity_2"].value == pytest.approx(100 * float(right[2].mean()))
    assert result.outcomes["corrupted/contrast/2"] == "".join(str(int(flag)) for flag in right[2])
    assert result.outcomes.keys() == {f"corrupted/contrast/{severity}" for severity in SEVERITIES}


def test_results_depend_on_neither_batches_nor_the_order_of_shards(subject, monkeypatch):
    how = metric()
    ours = parts(how, subject)
    monkeypatch.setattr(module, "BATCH", 77)
    assert [how.score(subject, shard) for shard in reversed(range(how.shards(subject)))] == ours[::-1]
    assert how.shards(subject) == 10
    images = how._images(subject, "impulse_noise", 3, [5, 9])
    assert (how._images(subject, "impulse_noise", 3, [9])[0] == images[1]).all()
    assert (metric(seed=5)._images(subject, "impulse_noise", 3, [9])[0] != images[1]).any()


def test_logits_that_are_not_finite_are_a_divergence(subject):
    def broken(x):
        return torch.full((len(x), 10), torch.nan)

    with pytest.raises(Diverged, match="impulse_noise are not finite"):
        metric().score(SimpleNamespace(model=broken, data=subject.data, device=CPU, images=subject.images), 0)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"corruptions": []}, "one or more names, each once"),
        ({"corruptions": ["fog", "fog"]}, "one or more names, each once"),
        ({"corruptions": ["frost", "fog"]}, r"frost: only published files have these .*generated are gaussian_noise"),
        ({"corruptions": ["rain"]}, "rain|Input should be"),
        ({"files": "CIFAR-10-C", "split": "validation"}, "split must be test"),
        ({"constants": "mnist"}, "cifar"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, problem):
    with pytest.raises(UserError, match=problem):
        metric(**changes)
