"""KMNIST as outliers of other data."""

from harness.datasets.kmnist import FILES
from harness.datasets.outliers.idx import IDX


class KMNIST(IDX):
    """Ten characters of cursive hiragana."""

    files = FILES
