"""Robust JEM: JEM with adversarial images (Korst & Asadulaev 2022, arXiv 2207.08950; JEAT, Zhu et al. 2021)."""

from dataclasses import field, replace
from typing import Literal

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, State, Stream
from harness.core.settings import settings
from harness.core.shard import Shard
from harness.core.walk import Walk, cross_entropy, walk
from harness.methods.jem import JEM, Energy


@settings
class Attacked(Energy):
    """JEM's stage, in which the classifier, or all of it, learns from adversarial images.

        L = −( mean s(u) − mean s(x̂) ) + CE( f(x'), y ),    x' = argmax CE( f(x), y ) over the ball around x

    x̂ are JEM's chains. adversarial: `classifier` trains the energy on real images, u = x (Robust-JEM); `joint` on
    adversarial ones, u = x', so that p(x', y) is learned (JEAT). JEM's noise is added after the attack.
    """

    attack: Walk = field(kw_only=True)
    adversarial: Literal["classifier", "joint"] = "classifier"

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """JEM's loss, at attacked images; the accuracy is that on attacked images too."""
        attacked: tuple[Stream, ...] = ("labelled",) if self.adversarial == "classifier" else ("labelled", "real")
        images = {
            stream: walk(model, batch.images[stream], cross_entropy(batch.labels[stream]), self.attack)
            for stream in attacked
        }
        return super().loss(model, replace(batch, images=batch.images | images), state, shard)


@settings
class RobustJEM(JEM):
    """One stage of training; samples continue the chains of its replay buffer."""

    energy: Attacked
