"""JEM: one network that classifies and generates, trained with SGLD (Grathwohl et al. 2020, arXiv 1912.03263)."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from harness.core.dataset import Dataset
from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.random import PerImage
from harness.core.settings import Factor, later, settings
from harness.core.shard import Shard
from harness.core.walk import Walk, cross_entropy, marginal_score, walk
from harness.methods.replay import LARGEST_BUFFER, Stored, to_images, to_stored


@settings
class Chains:
    """Persistent SGLD chains in a replay buffer of `buffer` images.

    walk: the SGLD step, x ← x + step · ∇_x s(x) + noise · N(0, I), unclamped. restart: the probability that a chain
    restarts from uniform noise. stored: float32 keeps the exact images; uint8 cuts them to [0, 1] and rounds to 8 bits.
    """

    removed: ClassVar[dict[str, Any]] = {"conditional": False}

    walk: Walk
    buffer: int = 10_000
    restart: float = 0.05
    stored: Stored = later(default="float32")

    def __post_init__(self) -> None:
        if not (1 <= self.buffer <= LARGEST_BUFFER and 0 <= self.restart <= 1):
            raise ValueError(f"buffer must be between 1 and {LARGEST_BUFFER:,}, restart in [0, 1]")

    def draw(self, model: EnergyModel, state: State, n: int, shard: Shard) -> Tensor:
        """Take n chains from distinct places of the buffer, continue them by one walk, and write them back."""
        buffer = state["buffer"]
        places = torch.randperm(self.buffer, generator=shard.rng, device=buffer.device)[: n * shard.parts]
        chains = to_images(shard.take(buffer, places))
        fresh = shard.uniform(chains.new_empty(n)) < self.restart
        start = torch.where(fresh[:, None, None, None], shard.uniform(chains), chains)
        x = walk(model, start, marginal_score, self.walk, normal=shard.normal)
        shard.put(buffer, places, to_stored(x, self.stored))
        return x


@settings
class Energy(Stage):
    """Maximum likelihood of p(x) and p(y|x) in one network without normalisation layers.

        L = −( mean s(x) − mean s(x̂) ) + CE( f(x_lab), y_lab ),    x̂ ~ SGLD on E(x) = −s(x)

    The energies are raw and unbounded. Training images carry Gaussian noise of standard deviation `sigma`.
    """

    chains: Chains
    training: Training
    sigma: Factor = 0.0
    px: Factor = 1.0
    ce: Factor = 1.0
    streams: ClassVar[tuple[Stream, ...]] = ("labelled", "real")
    sharded: ClassVar[tuple[str, ...]] = ("buffer",)

    def __post_init__(self) -> None:
        if self.chains.buffer < self.training.batch:
            raise ValueError(f"chains.buffer={self.chains.buffer} must hold a batch of {self.training.batch}")

    def state(self, data: Dataset, rng: torch.Generator) -> State:
        """The replay buffer, initialised with uniform noise."""
        noise = torch.rand(self.chains.buffer, *data.shape, generator=rng, device=rng.device)
        return {"buffer": to_stored(noise, self.chains.stored)}

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """The difference of mean scores plus cross-entropy."""
        real, labelled = (self._add_noise(batch.images[stream], shard) for stream in ("real", "labelled"))
        y = batch.labels["labelled"]
        chains = self.chains.draw(model, state, len(real), shard)
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

    def _add_noise(self, x: Tensor, shard: Shard) -> Tensor:
        return x + self.sigma * shard.normal(x) if self.sigma else x


@settings
class JEM(Method):
    """One stage of training; samples continue the chains of its replay buffer."""

    energy: Energy
    sampler: Walk

    def sample(self, model: EnergyModel, starts: Tensor, labels: Tensor, state: State, rng: PerImage) -> Tensor:
        """Continue chains of the buffer; they are unconditional, so `labels` have no effect."""
        buffer = state["buffer"].to(starts.device)
        places = rng.integers(len(buffer)).to(labels.device)
        return walk(model, to_images(buffer[places]), marginal_score, self.sampler, normal=rng.normal)
