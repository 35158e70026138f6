"""JEM++: JEM with normalisation layers, by proximal SGLD from informative starts (Yang & Ji 2021, arXiv 2109.09032)."""

from math import prod
from typing import ClassVar

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

JITTER = 1e-4 / 4
"""Added to each pixel's variance (1e-4 on [−1, 1]): constant pixels would otherwise make a covariance singular."""

LARGEST = 4096
"""The largest number of values per image for which the covariance matrices of all classes are kept in memory."""


def class_gaussians(data: Dataset) -> State:
    """N(μ_c, Σ_c + jitter · I) of each class's flattened training images: means, and Cholesky roots L Lᵀ = Σ_c + …"""
    images, labels = data.tensors("train")
    means, roots = [], []
    for c in range(len(data.classes)):
        x = images[labels == c].flatten(1).double()
        covariance = torch.cov(x.T, correction=0) + JITTER * torch.eye(x.shape[1], dtype=x.dtype)
        means.append(x.mean(0).float())
        roots.append(torch.linalg.cholesky(covariance).float())
    return {"means": torch.stack(means), "roots": torch.stack(roots)}


def gaussian(of: State, classes: Tensor, rng: torch.Generator) -> Tensor:
    """One flattened draw for each of the given classes, before clamping to [0, 1]."""
    means, roots = of["means"], of["roots"]
    x = torch.randn(len(classes), means.shape[1], generator=rng, device=means.device, dtype=means.dtype)
    # Sort the draws by class: their numbers are then all that the host must read from the device.
    order, numbers = classes.argsort(stable=True), torch.arange(len(means), device=classes.device)
    drawn = x[order]
    for c, part in enumerate(drawn.split((classes[:, None] == numbers).sum(0).tolist())):
        if len(part):
            part.copy_(means[c] + part @ roots[c].T)
    x[order] = drawn
    return x


@settings
class InformativeChains:
    """Persistent chains in a replay buffer of `buffer` images; new chains start at draws from per-class Gaussians.

    walk: proximal SGLD, x ← clip( x + step · clamp( ∇_x s(x), ±limit ) + noise · N(0, I) ). JEM++ splits a step into
    N substeps along one gradient of the first layer's output; as that layer is linear, N steps of α equal one of N α.
    restart: the probability that a chain restarts, from a class drawn at random. Initially the buffer holds equal
    blocks, one per class. stored: float32 keeps the exact images, uint8 rounds them to 8 bits.
    """

    walk: Walk
    buffer: int = 10_000
    restart: float = 0.05
    stored: Stored = later(default="float32")

    def __post_init__(self) -> None:
        if not (1 <= self.buffer <= LARGEST_BUFFER and 0 <= self.restart <= 1):
            raise ValueError(f"buffer must be between 1 and {LARGEST_BUFFER:,}, restart in [0, 1]")

    def state(self, data: Dataset, rng: torch.Generator) -> State:
        """The replay buffer, initialised with draws from the class Gaussians."""
        gaussians = {name: value.to(rng.device) for name, value in class_gaussians(data).items()}
        classes = torch.arange(len(data.classes), device=rng.device)
        drawn = gaussian(gaussians, classes.repeat_interleave(self.buffer // len(classes)), rng)
        return {"buffer": to_stored(drawn.clamp(0, 1).view(-1, *data.shape), self.stored)}

    def draw(self, model: EnergyModel, state: State, n: int, shard: Shard) -> Tensor:
        """Take n chains from distinct places of the buffer, continue them by one walk, and write them back."""
        buffer, total = state["buffer"], n * shard.parts
        # Take distinct places of the buffer.
        places = torch.randperm(self.buffer, generator=shard.rng, device=buffer.device)[:total]
        chains = to_images(shard.take(buffer, places))
        # Replace a few chains by fresh draws from the Gaussians of random classes.
        restarts = torch.rand(total, generator=shard.rng, device=buffer.device) < self.restart
        (rows,) = restarts.nonzero(as_tuple=True)
        classes = torch.randint(len(state["means"]), (len(rows),), generator=shard.rng, device=buffer.device)
        fresh = chains.new_zeros(total, *buffer.shape[1:])
        fresh[rows] = gaussian(state, classes, shard.rng).clamp(0, 1).view(-1, *buffer.shape[1:])
        start = torch.where(shard.own(restarts)[:, None, None, None], shard.own(fresh), chains)
        # Continue all chains, and write them back.
        x = walk(model, start, marginal_score, self.walk, normal=shard.normal)
        shard.put(buffer, places, to_stored(x, self.stored))
        return x

    def sample(self, model: EnergyModel, buffer: Tensor, sampler: Walk, rng: PerImage) -> Tensor:
        """Continue chains of the buffer; they are unconditional, and each keeps the class that it has."""
        places = rng.integers(len(buffer)).to(buffer.device)
        return walk(model, to_images(buffer[places]), marginal_score, sampler, normal=rng.normal)

    def skip(self, data: Dataset) -> str | None:
        """Refuse images whose covariances would be too large, and buffers that the classes do not divide evenly."""
        if prod(data.shape) > LARGEST:
            return f"informative starts need a {prod(data.shape)}² covariance for each class; {LARGEST}² is the most"
        if self.buffer % len(data.classes):
            return f"buffer={self.buffer} is not a multiple of the {len(data.classes)} classes"
        return None


@settings
class Persistent(Stage):
    """A stage with such chains; its buffer must hold at least one batch."""

    chains: InformativeChains
    training: Training
    sharded: ClassVar[tuple[str, ...]] = ("buffer",)

    def __post_init__(self) -> None:
        if self.chains.buffer < self.training.size("real"):
            raise ValueError(f"chains.buffer={self.chains.buffer} must hold a batch of {self.training.size('real')}")

    def state(self, data: Dataset, rng: torch.Generator) -> State:
        """The replay buffer."""
        return self.chains.state(data, rng)

    def constants(self, data: Dataset) -> State:
        """The Gaussians that chains restart from."""
        return class_gaussians(data)


class Continued(Method):
    """A method of one such stage; samples continue the chains of its replay buffer."""

    @property
    def chains(self) -> InformativeChains:
        """The chains of its stage."""
        (stage,) = self.stages.values()
        assert isinstance(stage, Persistent)
        return stage.chains

    def skip(self, data: Dataset) -> str | None:
        """The chains' reason to refuse a dataset, if any."""
        return self.chains.skip(data)

    def sample(self, model: EnergyModel, starts: Tensor, labels: Tensor, state: State, rng: PerImage) -> Tensor:
        """Continue chains of the buffer."""
        return self.chains.sample(model, state["buffer"].to(starts.device), self.sampler, rng)


@settings
class Energy(Persistent):
    """Maximum likelihood of p(x) and p(y|x), as in JEM, in a network with batch normalisation.

        L = −( mean s(x) − mean s(x̂) ) + CE( f(x_lab), y_lab ),    x̂ ~ proximal SGLD on E(x) = −s(x)

    x, the chains at each of their steps, x̂ and x_lab go through the network in this order, in separate batches, in
    training mode. x and x_lab carry Gaussian noise of standard deviation `sigma`.
    """

    sigma: Factor = 0.0
    px: Factor = 1.0
    ce: Factor = 1.0
    streams: ClassVar[tuple[Stream, ...]] = ("labelled", "real")

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """The difference of mean scores plus cross-entropy."""
        x, labelled = (batch.images[s] + self.sigma * shard.normal(batch.images[s]) for s in ("real", "labelled"))
        y = batch.labels["labelled"]
        s_real = marginal_score(model(x))
        chains = self.chains.draw(model, state, len(x), shard)
        s_chains, logits = marginal_score(model(chains)), model(labelled)
        terms = {
            "px": self.px * (s_chains.mean() - s_real.mean()),
            "ce": self.ce * cross_entropy(y)(logits).mean(),
        }
        accuracy = (logits.detach().argmax(1) == y).float().mean()
        scores = {"s_real": s_real.detach().mean(), "s_chains": s_chains.detach().mean()}
        return Loss(terms, {**scores, "accuracy": accuracy})


@settings
class JEMPP(Continued):
    """One stage of training; samples continue the chains of its replay buffer."""

    energy: Energy
    sampler: Walk
