"""Robust accuracy under AutoAttack (Croce & Hein 2020)."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar, Literal, get_args

import torch
from pyautoattack import AutoAttack
from torch import Tensor

from harness.core.dataset import Dataset, Split
from harness.core.errors import UserError
from harness.core.method import Ability
from harness.core.settings import later, settings
from harness.core.timing import section
from harness.evaluation.intervals import bits, share
from harness.evaluation.metric import Metric, Part, Result, Subject, require_images
from harness.evaluation.reference import balanced, evenly
from harness.evaluation.samples import Sampling

Attack = Literal["apgd-ce", "apgd-t", "fab-t", "square"]

STANDARD: tuple[Attack, ...] = get_args(Attack)
"""The attacks of AutoAttack's standard version, in its order."""

FEWEST = 4
"""The fewest classes for the targeted DLR loss, a ratio of differences of four sorted logits."""

SQUARE_GAIN = 0.002
"""If the black-box attack Square gains more than this over the white-box ones, gradients may be masked."""


@settings
class Robustness(Metric):
    """The share of a split's images that stay correctly classified under AutoAttack, standard version, in fp32.

    count: number of images, evenly spaced in the split's order; null for all of them. balanced: the same number of each
    class, evenly spaced in its order. attacks: some of AutoAttack's attacks in its order; title and key then name them.
    chunk: images per shard. AutoAttack draws its randomness per batch, so the chunk is part of the protocol.
    targets: number of classes that the targeted attacks try, at most K − 1; null means K − 1.
    """

    split: Split
    norm: Literal["L2", "Linf"]
    eps: float
    targets: int | None
    chunk: int
    seed: int
    count: int | None = None
    balanced: bool = later(default=False)
    attacks: tuple[Attack, ...] = later(default=STANDARD)
    needs: ClassVar[tuple[Ability, ...]] = ("classify",)

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise ValueError(f"eps must be above 0, not {self.eps}")
        if any(number is not None and number < 1 for number in (self.chunk, self.targets, self.count)):
            raise ValueError("chunk, targets and count must be 1 or more")
        if not self.attacks or self.attacks != tuple(name for name in STANDARD if name in self.attacks):
            raise ValueError(f"attacks must be one or more of {', '.join(STANDARD)}, in this order")

    def ready(self, data: Dataset, samples: Sampling, weights: Mapping[str, str | None]) -> None:
        """Check that the split has images."""
        require_images(data, self.split, f"split={self.split}")
        if not set(self.attacks) & set(possible(len(data.classes))):
            raise UserError(f"attacks={list(self.attacks)}: APGD-T needs {FEWEST} classes, and there are fewer.")

    def keys(self, data: Dataset) -> list[str]:
        """One score, whose key has the norm and the radius."""
        return [f"robust_accuracy/{self._key}"]

    def largest_pass(self, data: Dataset) -> int:
        """A chunk."""
        return min(self.chunk, len(self._indices(data)))

    def shards(self, subject: Subject) -> int:
        """One shard for each chunk."""
        return -(-len(self.indices(subject)) // self.chunk)

    def score(self, subject: Subject, shard: int) -> Part:
        """For each attack in turn, which of the chunk's images remain correct; and AutoAttack's warnings."""
        _, part = self.attack(subject, shard)
        return part

    def attack(self, subject: Subject, shard: int) -> tuple[Tensor, Part]:
        """Attack a chunk; return its images (adversarial where an attack succeeded, else unchanged) and its part."""
        x, y = subject.images(self.split, self.indices(subject)[shard * self.chunk : (shard + 1) * self.chunk])
        attack, classes = self.autoattack(subject), len(subject.data.classes)
        with torch.no_grad():
            standing = subject.model(x).argmax(1) == y
        attacked, outcomes, warnings = x.clone(), {"clean": bits(standing)}, set[str]()
        # Run the attacks in turn, each on the images that are still classified correctly.
        for name in self.attacks:
            if name not in possible(classes):
                warnings.add(f"with {classes} classes the targeted DLR loss does not exist: APGD-T was left out")
            elif standing.any():
                subject.tell(f"{name}: {int(standing.sum())} of {len(y)} stand")
                attack.attacks_to_run = [name]
                with _warnings() as messages, section(name):
                    images, predicted = attack.run_standard_evaluation(x[standing], y[standing], batch_size=self.chunk)
                attacked[standing] = images
                standing[standing.clone()] = predicted == y[standing]
                warnings |= messages
            outcomes[name] = bits(standing)
        return attacked, {"outcomes": outcomes, "warnings": sorted(warnings)}

    def summary(self, subject: Subject, parts: list[Part]) -> str:
        """Robust accuracy on the finished images, and the number of images left."""
        standing = "".join(part["outcomes"][self.attacks[-1]] for part in parts)
        remaining = len(self.indices(subject)) - len(standing)
        return f"{100 * standing.count('1') / len(standing):.1f} % robust so far, {remaining} images left"

    def autoattack(self, subject: Subject) -> AutoAttack:
        """AutoAttack's standard version with the protocol's settings, limited to its attacks that are possible."""
        attack = AutoAttack(subject.model, norm=self.norm, eps=self.eps, seed=self.seed, device=subject.device)
        most = len(subject.data.classes) - 1
        targets = min(self.targets or most, most)
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targets
        attack.attacks_to_run = [name for name in self.attacks if name in possible(most + 1)]
        return attack

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """Accuracy after all attacks, and for each attack which images remained correct."""
        after = {name: "".join(part["outcomes"][name] for part in parts) for name in ("clean", *self.attacks)}
        warnings = sorted({warning for part in parts for warning in part["warnings"]})
        accuracy = {name: outcomes.count("1") / len(outcomes) for name, outcomes in after.items()}
        if self.attacks == STANDARD and accuracy["fab-t"] - accuracy["square"] > SQUARE_GAIN:
            warnings.append("Square Attack broke images that the white-box attacks left: gradients may be masked.")
        named = "" if self.attacks == STANDARD else f", {' and '.join(name.upper() for name in self.attacks)}"
        score = share(f"Robust accuracy ({self.norm} {self._radius}{named})", after[self.attacks[-1]], warnings)
        outcomes = {f"{self._key}/{name}": after[name] for name in self.attacks}
        return Result({f"robust_accuracy/{self._key}": score}, outcomes)

    @property
    def _key(self) -> str:
        """Norm and radius, as in keys; then the attacks, unless they are the standard version's."""
        named = () if self.attacks == STANDARD else self.attacks
        return "_".join([self.norm.lower(), f"{self.eps:g}", *named])

    @property
    def _radius(self) -> str:
        """The radius as usually written: in 255ths if it is a whole number of them."""
        of_255 = 255 * self.eps
        return f"{of_255:.0f}/255" if abs(of_255 - round(of_255)) < 1e-9 and self.eps < 1 else f"{self.eps:g}"

    def indices(self, subject: Subject) -> list[int]:
        """The indices of the images that are attacked."""
        return self._indices(subject.data)

    def _indices(self, data: Dataset) -> list[int]:
        if self.balanced:
            return balanced(data.labels(self.split), self.count)
        return evenly(data.length(self.split), self.count)


def possible(classes: int) -> list[str]:
    """The attacks that this number of classes allows."""
    return [name for name in STANDARD if name != "apgd-t" or classes >= FEWEST]


@contextmanager
def _warnings() -> Iterator[set[str]]:
    """Collect the warnings of AutoAttack's logger within the context, instead of printing them."""
    messages: set[str] = set()
    logger, handler = logging.getLogger("auto-attack"), logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.add(record.getMessage())
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield messages
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
