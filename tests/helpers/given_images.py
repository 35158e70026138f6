"""A dataset of given images, for metrics whose result can be worked out by hand."""

from harness.core.dataset import Dataset, TensorView


class Few(Dataset):
    """The given images and labels in every split, in the first `count` of ten classes."""

    def __init__(self, images, labels, count):
        self.images, self.of_images, self.count = images, labels, count

    @property
    def classes(self):
        return tuple("0123456789"[: self.count])

    @property
    def shape(self):
        return tuple(self.images.shape[1:])

    def view(self, split, branch):
        return TensorView(self.images, self.of_images)

    def labels(self, split):
        return self.of_images
