"""EB-JDAT: SADA-JEM plus adversarial images, in one joint energy (Jiang et al. 2025, arXiv 2505.19459)."""

from dataclasses import replace
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import normalize

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, State, Stream
from harness.core.settings import Factor, settings
from harness.core.shard import Shard
from harness.core.walk import Objective, Walk, cross_entropy, frozen, joint_logit, marginal_score, walk
from harness.methods.jempp import Continued, Persistent


def distance_from(clean: Tensor) -> Objective:
    """‖ f(x)/‖f(x)‖ − f(x̃)/‖f(x̃)‖ ‖² per image, where `clean` is f(x) and the objective's argument is f(x̃)."""
    return lambda logits: (normalize(clean) - normalize(logits)).square().sum(1)


@settings
class Adversary:
    """Adversarial images x̃: a walk in a ball around x, from x + U(−start, start), with the network in evaluation mode.

    Its running statistics are then those of this step's labelled images, which passed just before.
    inner: what the walk maximises. ce: CE(f(x̃), y), an attack. energy_up: E(x̃) = −s(x̃), as the paper's text says.
    joint_down: E(x̃, y) = −f_y(x̃). released: f_y(x̃), as in the released code; it makes images easier to classify.
    perceptual: also maximise the distance of the normalised logits from those of x.
    """

    walk: Walk
    start: Factor
    inner: Literal["ce", "energy_up", "joint_down", "released"] = "ce"
    perceptual: bool = True

    def begin(self, x: Tensor, shard: Shard) -> Tensor:
        """The images from which the walks begin."""
        return (x + self.start * (2 * shard.uniform(x) - 1)).clamp(0, 1)

    def images(self, model: EnergyModel, x: Tensor, y: Tensor, start: Tensor) -> Tensor:
        """Adversarial images of a labelled batch, by walks from `start`."""
        with frozen(model):
            clean = model(x)
        return walk(model, start, self.objective(clean, y), self.walk, centre=x)

    def objective(self, clean: Tensor, y: Tensor) -> Objective:
        """The objective of the walk, given the logits of x."""
        inner: dict[str, Objective] = {
            "ce": cross_entropy(y),
            "energy_up": lambda logits: -marginal_score(logits),
            "joint_down": lambda logits: -joint_logit(y)(logits),
            "released": joint_logit(y),
        }
        climb, distance = inner[self.inner], distance_from(clean)
        return (lambda logits: climb(logits) + distance(logits)) if self.perceptual else climb


@settings
class Joint(Persistent):
    """SADA-JEM's loss, plus an energy gap between clean and adversarial images and cross-entropy on adversarial images.

        L = w1 · [ −mean s(x) + mean s(x̂) ] + wy · CE( f(x_lab), y_lab )
          + w2 · [ −mean s(x) + mean s(x̃) ] + w3 · CE( f(x̃), y_lab )

    x̃ are adversarial versions of x_lab, x̂ the chains, and x carries Gaussian noise of standard deviation `sigma`.
    w1, wy, w2, w3 are `px`, `ce`, `gap`, `robust_ce`. A positive gap raises the energy of x̃, as in the released code;
    a negative gap lowers it towards that of clean images, as the paper's text says. A sharpness-aware step uses the
    same x, x̂, x_lab and x̃ at both weights.
    """

    adversary: Adversary
    sigma: Factor = 0.0
    px: Factor = 1.0
    ce: Factor = 1.0
    gap: float = 0.1
    robust_ce: Factor = 1.0
    streams: ClassVar[tuple[Stream, ...]] = ("labelled", "real")

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """The two differences of mean scores plus the two cross-entropies."""
        # Draw what both passes of a sharpness-aware step share: noise, chains and attack. The order of the passes is
        # that of the released code: running statistics follow it, and the attack sees them.
        labelled, y = batch.images["labelled"], batch.labels["labelled"]
        x = batch.images["real"] + self.sigma * shard.normal(batch.images["real"])
        start = self.adversary.begin(labelled, shard)
        s_real = marginal_score(model(x))
        chains = self.chains.draw(model, state, len(x), shard)
        s_chains, logits = marginal_score(model(chains)), model(labelled)
        attacked = self.adversary.images(model, labelled, y, start)

        def compute_loss(s_real: Tensor, s_chains: Tensor, logits: Tensor) -> Loss:
            logits_attacked = model(attacked)
            s_attacked = marginal_score(logits_attacked)
            terms = {
                "px": self.px * (s_chains.mean() - s_real.mean()),
                "ce": self.ce * cross_entropy(y)(logits).mean(),
                "gap": self.gap * (s_attacked.mean() - s_real.mean()),
                "robust_ce": self.robust_ce * cross_entropy(y)(logits_attacked).mean(),
            }
            scores = {"s_real": s_real, "s_chains": s_chains, "s_attacked": s_attacked}
            accuracy, robust = ((f.detach().argmax(1) == y).float().mean() for f in (logits, logits_attacked))
            means: dict[str, float | Tensor] = {name: s.detach().mean() for name, s in scores.items()}
            return Loss(terms, {**means, "accuracy": accuracy, "robust_accuracy": robust})

        def recompute() -> dict[str, Tensor]:
            return compute_loss(marginal_score(model(x)), marginal_score(model(chains)), model(labelled)).terms

        return replace(compute_loss(s_real, s_chains, logits), recompute=recompute)


@settings
class EBJDAT(Continued):
    """One stage of training; samples continue the chains of its replay buffer."""

    joint: Joint
    sampler: Walk
