"""Fashion-MNIST: 70,000 photographs of clothes, 28x28 grey pixels, as a shop shows them."""

import torchvision.datasets

from harness.core.settings import settings
from harness.datasets.augment import Augment
from harness.datasets.idx import IDX, Files

# Debian's files have the compressed bytes of the originals; their gzip headers lack the name and the time.
FILES = Files(
    name="FashionMNIST",
    page="https://github.com/zalandoresearch/fashion-mnist",
    classes=tuple(torchvision.datasets.FashionMNIST.classes),
    checksums=dict(torchvision.datasets.FashionMNIST.resources),
    same={
        "train-images-idx3-ubyte.gz": ("cf8536b0aa1a6ac5fa3f23001093305c", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        "train-labels-idx1-ubyte.gz": ("10bea18fdb374794d4bb42e356e600c9", "9018921c3c673c538a1fc5bad174d6f9"),
        "t10k-images-idx3-ubyte.gz": ("f78720b4224f21cce2f2ccf2d7a94c9a", "8181f5470baa50b63fa0f6fddb340f0a"),
        "t10k-labels-idx1-ubyte.gz": ("0d30e22e447f3c33dab9ed536400ac01", "15d484375f8d13e6eb1aabb0c3f46965"),
    },
    package=("dataset-fashion-mnist", "/usr/share/datasets/fashion-mnist"),
)


@settings
class FashionMNIST(IDX):
    """Ten kinds of clothes, shoes and bags (Xiao et al. 2017)."""

    files = FILES

    labelled: Augment = Augment(crop=2, flip=True)
    outliers: Augment = Augment(crop=2, flip=True)
