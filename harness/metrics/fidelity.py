"""Fidelity: how near the method's own samples are to the training images, by torch-fidelity."""

from typing import ClassVar, Literal

from torch import Tensor
from torch.utils.data import Dataset as View
from torch_fidelity import calculate_metrics

from harness.metric import Metric, Part, Result, Subject
from harness.metrics import features
from harness.record import Score
from harness.sample import eight_bits
from harness.settings import settings

Direction = Literal["higher", "lower"]

COLUMNS: dict[str, tuple[str, str, Direction]] = {
    "fd_digits": ("FD (digits features)", "frechet_inception_distance", "lower"),
    "kid_digits": ("KID × 1000 (digits)", "kernel_inception_distance_mean", "lower"),
    "is_digits": ("IS (digits)", "inception_score_mean", "higher"),
    "precision_digits": ("Precision (digits)", "precision", "higher"),
    "recall_digits": ("Recall (digits)", "recall", "higher"),
}
"""Score key → title, torch-fidelity's name, direction."""


@settings
class Fidelity(Metric):
    """Fréchet distance, KID, IS, precision and recall of the samples against the training split.

    features: in which they are measured; named in each title, for numbers of two extractors do not compare.
    kid_subset: images in each of KID's 100 subsets. seed: of the subsets and of IS's shuffle.
    """

    features: Literal["digits"]
    kid_subset: int
    seed: int
    needs: ClassVar[Literal["classify", "generate"]] = "generate"

    def __post_init__(self) -> None:
        if self.kid_subset < 2:
            raise ValueError(f"kid_subset must be 2 or more, not {self.kid_subset}")

    def shards(self, subject: Subject) -> int:
        """One: the distances are of the whole set; the samples it needs were made in chunks."""
        return 1

    def score(self, subject: Subject, shard: int) -> Part:
        """torch-fidelity's figures."""
        images, labels = subject.data.tensors("train")
        samples = subject.samples()
        figures = calculate_metrics(
            input1=Images(samples),
            input2=Images(eight_bits(images)),
            feature_extractor=features.NAME,
            feature_extractor_weights_path=str(features.weights(images, labels, subject.cache)),
            fid=True,
            isc=True,
            kid=True,
            prc=True,
            kid_subset_size=min(self.kid_subset, len(samples), len(images)),
            rng_seed=self.seed,
            cuda=subject.device.type == "cuda",
            save_cpu_ram=True,  # no worker processes for images in memory
            cache=False,  # its cache keys hold no hash of the data
            verbose=False,
        )
        return {"n": len(samples), **{name: float(value) for name, value in figures.items()}}

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The figures as scores."""
        (part,) = parts
        return Result({key: self._score(part, *column) for key, column in COLUMNS.items()})

    def _score(self, part: Part, title: str, name: str, better: Direction) -> Score:
        scale = 1000 if name.startswith("kernel") else 1
        return Score(title=title, value=scale * part[name], n=part["n"], better=better)


class Images(View[Tensor]):
    """uint8 images, one by one, as torch-fidelity wants them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]
