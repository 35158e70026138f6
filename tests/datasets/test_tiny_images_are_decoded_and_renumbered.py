"""The binary file of Tiny Images: its pixels, its indices without the excluded images, its lists."""

import numpy as np
import on_disk
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UserError
from harness.datasets.augment import Augment
from harness.datasets.cifar import CIFAR10
from harness.datasets.outliers.tinyimages import TinyImages, allowed, decode


def tiny(root, **fields):
    return TinyImages(CIFAR10(outliers=Augment()), str(root), **fields)


def keys(count):
    return [(index, 0) for index in range(count)]


def test_tiny_images_are_stored_plane_by_plane_and_column_by_column():
    height, width = 32, 32
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    stored = np.zeros(3072, np.uint8)
    for plane in range(3):
        for column in range(width):
            for row in range(height):
                stored[1024 * plane + height * column + row] = image[row, column, plane]
    assert np.array_equal(decode(stored), image)


def test_tiny_images_keep_their_colours_and_their_top(tmp_path):
    image = np.zeros((32, 32, 3), np.uint8)
    image[:8, :, 0] = 255  # red at the top
    image[:, :8, 2] = 255  # blue on the left
    np.stack([image, image]).transpose(0, 3, 2, 1).tofile(tmp_path / "tiny_images.bin")
    trained = tiny(tmp_path, reserve=1).images([(0, 0)])[0]
    assert torch.equal(trained, torch.from_numpy(image).permute(2, 0, 1) / 255)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), max_size=n - 1))))
def test_the_kth_allowed_image_is_that_of_a_list_without_the_excluded(case):
    count, excluded = case
    lawful = [number for number in range(count) if number not in excluded]
    remapped = [allowed(k, np.array(sorted(excluded), np.int64)) for k in range(len(lawful))]
    assert remapped == lawful


def test_lists_of_tiny_images_are_read_from_zero_or_one(tmp_path):
    on_disk.tinyimages(tmp_path, 12)
    everything = tiny(tmp_path, reserve=2)
    (tmp_path / "zero.txt").write_text("0\n3\n3\n")
    np.save(tmp_path / "zero.npy", np.array([[5], [0]], np.uint32))
    (tmp_path / "one.txt").write_text("12\n")
    outliers = tiny(tmp_path, exclude=("zero.txt", "zero.npy"), exclude_from_one=("one.txt",), reserve=2)
    lawful = [1, 2, 4, 6, 7, 8, 9, 10]
    images = torch.cat([everything.images(keys(10)), everything.starts([0, 1])])
    assert len(outliers) == 6
    assert torch.equal(torch.cat([outliers.images(keys(6)), outliers.starts([0, 1])]), images[lawful])


@pytest.mark.parametrize(
    "fields, content, problem",
    [
        ({"exclude_from_one": ("list.txt",)}, "0\n", "lists images that tiny_images.bin does not have. Is its first"),
        ({"exclude": ("list.txt",)}, "12\n", "lists images that tiny_images.bin does not have"),
        ({"exclude": ("list.txt",)}, "one\n", "list.txt, a list of excluded images, cannot be read"),
        ({"exclude": ("missing.npy",)}, "", "missing.npy, a list of excluded images, cannot be read"),
        ({"reserve": 12}, "", r"12 images that no list excludes, and outliers\.reserve=12"),
    ],
)
def test_lists_that_do_not_fit_are_explained(tmp_path, fields, content, problem):
    on_disk.tinyimages(tmp_path, 12)
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(UserError, match=problem):
        tiny(tmp_path, **{"reserve": 2, **fields}).ready()


def test_a_tiny_images_file_that_is_missing_or_cut_off_is_explained(tmp_path):
    with pytest.raises(
        UserError, match=r"expected at .*tiny_images\.bin\. It was withdrawn in 2020.*outliers=cifar100"
    ):
        tiny(tmp_path).ready()
    (tmp_path / "tiny_images.bin").write_bytes(bytes(3073))
    with pytest.raises(UserError, match="3,073 bytes, which is not a number of images"):
        tiny(tmp_path).ready()
