"""JEM: one network to classify and to generate, by SGLD (Grathwohl et al. 2020, arXiv 1912.03263)."""

from typing import ClassVar

import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.random import PerImage
from harness.core.settings import later, settings
from harness.core.shard import Share
from harness.core.walk import Walk, cross_entropy, joint_logit, marginal_score, walk
from harness.methods.replay import Stored, kept, seen


@settings
class Chains:
    """Persistent SGLD chains in a replay buffer of `buffer` images.

    walk: the SGLD step, x ← x + step · ∇_x s(x) + noise · N(0, I), unclamped. restart: the chance that a chain
    begins anew from uniform noise. conditional: the buffer is in equal blocks, one for each class, and a chain
    climbs its class's logit f_y in place of s. stored: as the chains were left, or in 8 bits, cut to [0, 1].
    """

    walk: Walk
    buffer: int = 10_000
    restart: float = 0.05
    conditional: bool = False
    stored: Stored = later(default="float32")

    def __post_init__(self) -> None:
        if self.buffer < 1 or not 0 <= self.restart <= 1:
            raise ValueError("buffer must be 1 or more, restart in [0, 1]")

    def draw(self, model: EnergyModel, state: State, labels: Tensor, classes: int, share: Share) -> Tensor:
        """Chains, one for each label of this part of the batch, continued by one walk and written back.

        labels: of the whole batch.
        """
        places = self._places(labels, classes, share.rng)
        chains = seen(share.take(state["buffer"], places))
        fresh = share.uniform(chains.new_empty(len(chains))) < self.restart
        start = torch.where(fresh[:, None, None, None], share.uniform(chains), chains)
        objective = joint_logit(share.own(labels)) if self.conditional else marginal_score
        x = walk(model, start, objective, self.walk, normal=share.normal)
        share.put(state["buffer"], places, kept(x, self.stored))
        return x

    def _places(self, labels: Tensor, classes: int, rng: torch.Generator) -> Tensor:
        """One place in the buffer for each label, drawn without replacement: no two chains write to one place."""
        if not self.conditional:
            return torch.randperm(self.buffer, generator=rng, device=labels.device)[: len(labels)]
        block = self.buffer // classes
        shuffled = torch.rand(classes, block, generator=rng, device=labels.device).argsort(1)
        turn = (labels[:, None] == labels).tril(-1).sum(1)  # the how-manieth of its class in the batch
        return labels * block + shuffled[labels, turn % block]


@settings
class Energy(Stage):
    """Maximum likelihood of p(x) and of p(y|x) in one network without normalisation layers.

        L = −( mean s(x) − mean s(x̂) ) + CE( f(x_lab), y_lab ),    x̂ ~ SGLD on E(x) = −s(x)

    The energies are raw and unbounded. Training images carry Gaussian noise of standard deviation `sigma`.
    """

    chains: Chains
    training: Training
    sigma: float = 0.0
    px: float = 1.0
    ce: float = 1.0
    needs: ClassVar[tuple[Stream, ...]] = ("labelled", "real")
    dealt: ClassVar[tuple[str, ...]] = ("buffer",)

    def __post_init__(self) -> None:
        if self.chains.buffer < self.training.batch:
            raise ValueError(f"chains.buffer={self.chains.buffer} must hold a batch of {self.training.batch}")

    def state(self, data: Dataset, rng: torch.Generator) -> State:
        """The replay buffer, at first uniform noise."""
        noise = torch.rand(self.chains.buffer, *data.shape, generator=rng, device=rng.device)
        return {"buffer": kept(noise, self.chains.stored)}

    def constants(self, data: Dataset) -> State:
        """The classes, which a conditional buffer has a block for each of."""
        return {"classes": torch.arange(len(data.classes))}

    def loss(self, model: EnergyModel, batch: Batch, state: State, share: Share) -> Loss:
        """The difference of mean scores plus cross-entropy."""
        real, labelled = (self._noisy(batch.images[stream], share) for stream in ("real", "labelled"))
        y = batch.labels["labelled"]
        chains = self.chains.draw(model, state, batch.whole["real"], len(state["classes"]), share)
        s_real = marginal_score(model(real))
        logits = model(labelled)
        s_chains = marginal_score(model(chains))
        terms = {
            "px": self.px * (s_chains.mean() - s_real.mean()),
            "ce": self.ce * cross_entropy(y)(logits).mean(),
        }
        accuracy = (logits.detach().argmax(1) == y).float().mean()
        scores = {"s_real": s_real.detach().mean(), "s_chains": s_chains.detach().mean()}
        return Loss(terms, {**scores, "accuracy": accuracy})

    def _noisy(self, x: Tensor, share: Share) -> Tensor:
        return x + self.sigma * share.normal(x) if self.sigma else x


@settings
class JEM(Method):
    """One stage; sampled by continuing the chains of its replay buffer."""

    energy: Energy
    sampler: Walk

    @property
    def stages(self) -> dict[str, Stage]:
        """The joint model."""
        return {"energy": self.energy}

    def skip(self, data: Dataset) -> str | None:
        """Class blocks must divide the buffer."""
        chains = self.energy.chains
        if chains.conditional and chains.buffer % len(data.classes):
            return f"buffer={chains.buffer} is not a multiple of the {len(data.classes)} classes"
        return None

    def sample(self, model: EnergyModel, starts: Tensor, labels: Tensor, state: State, rng: PerImage) -> Tensor:
        """Chains of the buffer, from the label's own block where there are blocks, walked on.

        An unconditional chain has no label: it is what it is.
        """
        buffer = state["buffer"].to(starts.device)
        block = len(buffer) // (model(starts[:1]).shape[1] if self.energy.chains.conditional else 1)
        places = rng.integers(block).to(labels.device)
        if self.energy.chains.conditional:
            places = places + labels * block
        objective = joint_logit(labels) if self.energy.chains.conditional else marginal_score
        return walk(model, seen(buffer[places]), objective, self.sampler, normal=rng.normal)
