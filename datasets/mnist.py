"""MNIST: 70,000 handwritten digits, 28x28 grey pixels."""

import torchvision.datasets

from harness.core.settings import settings
from harness.datasets.idx import IDX, Files

FILES = Files(
    name="MNIST",
    page="https://ossci-datasets.s3.amazonaws.com/mnist/",
    classes=tuple("0123456789"),
    checksums=dict(torchvision.datasets.MNIST.resources),
    same={
        "train-images-idx3-ubyte.gz": ("6bbc9ace898e44ae57da46a324031adb",),
        "train-labels-idx1-ubyte.gz": ("a25bea736e30d166cdddb491f175f624",),
        "t10k-images-idx3-ubyte.gz": ("2646ac647ad5339dbf082846283269ea",),
        "t10k-labels-idx1-ubyte.gz": ("27ae3e4e09519cfbb04c329615203637",),
    },
)


@settings
class MNIST(IDX):
    """Digits 0 … 9 (LeCun et al. 1998)."""

    files = FILES
