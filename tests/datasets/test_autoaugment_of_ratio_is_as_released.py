"""AutoAugment as RATIO and DAT compute it: rotations one way over grey, bicubic shears, translations of 14.5 pixels."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.transforms import AutoAugment, AutoAugmentPolicy
from torchvision.transforms import functional as F

from harness.datasets.augment import OPERATIONS, autoaugment_of_ratio
from harness.runs.compose import compose

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
WHITE = np.full((32, 32, 3), 255, np.uint8)


def apply(name, pixels, level=1.0, sign=1):
    return np.asarray(OPERATIONS[name](Image.fromarray(pixels), level, sign))


@pytest.mark.parametrize("axis, name", [(1, "TranslateX"), (0, "TranslateY")])
def test_the_largest_translation_is_14_and_a_half_pixels(axis, name):
    """150 / 331 of 32 pixels is 14.502: the nearest pixel is 15 away, where torchvision moves by 14."""
    forward, back = (np.moveaxis(apply(name, NOISE, sign=sign), axis, 0) for sign in (1, -1))
    rows = np.moveaxis(NOISE, axis, 0)
    assert np.array_equal(forward[:17], rows[15:]) and not forward[17:].any()
    assert np.array_equal(back[15:], rows[:17]) and not back[:15].any()
    # A third of that is 4.83: 5 pixels, where torchvision moves by 4.
    third = np.moveaxis(apply(name, NOISE, level=3 / 9), axis, 0)
    assert np.array_equal(third[:27], rows[5:])


def test_rotations_go_one_way_and_uncover_grey():
    image = np.zeros((32, 32, 3), np.uint8)
    image[15:17, 22:] = 255  # a bar to the right of the centre
    for sign in (1, -1):
        rotated = apply("Rotate", image, sign=sign)
        height = np.argwhere(rotated[:, 22:, 0] == 255)[:, 0].mean()
        assert height < 12, "counter-clockwise, the bar rises"
        assert (rotated[0, 0] == 128).all() and (rotated[-1, -1] == 128).all()


def test_shears_interpolate_and_uncover_black():
    board = np.indices((32, 32)).sum(0) // 4 % 2 * 255
    board = np.repeat(board[..., None].astype(np.uint8), 3, -1)
    for name in ("ShearX", "ShearY"):
        assert len(np.unique(apply(name, board, level=5 / 9))) > 2, "the nearest pixels would have two values"
        assert apply(name, WHITE).min() == 0
    # The last row of a horizontal shear of 0.3 comes from 0.3 * 31.5 = 9.45 pixels further right.
    ramp = np.repeat(np.repeat(np.arange(32, dtype=np.uint8)[None, :, None] * 8, 32, 0), 3, -1)
    assert apply("ShearX", ramp)[31, 10, 0] == pytest.approx(8 * (10 + 9.45), abs=1)


@pytest.mark.parametrize(
    "name, theirs",
    [
        ("Color", lambda x, sign: F.adjust_saturation(x, 1 + sign * 0.6)),
        ("Contrast", lambda x, sign: F.adjust_contrast(x, 1 + sign * 0.6)),
        ("Sharpness", lambda x, sign: F.adjust_sharpness(x, 1 + sign * 0.6)),
        ("Brightness", lambda x, sign: F.adjust_brightness(x, 1 + sign * 0.6)),
        ("Posterize", lambda x, _: F.posterize(x, 5)),  # 8 - 4 * 6 / 9 = 5.33
        ("Solarize", lambda x, _: ImageOps.solarize(x, 86)),  # inverts from 256 - 256 * 6 / 9 = 85.3
        ("AutoContrast", lambda x, _: F.autocontrast(x)),
        ("Equalize", lambda x, _: F.equalize(x)),
        ("Invert", lambda x, _: F.invert(x)),
    ],
)
def test_colours_change_by_the_level(name, theirs):
    for sign in (1, -1):
        expected = np.asarray(theirs(Image.fromarray(NOISE), sign))
        assert np.array_equal(apply(name, NOISE, 6 / 9, sign), expected)


def test_pairs_of_operations_are_drawn_evenly_with_their_probabilities(monkeypatch):
    applied = []
    for name in OPERATIONS:
        monkeypatch.setitem(OPERATIONS, name, lambda x, level, _, name=name: applied.append((name, level)) or x)
    n, table = 10_000, AutoAugment(AutoAugmentPolicy.CIFAR10).policies
    picture = Image.fromarray(NOISE)
    for seed in range(n):
        autoaugment_of_ratio(picture, seed)
    expected = Counter()
    for pair in table:
        for name, probability, level in pair:
            expected[name, (level or 0) / 9] += n * probability / len(table)
    counts = Counter(applied)
    assert counts.keys() == {key for key, number in expected.items() if number}
    for key, number in expected.items():
        assert abs(counts[key] - number) < 5 * max(number, 1) ** 0.5, key


@pytest.mark.parametrize("method", ["at", "atjem", "ratio", "standard"])
def test_recipes_augment_as_their_authors_did(method):
    (config,) = compose([f"method={method}", "data=cifar10"])
    assert config.data["labelled"]["policy"] == "ratio"
