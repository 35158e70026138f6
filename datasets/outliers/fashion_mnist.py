"""Fashion-MNIST as outliers of other data."""

from harness.datasets.fashion_mnist import FILES
from harness.datasets.outliers.idx import IDX


class FashionMNIST(IDX):
    """Ten kinds of clothes, shoes and bags."""

    files = FILES
