"""Tiny datasets in the file formats of the real ones; their contents depend only on the arguments.

In the process that writes them they are the originals from then on: `ready` accepts them, and notices a change.
"""

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from harness.datasets.cifar import ARCHIVE_10, ARCHIVE_100
from harness.datasets.cifar_classes import CLASSES_10, CLASSES_100
from harness.datasets.idx import COUNTS as IDX_COUNTS
from harness.datasets.idx import Files
from harness.datasets.imagenet import COUNTS
from harness.datasets.outliers.svhn import CHECKSUMS

WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475")
"""ImageNet's first classes: tench, goldfish, great white shark, tiger shark, hammerhead."""


def cifar10(folder: Path, n: int = 100) -> Path:
    """Write cifar-10-batches-py to a folder: n training and n // 2 test images, cycling classes; return the folder."""
    root, rng = folder / "cifar-10-batches-py", np.random.default_rng(10)
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    parts = [*np.array_split(np.arange(n), 5), np.arange(n // 2)]
    for name, part in zip(names, parts, strict=True):
        labels = (part % 10).tolist()
        _dump(root / name, {"batch_label": name, "labels": labels, "data": _rows(rng, len(part)), "filenames": []})
        (ARCHIVE_10.test if name == "test_batch" else ARCHIVE_10.train)[name] = _md5(root / name)
    _dump(root / "batches.meta", {"num_cases_per_batch": n // 5, "label_names": list(CLASSES_10), "num_vis": 3072})
    return folder


def cifar100(folder: Path, n: int = 200) -> Path:
    """Write cifar-100-python to a folder: n training and n // 2 test images, cycling classes; return the folder."""
    root, rng = folder / "cifar-100-python", np.random.default_rng(100)
    for name, count in (("train", n), ("test", n // 2)):
        fine = [i % 100 for i in range(count)]
        content = {"fine_labels": fine, "coarse_labels": [i % 20 for i in fine], "data": _rows(rng, count)}
        _dump(root / name, {"filenames": [], "batch_label": name, **content})
        (ARCHIVE_100.test if name == "test" else ARCHIVE_100.train)[name] = _md5(root / name)
    _dump(root / "meta", {"fine_label_names": list(CLASSES_100), "coarse_label_names": []})
    return folder


def generated(path: Path, n: int = 30, side: int = 32, seed: int = 0, **changed: np.ndarray) -> Path:
    """Write n grey images and their labels in the layout of DM-AT's 1m.npz; pixels of class k are near 20 k."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 10, n)
    image = (20 * label[:, None, None, None] + rng.integers(0, 9, (n, side, side, 1))).repeat(3, 3).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **({"image": image, "label": label} | changed))
    return path


def imagenet(folder: Path, classes: int = 3, per_class: int = 8) -> Path:
    """Write train/<wnid> with per_class images each and val/<wnid> with half as many; return the folder.

    Their sizes are odd; of the first four of each class one is grey, one is CMYK, and one is a PNG named .JPEG.
    """
    rng = np.random.default_rng(1000)
    for part, count in (("train", per_class), ("val", per_class // 2)):
        for wnid in WNIDS[:classes]:
            for number in range(count):
                kind = ("RGB", "L", "CMYK", "PNG")[number % 4] if number < 4 else "RGB"
                _save(folder / part / wnid / f"{wnid}_{number}.JPEG", _picture(rng), kind)
        COUNTS[part] = classes * count
    COUNTS["classes"] = classes
    return folder


def idx(folder: Path, files: Files, patch: pytest.MonkeyPatch, n: int = 100) -> Path:
    """Write the four files of an IDX dataset to <name>/raw: n training and n // 2 test images, cycling classes.

    They are the originals, and all datasets of IDX files have these numbers of images, until `patch` is undone.
    """
    rng, raw = np.random.default_rng(len(files.name)), folder / files.name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part, prefix, count in (("train", "train", n), ("test", "t10k", n // 2)):
        pixels, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 10
        for kind, values in (("images-idx3-ubyte", pixels), ("labels-idx1-ubyte", labels)):
            head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (raw / f"{prefix}-{kind}.gz").write_bytes(gzip.compress(head + values.tobytes()))
            patch.setitem(files.checksums, f"{prefix}-{kind}.gz", _md5(raw / f"{prefix}-{kind}.gz"))
        patch.setitem(IDX_COUNTS, part, count)
    return folder


def pictures(
    folder: Path, classes: tuple[str, ...] = ("apple", "pear", "plum"), n: int = 10, mode: str = "RGB"
) -> Path:
    """Write n PNG files of 12 x 12 random pixels into a folder for each class; return the folder."""
    rng = np.random.default_rng(12)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(n):
            picture = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
            picture.convert(mode).save(folder / name / f"{number:02}.png")
    return folder


def tinyimages(path: Path, n: int = 60) -> Path:
    """Write tiny_images.bin to a folder, with n images of 3072 bytes; return the folder."""
    path.mkdir(parents=True, exist_ok=True)
    _rows(np.random.default_rng(80), n).tofile(path / "tiny_images.bin")
    return path


def svhn(folder: Path, n: int = 30) -> Path:
    """Write train_32x32.mat and test_32x32.mat to a folder: n training and n // 2 test images, cycling digits."""
    rng = np.random.default_rng(11)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", n), ("test", n // 2)):
        labels = (1 + np.arange(count, dtype=np.uint8) % 10)[:, None]  # 10 stands for the digit 0
        content = {"X": rng.integers(0, 256, (32, 32, 3, count), np.uint8), "y": labels}
        savemat(folder / f"{name}_32x32.mat", content, do_compression=True)
        CHECKSUMS[name] = _md5(folder / f"{name}_32x32.mat")
    return folder


def openimages(folder: Path, n: int = 30, labels: tuple[str, ...] = ("Tree", "Goldfish", "Tench", "House")) -> Path:
    """Write n photographs in two subfolders, and the two label files of Open Images V6; return the folder.

    Image i, <16 hex digits of i>.jpg, has label i mod 4; annotators denied that it has the next label.
    """
    rng = np.random.default_rng(9)
    for i in range(n):
        _save(folder / f"train_{i % 2}" / f"{i:016x}.jpg", _picture(rng), "RGB")
    rows = [f"{i:016x},verification,/m/{(i + shift) % len(labels)},{1 - shift}" for i in range(n) for shift in (0, 1)]
    names = [f'/m/{i},"{label}"' for i, label in enumerate(labels)]
    tables = {"train-annotations-human-imagelabels": ["ImageID,Source,LabelName,Confidence", *rows]}
    tables["class-descriptions"] = ["LabelName,DisplayName", *names]
    for name, lines in tables.items():
        (folder / f"oidv6-{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def _md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


def _rows(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.integers(0, 256, (n, 3072), np.uint8)


def _picture(rng: np.random.Generator) -> Image.Image:
    """A smooth image with sides of 20 to 60 pixels."""
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
    return coarse.resize(tuple(rng.integers(20, 61, 2).tolist()), Image.Resampling.BILINEAR)


def _save(path: Path, picture: Image.Image, kind: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mode, encoding = ("RGB", "PNG") if kind == "PNG" else (kind, "JPEG")
    picture.convert(mode).save(path, encoding)


class _Python2(pickle._Pickler):
    """A pickler that writes all strings as byte strings, like Python 2 in the original archives."""

    def _string(self, content: str | bytes) -> None:
        encoded = content.encode() if isinstance(content, str) else content
        self.write(b"T" + struct.pack("<i", len(encoded)) + encoded)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, str: _string, bytes: _string}


def _dump(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        _Python2(file, protocol=2).dump(content)
    path.write_bytes(path.read_bytes().replace(b"cnumpy._core.", b"cnumpy.core."))  # as NumPy 1 does
