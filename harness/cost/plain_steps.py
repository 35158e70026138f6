"""Training steps in the usual code, as a reference to measure ours against; nothing here trains a run.

A plain loop: every image batch passes through the net separately, walks run with weights that require gradients, the
host reads the losses in every iteration, the curriculum's AUC takes its own passes, and averaged weights are updated
parameter by parameter. All in NCHW, and in the precision that the caller sets.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Stage, State
from harness.core.optim import optimizer
from harness.core.walk import Walk
from harness.methods.at import Robust
from harness.methods.atjem import Joint
from harness.methods.generative import Generate
from harness.methods.jem import Energy
from harness.methods.standard import Classify

Losses = Callable[["PlainStep", Batch], Tensor]


class PlainStep:
    """A stage's step in plain code; LookupError if LOSSES has none for the stage."""

    def __init__(self, stage: Stage, model: EnergyModel, average: EnergyModel, state: State) -> None:
        self.stage: Any = stage
        self.model, self.average, self.state = model, average, state
        self.loss = LOSSES[type(stage)]
        self.optimizer = optimizer(list(model.parameters()), stage.training)

    def step(self, batch: Batch) -> dict[str, float]:
        """Take one optimiser step on a batch; return its loss."""
        loss = self.loss(self, batch)
        self.model.train()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        decay = self.stage.training.ema
        if decay is not None:
            with torch.no_grad():
                for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
                    mean.mul_(decay).add_(value, alpha=1 - decay)
                for mean, value in zip(self.average.buffers(), self.model.buffers(), strict=True):
                    mean.copy_(value)
        return {"loss": loss.item()}


def plain_walk(
    model: EnergyModel, start: Tensor, objective: Callable[[Tensor], Tensor], how: Walk, steps: int
) -> Tensor:
    """Walk images up an objective of their logits, one value per image; return the last or the best, as `how` says."""
    x = best = start
    highest, velocity = start.new_full((len(start),), -torch.inf), torch.zeros_like(start)
    model.eval()
    for _ in range(steps):
        x = x.detach().requires_grad_(True)
        value = objective(model(x))
        (gradient,) = torch.autograd.grad(value.sum(), x)
        value.sum().item()
        x, value = x.detach(), value.detach()
        if how.keep == "best":
            best, highest = _higher(best, highest, x, value)
        if how.momentum:
            gradient = velocity = how.momentum * velocity + gradient / (_length(gradient, 1) + 1e-10)
        x = _step(x, start, gradient, how)
    if how.keep == "best":
        with torch.no_grad():
            x, _ = _higher(best, highest, x, objective(model(x)))
    model.train()
    return x.detach()


def _step(x: Tensor, start: Tensor, gradient: Tensor, how: Walk) -> Tensor:
    if how.direction == "unit":
        gradient = gradient.sign() if how.norm == "linf" else gradient / (_length(gradient, 2) + 1e-10)
    x = x + how.step * gradient
    if how.noise:
        x = x + how.noise * torch.randn_like(x)
    if how.eps is not None:
        offset = x - start
        linf = how.norm == "linf"
        offset = offset.clamp(-how.eps, how.eps) if linf else offset.renorm(p=2, dim=0, maxnorm=how.eps)
        x = start + offset
    return x.clamp(0, 1) if how.clamp else x


def _length(gradient: Tensor, p: int) -> Tensor:
    return gradient.flatten(1).norm(p=p, dim=1).view(-1, 1, 1, 1)


def _higher(best: Tensor, highest: Tensor, x: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    better = value > highest
    return torch.where(better.view(-1, 1, 1, 1), x, best), torch.where(better, value, highest)


def _classify(reference: PlainStep, batch: Batch) -> Tensor:
    y = batch.labels["labelled"]
    logits = reference.model(batch.images["labelled"])
    (logits.argmax(1) == y).float().mean().item()
    return cross_entropy(logits, y)


def _robust(reference: PlainStep, batch: Batch) -> Tensor:
    model, attack = reference.model, reference.stage.attack
    x, y = batch.images["labelled"], batch.labels["labelled"]
    attacked = plain_walk(model, x, lambda logits: cross_entropy(logits, y, reduction="none"), attack, attack.steps)
    logits = model(attacked)
    (logits.argmax(1) == y).float().mean().item()
    return cross_entropy(logits, y)


def _binary(reference: PlainStep, batch: Batch, score: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    real, y, steps = batch.images["real"], batch.labels["real"], int(reference.state["T"])
    model, walk = reference.model, reference.stage.contrast.walk

    def joint(logits: Tensor) -> Tensor:
        return logits.gather(1, y[:, None])[:, 0]

    # Draw contrastive samples from outliers, and compute the AUC in separate passes.
    contrastive = plain_walk(model, batch.images["outliers"], joint, walk, steps)
    model.eval()
    with torch.no_grad():
        difference = joint(model(real))[:, None] - joint(model(contrastive))[None]
        ((difference > 0).float() + 0.5 * (difference == 0).float()).mean().item()
    model.train()
    x = real.detach().requires_grad_(reference.stage.r1 > 0)
    of_real, of_contrastive = score(model(x), y), score(model(contrastive), y)
    loss = (softplus(-of_real).mean() + softplus(of_contrastive).mean()) / 2
    if reference.stage.r1:
        (gradient,) = torch.autograd.grad(of_real.sum(), x, create_graph=True)
        loss = loss + reference.stage.r1 * gradient.square().flatten(1).sum(1).mean() / 2
    for score_of in (of_real, of_contrastive):
        score_of.mean().item()
    return loss


def _generate(reference: PlainStep, batch: Batch) -> Tensor:
    return _binary(reference, batch, lambda logits, y: logits.gather(1, y[:, None])[:, 0])


def _joint(reference: PlainStep, batch: Batch) -> Tensor:
    return _binary(reference, batch, lambda logits, y: logits.logsumexp(1)) + _robust(reference, batch)


def _energy(reference: PlainStep, batch: Batch) -> Tensor:
    model, chains, buffer = reference.model, reference.stage.chains, reference.state["buffer"]
    real, x, y = batch.images["real"], batch.images["labelled"], batch.labels["labelled"]
    places = torch.randint(len(buffer), (len(real),), device=buffer.device)
    stored = buffer[places] if buffer.dtype.is_floating_point else buffer[places].float() / 255
    fresh = torch.rand(len(real), 1, 1, 1, device=buffer.device) < chains.restart
    start = torch.where(fresh, torch.rand_like(stored), stored)
    sampled = plain_walk(model, start, lambda logits: logits.logsumexp(1), chains.walk, chains.walk.steps)
    buffer[places] = sampled if buffer.dtype.is_floating_point else (sampled.clamp(0, 1) * 255).to(torch.uint8)
    s_real, s_sampled = model(real).logsumexp(1).mean(), model(sampled).logsumexp(1).mean()
    logits = model(x)
    for figure in (s_real, s_sampled, (logits.argmax(1) == y).float().mean()):
        figure.item()
    return s_sampled - s_real + cross_entropy(logits, y)


LOSSES: dict[type[Stage], Losses] = {
    Classify: _classify,
    Robust: _robust,
    Generate: _generate,
    Joint: _joint,
    Energy: _energy,
}
"""The loss of each stage that has a plain step."""
