"""Robust accuracy under AutoAttack that searches in TF32 or bf16; fp32 decides what it has found."""

from dataclasses import field, fields
from pathlib import Path
from typing import Literal

import torch
from pyautoattack import AutoAttack
from torch import Tensor

from harness.core.device import Precision, computing
from harness.core.settings import settings
from harness.evaluation.metric import Part, Result, Subject
from harness.evaluation.metrics.robustness import Robustness


@settings
class Searched(Robustness):
    """As `robustness`, but AutoAttack searches in a lower precision; an attack counts only if it succeeds in fp32.

    So every attack that counts is valid, and the search may be faster. It may also find less than one in fp32, which
    makes robust accuracy higher: title and key name the precision.

    search_precision: tf32, on NVIDIA GPUs (elsewhere it is fp32), or bf16.
    """

    search_precision: Literal["tf32", "bf16"] = field(kw_only=True)

    def autoattack(self, subject: Subject) -> AutoAttack:
        """AutoAttack with the protocol's settings, which searches in the lower precision."""
        return Confirmed(super().autoattack(subject), self.search_precision)

    def merge(self, subject: Subject, parts: list[Part]) -> Result:
        """As `robustness`, with the precision in the title."""
        result = super().merge(subject, parts)
        for key, score in result.scores.items():
            title = f"{score.title.removesuffix(')')}, searched in {self.search_precision})"
            result.scores[key] = score.model_copy(update={"title": title})
        return result

    def in_fp32(self) -> Robustness:
        """The same attack with a search in fp32."""
        return Robustness(**{entry.name: getattr(self, entry.name) for entry in fields(Robustness)})

    @property
    def _key(self) -> str:
        return f"{super()._key}_{self.search_precision}"


class Confirmed(AutoAttack):
    """An AutoAttack that searches in a lower precision, and counts what the surrounding precision confirms."""

    def __init__(self, attack: AutoAttack, precision: Precision) -> None:
        vars(self).update(vars(attack))
        self.precision: Precision = precision

    def run_standard_evaluation(
        self, x_orig: Tensor, y_orig: Tensor, /, *, batch_size: int = 250, state_path: Path | None = None
    ) -> tuple[Tensor, Tensor]:
        """Adversarial images where an attack succeeds in fp32, else the images themselves; and their classes in fp32.

        Where the search ends too early, because an image is misclassified in the lower precision only, the attack is
        repeated in fp32.
        """
        attack = super().run_standard_evaluation
        with computing(self.precision, x_orig.device):
            images, claimed = attack(x_orig, y_orig, batch_size=batch_size, state_path=state_path)
        with torch.no_grad():
            predicted = torch.cat([self.get_logits(batch).argmax(1) for batch in images.split(batch_size)])
        unconfirmed = (claimed != y_orig) & (predicted == y_orig)
        images[unconfirmed] = x_orig[unconfirmed]
        if unconfirmed.any():
            images[unconfirmed], predicted[unconfirmed] = attack(
                x_orig[unconfirmed], y_orig[unconfirmed], batch_size=batch_size
            )
        return images, predicted
