"""scikit-learn's 1,797 real handwritten digits, 8x8; they come with the package, so no network is needed."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from harness.core.dataset import Branch, Dataset, Items, Split, TensorView
from harness.core.settings import Seed, settings

IMAGES = 1_797
"""The number of images in all splits together."""

SIDE = 8
"""The height and width of an image, in pixels."""


@settings
class Digits(Dataset):
    """Digits 0 … 9 (Alpaydin & Kaynak 1998), grey levels 0 … 16 scaled to [0, 1].

    validation, test: number of images of each split, stratified by class; the rest is the training split.
    split_seed: of that partition. pad: largest random shift of labelled images, in pixels.
    """

    validation: int = 180
    test: int = 360
    split_seed: Seed = 0
    pad: int = 1

    def __post_init__(self) -> None:
        if min(self.validation, self.test) < 10 or self.validation + self.test > IMAGES - 10:
            raise ValueError("validation and test need 10 images or more each, and so does what they leave of 1,797")
        if not 0 <= self.pad <= SIDE:
            raise ValueError(f"pad must be between 0 and {SIDE}, the side of an image, not {self.pad}")

    @property
    def classes(self) -> tuple[str, ...]:
        """The ten digits."""
        return tuple("0123456789")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grey images, 8 x 8."""
        return 1, SIDE, SIDE

    def view(self, split: Split, branch: Branch) -> Items:
        """A split in memory; only the labelled branch is augmented."""
        return TensorView(*self._splits[split], pad=self.pad if branch == "labelled" else 0)

    def labels(self, split: Split) -> Tensor:
        """The labels of a split."""
        return self._splits[split][1]

    def length(self, split: Split) -> int:
        """The number of images of a split, computed from the fields without loading them."""
        held_out = {"validation": self.validation, "test": self.test}
        return held_out.get(split, IMAGES - sum(held_out.values()))

    @cached_property
    def _splits(self) -> dict[str, tuple[Tensor, Tensor]]:
        from sklearn.datasets import load_digits  # slow to import, and a plan does not need it
        from sklearn.model_selection import train_test_split

        flat, target = map(np.asarray, load_digits(return_X_y=True))
        everything = np.arange(len(target))
        rest, test = train_test_split(everything, test_size=self.test, stratify=target, random_state=self.split_seed)
        train, validation = train_test_split(
            rest, test_size=self.validation, stratify=target[rest], random_state=self.split_seed
        )
        images = torch.from_numpy(flat).float().view(-1, *self.shape) / 16
        labels = torch.from_numpy(target).long()
        named = {"train": train, "validation": validation, "test": test}
        return {name: (images[np.sort(i)], labels[np.sort(i)]) for name, i in named.items()}
