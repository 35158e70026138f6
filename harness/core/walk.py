"""One gradient walk with different settings gives the PGD attack, the PGD sampler and SGLD.

x ← clamp( project( x + step · direction( ∇ objective(f(x)) ) + noise · N(0, I) ) )
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from math import log
from typing import Literal

import torch
from torch import Tensor, nn

from harness.core.device import Precision, computing
from harness.core.settings import later, settings
from harness.core.timing import section

Objective = Callable[[Tensor], Tensor]
"""Logits, N x K → one value per image, N, that a walk maximises."""

Normal = Callable[[Tensor], Tensor]
"""An image batch → standard normal noise of the same shape."""

Norm = Literal["l1", "l1.5", "l2", "linf"]
"""The norms of balls and of unit steps."""

MOST_STEPS = 1_000_000
"""The most steps of a walk, far more than anyone takes."""

HALVINGS = 40
"""How often the interval that holds a multiplier is halved: to less than the rounding of its sums."""

Forward = Callable[[nn.Module, Tensor], Tensor]
"""A net and images, N x C x H x W → logits, N x K."""


def forward(model: nn.Module, x: Tensor) -> Tensor:
    """Pass images through a net, as it is."""
    return model(x)


_forward: ContextVar[Forward] = ContextVar("forward", default=forward)
_kept: ContextVar[list[Tensor] | None] = ContextVar("kept", default=None)
_taken: ContextVar[Iterator[Tensor] | None] = ContextVar("taken", default=None)


@settings
class Walk:
    """The settings of a walk; lengths are in units of pixels in [0, 1].

    steps: their number; 0 returns the start unchanged. step: length of each step, or the factor of the raw gradient if
    `direction` is raw.
    eps: radius of the ball around the start that `project` returns to; null means no ball.
    norm: of the ball and of a unit step (l2: g / ||g||, linf: sign g). Small norms give sparse changes: there a step is
    sign(g) g², scaled to length 1, which for l1.5 is the steepest ascent (SVCE, Boreiko et al. 2022).
    limit: bound on each coordinate of the gradient, applied first, as in the proximal SGLD of JEM++; null for none.
    momentum: of a buffer of L1-normalised gradients, as in the attack of RATIO; 0 means none.
    noise: standard deviation of the noise added in each step. clamp: to [0, 1] after each step.
    keep: the last iterate, or for each image the best of all iterates, including the start.
    statistics: which ones batch normalisation uses: the running ones, or those of the batch. With batch statistics the
    images influence each other and update the running statistics at each step, as in the JEM++ family's training.
    precision: of the network during the walk; a sampler's is fp32.
    """

    steps: int
    step: float
    eps: float | None = None
    norm: Norm = "l2"
    direction: Literal["unit", "raw"] = "unit"
    limit: float | None = None
    momentum: float = 0.0
    noise: float = 0.0
    clamp: bool = True
    keep: Literal["last", "best"] = "last"
    statistics: Literal["running", "batch"] = "running"
    precision: Precision = later(default="fp32")

    def __post_init__(self) -> None:
        if not 0 <= self.steps <= MOST_STEPS:
            raise ValueError(f"steps must be 0 or more, and at most {MOST_STEPS:,}, not {self.steps}")
        if not self.step > 0:
            raise ValueError(f"step must be above 0, not {self.step}")
        if self.eps is not None and not self.eps > 0:
            raise ValueError(f"eps must be above 0, or null for no ball, not {self.eps}")
        if self.limit is not None and not self.limit > 0:
            raise ValueError(f"limit must be above 0, or null for none, not {self.limit}")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), not {self.momentum}")
        if not self.noise >= 0:
            raise ValueError(f"noise must be 0 or more, not {self.noise}")

    @property
    def kind(self) -> str:
        """The name of such a walk: an attack stays in a ball, SGLD adds noise, and contrastive PGD does neither."""
        if self.eps is not None:
            return "attack"
        return "SGLD" if self.noise else "contrastive PGD"


def cross_entropy(labels: Tensor) -> Objective:
    """−log p(y|x): maximising it is the untargeted attack on a classifier."""
    return lambda logits: nn.functional.cross_entropy(logits, labels, reduction="none")


def joint_logit(labels: Tensor) -> Objective:
    """f_y(x) = −E(x, y): maximising it draws images of class y."""
    return lambda logits: logits.gather(1, labels[:, None])[:, 0]


def marginal_score(logits: Tensor) -> Tensor:
    """s(x) = logsumexp_y f_y(x) = −E(x): maximising it draws images of any class."""
    return logits.logsumexp(1)


def confidence(logits: Tensor) -> Tensor:
    """KL( U ‖ p(·|x) ) = s(x) − mean_k f_k(x) − log K per image; 0 where all K classes are equally likely."""
    return marginal_score(logits) - logits.mean(1) - log(logits.shape[1])


def walk(
    model: nn.Module,
    start: Tensor,
    objective: Objective,
    how: Walk,
    *,
    steps: int | None = None,
    normal: Normal | None = None,
    centre: Tensor | None = None,
) -> Tensor:
    """Walk images from `start` up the objective; return them detached, in the start's shape and dtype.

    `steps` replaces `how.steps` (the curriculum's T; 0 returns a copy of the start). The ball lies around `centre`,
    by default the start. The model runs in evaluation mode, unless the walk uses batch statistics, and its parameters
    stay out of the graph; so each image walks by its own gradient alone.
    `normal` draws the noise if `how.noise` is above 0; ValueError without it.
    """
    if how.noise and normal is None:
        raise ValueError("a walk with noise needs `normal`, the source of it")
    steps = how.steps if steps is None else steps
    # A second pass takes the images of the first one, and leaves the source of noise as the walk left it.
    if (taken := _taken.get()) is not None:
        if how.noise and normal is not None:
            for _ in range(steps):
                normal(start)
        return next(taken)
    x, centre = start.detach().clone(), start if centre is None else centre
    best, best_value = x, start.new_full((len(start),), -torch.inf)
    buffer = torch.zeros_like(x)
    # With batch statistics the network stays in its own mode; its parameters are frozen in any case.
    evaluating = how.statistics == "running"
    net = partial(_forward.get(), model)
    with (
        section(how.kind),
        frozen(model, evaluating),
        computing(how.precision, start.device),
        cast_once(model, how.precision),
    ):
        for _ in range(steps):
            gradient, value = slope(net, x, objective)
            if how.keep == "best":
                best, best_value = _keep_better(best, best_value, x, value)
            # Shape the gradient, take the step, add noise, and return to the bounds.
            if how.limit is not None:
                gradient = gradient.clamp(-how.limit, how.limit)
            if how.momentum:
                buffer = gradient = how.momentum * buffer + _unit(gradient, 1)
            x = x + how.step * _direction(gradient, how)
            if how.noise and normal is not None:
                x = x + how.noise * normal(x)
            x = project(x, centre, how)
        # The last iterate has not been compared yet.
        if how.keep == "best":
            with torch.no_grad():
                x, _ = _keep_better(best, best_value, x, objective(net(x)))
    if (kept := _kept.get()) is not None:
        kept.append(x)
    return x


@contextmanager
def walk_through(forward: Forward) -> Iterator[None]:
    """Let the walks within the context pass images through their net by this function, such as a compiled one."""
    token = _forward.set(forward)
    try:
        yield
    finally:
        _forward.reset(token)


@contextmanager
def keep_walks() -> Iterator[list[Tensor]]:
    """Yield a list that gets what each walk within the context returns."""
    token = _kept.set(walks := [])
    try:
        yield walks
    finally:
        _kept.reset(token)


@contextmanager
def repeat_walks(walks: Sequence[Tensor]) -> Iterator[None]:
    """Let the walks within the context return these images, in order, in place of walking."""
    token = _taken.set(iter(walks))
    try:
        yield
    finally:
        _taken.reset(token)


def project(x: Tensor, centre: Tensor, how: Walk) -> Tensor:
    """Project x onto the ball around the centre, then onto [0, 1]; in l1 and l1.5 onto what both have in common."""
    if how.eps is not None:
        offset = x - centre
        if how.norm == "l2":
            length = offset.flatten(1).norm(dim=1)
            factor = torch.where(length > how.eps, how.eps / length, torch.ones_like(length))
            x = centre + offset * _per_image(factor, x)
        elif how.norm == "linf":
            x = centre + offset.clamp(-how.eps, how.eps)
        else:
            room = torch.where(offset > 0, 1 - centre, centre).clamp(min=0) if how.clamp else None
            x = centre + _shrink(offset, how.eps, 1.0 if how.norm == "l1" else 1.5, room)
    return x.clamp(0, 1) if how.clamp else x


def slope(logits: Callable[[Tensor], Tensor], x: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """∇_x of the summed objective, and the objective per image, N; `logits` is a net, or a function that applies one.

    The sum, not the mean: an image's gradient must not shrink with the size of its batch.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = objective(logits(x))
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return gradient, value.detach()


def _shrink(offset: Tensor, eps: float, p: float, room: Tensor | None) -> Tensor:
    """The nearest of the offsets whose Lp norm is at most eps, p = 1 or 1.5, and whose sizes are at most `room`.

    For a multiplier λ ≥ 0 of the norm, a coordinate of size a has the size y with y = max(a − λ, 0) for p = 1 (Duchi et
    al. 2008), and y + 1.5 λ √y = a for p = 1.5; then the room bounds it (Croce & Hein 2021). The norm falls as λ grows,
    so the smallest λ that fits is found by halving an interval, for each image.
    """
    size, tiny = offset.abs(), torch.finfo(offset.dtype).tiny

    def shrunk(multiplier: Tensor) -> Tensor:
        m = _per_image(multiplier, size)
        if p == 1:
            y = (size - m).clamp(min=0)
        else:
            m = 1.5 * m
            y = (2 * size / (m + (m * m + 4 * size).sqrt()).clamp(min=tiny)).square()
        return y if room is None else y.minimum(room)

    def fits(multiplier: Tensor) -> Tensor:
        y = shrunk(multiplier).flatten(1)
        return (y if p == 1 else y * y.sqrt()).sum(1) <= eps**p

    # The largest λ that may be needed: all is 0, or each y is below its bound (a / 1.5 λ)².
    flat = size.flatten(1)
    low = torch.zeros_like(flat[:, 0])
    high = flat.amax(1) if p == 1 else flat.norm(p=3, dim=1) / (1.5 * eps**0.5)
    high = torch.where(fits(low), low, high)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        inside = fits(middle)
        low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
    return offset.sign() * shrunk(high)


def _direction(gradient: Tensor, how: Walk) -> Tensor:
    if how.direction == "raw":
        return gradient
    if how.norm in ("l1", "l1.5"):
        root = _unit(gradient, 2 if how.norm == "l1" else 3)  # ||r²||_p = ||r||_2p², so a unit step again
        return root * root.abs()
    return gradient.sign() if how.norm == "linf" else _unit(gradient, 2)


def _unit(gradient: Tensor, p: int) -> Tensor:
    """g / ||g||_p per image in fp32 or better; a gradient of exactly zero stays zero.

    Dividing by its largest entry first, a saturated gradient of 1e-30 keeps its direction, which the usual
    g / (||g|| + 1e-10) would lose.
    """
    g = gradient.to(torch.promote_types(gradient.dtype, torch.float32))
    largest = g.flatten(1).abs().amax(1)
    g = g / _per_image(torch.where(largest > 0, largest, torch.ones_like(largest)), g)
    length = g.flatten(1).norm(p=p, dim=1).clamp(min=1)  # the largest entry is now 1, or all are 0
    return (g / _per_image(length, g)).to(gradient.dtype)


def _keep_better(best: Tensor, best_value: Tensor, x: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    higher = value > best_value
    return torch.where(_per_image(higher, x), x, best), torch.where(higher, value, best_value)


def _per_image(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.dim() - 1))


@contextmanager
def frozen(model: nn.Module, evaluating: bool = True) -> Iterator[None]:
    """Freeze the parameters and, with `evaluating`, set evaluation mode within the context; restore both on leaving."""
    modes = [(module, module.training) for module in model.modules()]
    learning = [p for p in model.parameters() if p.requires_grad]
    if evaluating:
        model.eval()
    for p in learning:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in learning:
            p.requires_grad_(True)
        for module, training in modes:
            module.training = training


@contextmanager
def cast_once(model: nn.Module, precision: Precision) -> Iterator[None]:
    """In bf16, hold the weights of convolutions and linear layers in it within the context; restore them on leaving.

    Autocast would cast them in each pass, for it keeps only casts of weights that learn. The result is the same, bit
    for bit: classes derived from these layers, which may compute with their weights first, are left to autocast.
    """
    if precision != "bf16":
        yield
        return
    layers = [module for module in model.modules() if type(module) in (nn.Conv2d, nn.Linear)]
    named = [(layer, name, p) for layer in layers for name, p in layer.named_parameters(recurse=False)]
    weights = [entry for entry in named if entry[1] in ("weight", "bias")]  # not the parts that torch makes them of
    for layer, name, p in weights:
        setattr(layer, name, nn.Parameter(p.to(torch.bfloat16), requires_grad=False))
    try:
        yield
    finally:
        for layer, name, p in weights:
            setattr(layer, name, p)
