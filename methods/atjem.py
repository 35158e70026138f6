"""AT-JEM, published as Dual Adversarial Training (DAT, arXiv 2510.13872): a robust classifier that becomes an EBM."""

from math import ceil
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from harness.core.dataset import Dataset
from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.settings import Factor, later, settings
from harness.core.shard import Shard
from harness.core.walk import Walk, cross_entropy, frozen, joint_logit, marginal_score, walk
from harness.methods.at import Robust


@settings
class Curriculum:
    """The length T of the contrastive walk: it grows by 1 when real and contrastive images separate well.

    A window holds the AUC of the last ⌈images / B⌉ steps and is emptied at every change of T. When it is full
    and its mean reaches `auc`, T ← T + 1, up to the walk's `steps`. So `auc` determines where T settles.
    """

    auc: float
    start: int = 0
    images: int = 1000

    def __post_init__(self) -> None:
        if not 0 <= self.auc <= 1:
            raise ValueError(f"auc must be in [0, 1], not {self.auc}")
        if self.start < 0 or not 1 <= self.images <= 100_000_000:
            raise ValueError("start must be 0 or more, images between 1 and 100,000,000")

    def window(self, batch: int) -> int:
        """Number of steps that a window spans."""
        return ceil(self.images / batch)

    def advance(self, state: State, auc: float, longest: int) -> None:
        """Record one step's AUC; increase T when the window is full and its mean reaches `auc`."""
        window, filled = state["window"], int(state["filled"])
        window[filled % len(window)] = auc
        state["filled"] += 1
        if filled + 1 >= len(window) and float(window.mean()) >= self.auc and int(state["T"]) < longest:
            state["T"] += 1
            state["filled"].zero_()


@settings
class Contrast:
    """Contrastive images: outliers walked up the joint logit f_y without a ball, for T steps (0 up to `walk.steps`).

    labels: paired takes the labels of the real images, index by index, so that label frequencies cannot separate
    real from contrastive images; random draws them. curriculum: null uses the full walk length from the first step.
    """

    walk: Walk
    curriculum: Curriculum | None
    labels: Literal["paired", "random"] = "paired"

    def state(self, batch: int) -> State:
        """T, the AUC window, and the number of steps since it was last emptied."""
        start = self.walk.steps if self.curriculum is None else min(self.curriculum.start, self.walk.steps)
        window = 1 if self.curriculum is None else self.curriculum.window(batch)
        return {"T": torch.tensor(start), "window": torch.zeros(window, dtype=torch.float64), "filled": torch.tensor(0)}

    def images(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> tuple[Tensor, Tensor]:
        """Contrastive images from the batch's outliers at the current T, and their target labels."""
        y = batch.labels["real"]
        if self.labels == "random":
            with frozen(model):  # otherwise this image would update the running statistics
                classes = model(batch.images["real"][:1]).shape[1]
            y = shard.integers(classes, y)
        return walk(model, batch.images["outliers"], joint_logit(y), self.walk, steps=int(state["T"])), y

    def observe(self, state: State, real: Tensor, contrastive: Tensor) -> dict[str, float]:
        """Advance the curriculum by the joint logits of both; return the figures to monitor."""
        t, auc = int(state["T"]), area_under_curve(real, contrastive)
        if self.curriculum is not None:
            self.curriculum.advance(state, auc, self.walk.steps)
        return {"T": t, "auc": auc}

    def at_full_length(self, state: State) -> State:
        """The state with T at its maximum."""
        return {**state, "T": torch.full_like(state["T"], self.walk.steps)}


def area_under_curve(positive: Tensor, negative: Tensor) -> float:
    """AUC: the share of pairs in which the positive scores higher; ties count half."""
    difference = positive.detach()[:, None] - negative.detach()[None, :]
    return float(((difference > 0).double() + 0.5 * (difference == 0).double()).mean())


def gradient_penalty(score: Tensor, x: Tensor) -> Tensor:
    """R1: ½ · mean_i ||∇_x score_i||², with a graph for the second derivative."""
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return gradient.flatten(1).square().sum(1).mean() / 2


def binary_cross_entropy(real: Tensor, contrastive: Tensor) -> Tensor:
    """1/(2B) Σ_i [ softplus(−s(x_i)) + softplus(s(õ_i)) ]: the mean over both halves, hence the ½."""
    return (softplus(-real).mean() + softplus(contrastive).mean()) / 2


def likelihood(real: Tensor, contrastive: Tensor) -> Tensor:
    """1/B Σ_i [ −s(x_i) + s(õ_i) ]: its gradient is that of −log p(x) if the õ_i are samples of p."""
    return contrastive.mean() - real.mean()


class Contrastive(Stage):
    """A stage that learns from contrastive images; its curriculum sets the length of their walk."""

    contrast: Contrast
    r1: float

    @property
    def needs_double_backward(self) -> bool:
        """Whether the gradient penalty is on."""
        return self.r1 > 0

    def state(self, data: Dataset, rng: torch.Generator) -> State:
        """The curriculum's initial state."""
        return self.contrast.state(self.training.batch)

    def update_state(self, state: State, per_image: dict[str, Tensor]) -> dict[str, float]:
        """Advance the curriculum by the joint logits of real and contrastive images."""
        return self.contrast.observe(state, per_image["real"], per_image["contrastive"])

    def at_full_length(self, state: State) -> State:
        """The state with T at its maximum."""
        return self.contrast.at_full_length(state)


@settings
class Joint(Contrastive):
    """The second stage: the robust classifier learns which images are real; normalisation is frozen.

        L = bce · L_BCE + ce · L_AT-CE + r1 · ½ · mean_i ||∇_x s(x_i)||²
        L_BCE   = 1/(2B) Σ_i [ softplus(−s(x_i)) + softplus(s(õ_i)) ],   s(x) = logsumexp_y f_y(x) = −E(x)
        L_AT-CE = 1/B Σ_j CE( f(x'_j), y'_j )

    energy: mle puts the maximum-likelihood gradient (JEM, arXiv 1912.03263, Eq. 2) in place of L_BCE, at its weight:

        L_MLE   = 1/B Σ_i [ −s(x_i) + s(õ_i) ],   ∇_θ L_MLE = mean_i ∇_θ E(x_i) − mean_i ∇_θ E(õ_i)

    x: real images, mildly augmented; õ: contrastive images; x', y': adversarial images of another batch, strongly
    augmented, and its labels. The contrastive walk climbs the joint logit; the BCE uses the marginal score.
    A weight of 0 removes the gradient of its term; only r1 = 0 also saves the time. Only frozen normalisation
    keeps the three parts of the concatenated batch independent; without it they share batch statistics.
    """

    contrast: Contrast
    attack: Walk
    training: Training
    bce: Factor = 1.0
    ce: Factor = 1.0
    r1: Factor = 0.0
    energy: Literal["bce", "mle"] = later(default="bce")
    streams: ClassVar[tuple[Stream, ...]] = ("labelled", "real", "outliers")

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """BCE on the marginal score, or the likelihood, plus adversarial cross-entropy."""
        x, y = batch.images["labelled"], batch.labels["labelled"]
        # Make the contrastive and the adversarial images; the penalty needs a gradient at the real ones.
        contrastive, target = self.contrast.images(model, batch, state, shard)
        attacked = walk(model, x, cross_entropy(y), self.attack)
        real = batch.images["real"].detach().requires_grad_(self.r1 > 0)

        # One forward pass for all three parts.
        logits = model(torch.cat([real, contrastive, attacked]))
        logits_real, logits_contrastive, logits_attacked = logits.split([len(real), len(contrastive), len(x)])
        s_real, s_contrastive = marginal_score(logits_real), marginal_score(logits_contrastive)
        # The terms of the loss, then the figures to monitor.
        contrast = binary_cross_entropy if self.energy == "bce" else likelihood
        terms = {
            self.energy: self.bce * contrast(s_real, s_contrastive),
            "ce": self.ce * cross_entropy(y)(logits_attacked).mean(),
        }
        if self.r1:
            terms["r1"] = self.r1 * gradient_penalty(s_real, real)
        joint = {
            "real": joint_logit(batch.labels["real"])(logits_real),
            "contrastive": joint_logit(target)(logits_contrastive),
        }
        robust = (logits_attacked.detach().argmax(1) == y).float().mean()
        scores = {"s_real": s_real.detach().mean(), "s_contrastive": s_contrastive.detach().mean()}
        return Loss(terms, {**scores, "robust_accuracy": robust}, per_image=joint)


@settings
class ATJEM(Method):
    """Two stages: AT, which is trained once and shared with method=at, then joint training.

    `robust: null` skips the first stage.
    """

    robust: Robust | None
    joint: Joint
    sampler: Walk
