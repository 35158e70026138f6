"""Fidelity: how near the method's own samples are to the training images, by torch-fidelity."""

from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.utils.data import Dataset as View
from torch_fidelity import calculate_metrics

from harness.data import Items
from harness.metric import Metric, Part, Result, Subject
from harness.metrics import features
from harness.record import Score
from harness.sample import eight_bits
from harness.settings import settings

Direction = Literal["higher", "lower"]

COLUMNS: dict[str, dict[str, tuple[str, str, Direction]]] = {
    "inception": {
        "fid": ("FID", "frechet_inception_distance", "lower"),
        "kid": ("KID × 1000", "kernel_inception_distance_mean", "lower"),
        "is": ("IS", "inception_score_mean", "higher"),
        "precision": ("Precision", "precision", "higher"),
        "recall": ("Recall", "recall", "higher"),
    },
    "digits": {
        "fd_digits": ("FD (digits features)", "frechet_inception_distance", "lower"),
        "kid_digits": ("KID × 1000 (digits)", "kernel_inception_distance_mean", "lower"),
        "is_digits": ("IS (digits)", "inception_score_mean", "higher"),
        "precision_digits": ("Precision (digits)", "precision", "higher"),
        "recall_digits": ("Recall (digits)", "recall", "higher"),
    },
}
"""Features → score key → title, torch-fidelity's name, direction."""


@settings
class Fidelity(Metric):
    """Fréchet distance, KID, IS, precision and recall of the samples against the training split.

    features: in which they are measured: Inception's, as torch-fidelity has them, or those of a small classifier of
    digits, which are named in each title, for numbers of two extractors do not compare.
    kid_subset: images in each of KID's 100 subsets. seed: of the subsets and of IS's shuffle.
    """

    features: Literal["digits", "inception"]
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
        samples, reference = subject.samples(), subject.data.view("train", "plain")
        count = len(subject.data.labels("train"))
        figures = calculate_metrics(
            input1=Images(samples),
            input2=Reference(reference, count),
            **self._extractor(subject),
            fid=True,
            isc=True,
            kid=True,
            prc=True,
            kid_subset_size=min(self.kid_subset, len(samples), count),
            rng_seed=self.seed,
            cuda=subject.device.type == "cuda",
            save_cpu_ram=self.features == "digits",  # no worker processes for so little
            cache=False,  # its cache keys hold no hash of the data
            verbose=False,
        )
        return {"n": len(samples), **{name: float(value) for name, value in figures.items()}}

    def _extractor(self, subject: Subject) -> dict[str, Any]:
        if self.features == "inception":
            return {"feature_extractor": "inception-v3-compat"}
        weights = features.weights(*subject.data.tensors("train"), subject.cache)
        return {"feature_extractor": features.NAME, "feature_extractor_weights_path": str(weights)}

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """The figures as scores."""
        (part,) = parts
        return Result({key: self._score(part, *column) for key, column in COLUMNS[self.features].items()})

    def _score(self, part: Part, title: str, name: str, better: Direction) -> Score:
        scale = 1000 if name.startswith("kernel") else 1
        return Score(title=title, value=scale * part[name], n=part["n"], better=better)


class Reference(View[Tensor]):
    """The images of a split as uint8, one by one, as torch-fidelity wants them."""

    def __init__(self, view: Items, count: int) -> None:
        self.view, self.count = view, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return eight_bits(self.view[index, 0][0])


class Images(View[Tensor]):
    """uint8 images, one by one, as torch-fidelity wants them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]
