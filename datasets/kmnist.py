"""Kuzushiji-MNIST: 70,000 handwritten characters of old Japanese books, 28x28 grey pixels."""

import torchvision.datasets

from harness.core.settings import settings
from harness.datasets.idx import IDX, Files

FILES = Files(
    name="KMNIST",
    page="http://codh.rois.ac.jp/kmnist/",
    classes=tuple(torchvision.datasets.KMNIST.classes),
    checksums=dict(torchvision.datasets.KMNIST.resources),
)


@settings
class KMNIST(IDX):
    """Ten characters of cursive hiragana (Clanuwat et al. 2018)."""

    files = FILES
