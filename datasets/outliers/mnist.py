"""MNIST as outliers of other data."""

from harness.datasets.mnist import FILES
from harness.datasets.outliers.idx import IDX


class MNIST(IDX):
    """Digits 0 … 9 of 28 x 28 pixels."""

    files = FILES
