"""Robust accuracy on the 5,000 photographs of ImageNet that RobustBench attacks (Croce et al. 2021)."""

from collections.abc import Mapping
from pathlib import Path

from harness.core.dataset import Dataset
from harness.core.errors import UserError
from harness.core.settings import settings
from harness.evaluation.metrics.robustness import Robustness
from harness.evaluation.reference import evenly
from harness.evaluation.samples import Sampling

LIST = Path(__file__).with_name("imagenet_test_image_ids.txt")
"""RobustBench's list, unchanged: a line <wnid>/ILSVRC2012_val_<number>.JPEG for each image."""


@settings
class RobustBench(Robustness):
    """As `robustness`, on RobustBench's own list of ImageNet's validation images, the test split here.

    count: number of images, evenly spaced in the list; null for all of them.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split != "test" or self.balanced:
            raise ValueError("the images are RobustBench's: split must be test, and balanced false")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check that the split has the images."""
        super().ready(data, samples, weights)
        self._indices(data)

    def _indices(self, data: Dataset) -> list[int]:
        """The places of the listed images in the test split, ascending; UserError if it lacks one."""
        listing = getattr(data.view(self.split, "plain"), "listing", None)
        if listing is None:
            raise UserError(
                "RobustBench's list names photographs of ImageNet, which these data are not: data=imagenet256."
            )
        ids = LIST.read_text(encoding="utf-8").split()
        chosen = [ids[place] for place in evenly(len(ids), self.count)]
        classes = [listing.classes[label] for label in listing.labels.tolist()]
        places = {
            f"{wnid}/{name}": place for place, (wnid, name) in enumerate(zip(classes, listing.names, strict=True))
        }
        if missing := [name for name in chosen if name not in places]:
            raise UserError(
                f"{len(missing)} of {len(chosen)} images of RobustBench's list are not in {listing.folder}, such as "
                f"{missing[0]}. Unpack ILSVRC 2012's validation images there, with the names that they have."
            )
        return sorted(places[name] for name in chosen)
