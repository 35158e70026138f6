"""A dataset of IDX files as outliers of another."""

from typing import ClassVar, Literal

from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from harness.core.dataset import Dataset
from harness.core.settings import settings
from harness.datasets.idx import Files
from harness.datasets.outliers.pictured import Pictured


@settings
class IDX(Pictured):
    """Training images for training, test images as sampling starts; augmented as the dataset augments outliers.

    root: the folder of the files, or of <name>/raw with them. download: fetch them if they are missing.
    seed: of the starts' augmentation.
    """

    files: ClassVar[Files]

    data: Dataset
    root: str = "data"
    download: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if getattr(self.data, "files", None) == self.files:
            raise ValueError(f"{self.files.name} is the data itself; choose other outliers")

    def ready(self) -> None:
        """Fetch the files if download is set; UserError if they are missing or not the originals."""
        self.files.ready(self.root, self.download, "outliers")
        if self.data.check:
            self.files.check(self.root, "outliers")

    def __len__(self) -> int:
        return len(self._images("train"))

    @property
    def different_starts(self) -> int:
        """The test images."""
        return len(self._images("test"))

    def training_picture(self, place: int) -> Image.Image:
        """A training image."""
        return to_pil_image(self._images("train")[place])

    def start_picture(self, place: int) -> Image.Image:
        """A test image."""
        return to_pil_image(self._images("test")[place])

    def _images(self, part: Literal["train", "test"]) -> Tensor:
        self.files.ready(self.root, self.download, "outliers")
        return self.files.read(self.root, part)[0]
