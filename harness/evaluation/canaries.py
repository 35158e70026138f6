"""Checks on a few images before an evaluation; each raises an error if the numbers would be wrong."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from harness.core.dataset import Split
from harness.core.energy import EnergyModel
from harness.core.errors import CanaryFailed
from harness.evaluation.features import Features
from harness.evaluation.intervals import wilson
from harness.evaluation.metric import BATCH, Subject, check_logits
from harness.evaluation.reference import Reference, evenly, load_images

SEEN = 500
"""Number of images of a split that are checked, evenly spaced; all of a smaller one."""

REFERENCE = 2_000
"""Number of training images whose features are compared with the reference."""

APART = 30
"""Difference in percentage points above which two accuracies that should be similar are reported as different."""

OFF = 10
"""Largest allowed n ‖m − μ‖² / tr Σ of the features' mean, which is 1 on average: see `check_reference`."""


@torch.no_grad()
def check_classifier(subject: Subject, split: Split = "test") -> dict[str, float]:
    """Check the classifier on a split and return the figures in %; CanaryFailed if one is not as it should be."""
    x, y = _images(subject, split)
    logits = check_logits(_logits(subject.model, x))
    once = _accuracy(logits, y)
    return {
        "accuracy": once,
        "accuracy, standardised by hand": _check_standardisation(subject.model, x, y, logits, subject.constants),
        "accuracy, untrained": _check_untrained(subject, x, y, split),
        "accuracy on other images": _check_labels(subject, once, y, split),
    }


def check_reference(subject: Subject, features: Features, against: Reference) -> dict[str, float]:
    """Train against train: features of training images, computed as for samples, must have the reference's mean.

    n ‖m − μ‖² / tr Σ is 1 on average for n images of the reference's distribution. This is the part of the Fréchet
    distance whose sampling error is known for any number of images and features.
    """
    view, n = subject.data.view("train", "reference"), subject.data.length("train")
    rows = torch.cat([features(images)["features"] for images in load_images(view, [*evenly(n, REFERENCE)])]).double()
    mu, trace = torch.from_numpy(against.statistics["mu"]).double(), float(against.statistics["sigma"].trace())
    distance = len(rows) * float((rows.mean(0) - mu).square().sum()) / trace
    spread = float(rows.var(0).sum()) / trace
    if distance > OFF or not 0.5 < spread < 2:
        raise CanaryFailed(
            f"Train against train: the squared distance between the mean {features.source.distance[0]} features of "
            f"{len(rows)} training images and the reference's is {distance:.3g} times its expectation (at most {OFF} "
            f"passes), and their variance is {spread:.3g} of the reference's. The statistics are of other images, or "
            "were made by other weights or another preprocessing: check protocol.metrics.fidelity.statistics, or empty "
            "the cache."
        )
    return {f"train against train ({features.source.distance[0]})": distance}


def _check_standardisation(
    model: EnergyModel, x: Tensor, y: Tensor, logits: Tensor, constants: Mapping[str, Sequence[float]]
) -> float:
    """Accuracy by a second route: apply the config's constants by hand in float64 and call the bare net."""
    mean, std = (torch.tensor(constants[key], dtype=torch.double, device=x.device) for key in ("mean", "std"))
    by_hand = _logits(lambda x: model.net(((x.double() - mean[:, None, None]) / std[:, None, None]).to(x.dtype)), x)
    # The two routes must agree, as two passes of a net that draws do; else pixels are standardised twice, or never.
    agree = float((by_hand.argmax(1) == logits.argmax(1)).float().mean())
    if agree < 0.99 and agree < _agreement_of_passes(model, x, logits):
        raise CanaryFailed(
            f"Clean accuracy by two routes: the model and its net, fed by hand with pixels standardised by model.mean "
            f"and model.std, agree on only {100 * agree:.0f} % of {len(y)} images. Pixels are standardised twice, or "
            "not at all."
        )
    # Much better accuracy on raw pixels means that the net standardises them itself.
    once, raw = _accuracy(logits, y), _accuracy(_logits(model.net, x), y)
    if raw - once > APART:
        raise CanaryFailed(
            f"Clean accuracy by two routes: {once:.0f} % with pixels standardised by model.mean and model.std, but "
            f"{raw:.0f} % with raw pixels. The net standardises them itself: set model.mean=[0,…] and model.std=[1,…]."
        )
    return _accuracy(by_hand, y)


def _agreement_of_passes(model: EnergyModel, x: Tensor, logits: Tensor) -> float:
    """The least agreement with a pass of the model that a further pass may have: 0.99 if it draws no random numbers."""
    own = float((_logits(model, x).argmax(1) == logits.argmax(1)).float().mean())
    return own - 0.01 - 4 * (own * (1 - own) / len(x)) ** 0.5


def _check_untrained(subject: Subject, x: Tensor, y: Tensor, split: Split) -> float:
    """Accuracy of the net before any training, which must be near chance."""
    assert subject.untrained is not None  # runs/build.py gives it
    accuracy = _accuracy(_logits(subject.untrained().to(subject.device).eval(), x), y)
    largest = 100 * float(y.bincount().max()) / len(y)
    if accuracy > largest + APART:
        raise CanaryFailed(
            f"An untrained copy of the net classifies {accuracy:.0f} % of {len(y)} {split} images rightly, where "
            f"guessing gives {largest:.0f} %: the images tell their labels."
        )
    return accuracy


def _check_labels(subject: Subject, on_judged: float, y: Tensor, judged: Split) -> float:
    """Accuracy on other images (validation, or else training), compared with that on the images that are judged.

    CanaryFailed if the two differ by more than APART points, their intervals are disjoint, and either the judged images
    are the easier ones, or the others are, although the model has not seen them or is near chance on judged images.
    """
    split: Split = "validation" if judged != "validation" and subject.data.length("validation") else "train"
    held_out, n = split == "validation" and subject.held_out, len(y)
    x, labels = _images(subject, split)
    accuracy = _accuracy(_logits(subject.model, x), labels)
    # The difference must be large, and the Wilson intervals of both accuracies disjoint.
    low, high = (100 * bound for bound in wilson(round(accuracy * len(labels) / 100), len(labels)))
    low_judged, high_judged = (100 * bound for bound in wilson(round(on_judged * n / 100), n))
    guessed = on_judged <= 100 * float(y.bincount().max()) / n + APART / 3
    if abs(accuracy - on_judged) > APART and (low_judged > high or (low > high_judged and (held_out or guessed))):
        raise CanaryFailed(
            f"{accuracy:.0f} % of {len(labels)} {split} images are classified rightly, but {on_judged:.0f} % of {n} "
            f"{judged} images: the labels of one split do not belong to its images, or its images are prepared "
            "otherwise."
        )
    return accuracy


def _images(subject: Subject, split: Split) -> tuple[Tensor, Tensor]:
    return subject.images(split, evenly(subject.data.length(split), SEEN))


def _logits(net: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.cat([net(batch) for batch in x.split(BATCH)])


def _accuracy(logits: Tensor, y: Tensor) -> float:
    return 100 * float((logits.argmax(1) == y).float().mean())
