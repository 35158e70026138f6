"""Penultimate features of any net: what enters the layer that gives the logits; and two OOD scores of them."""

import torch
from torch import Tensor, nn

from harness.core.energy import EnergyModel
from harness.core.walk import frozen
from harness.evaluation.neighbours import nearest

SMALL = 1e-10
"""Added to the length of features before they are divided by it, as in the code of Sun et al."""

NO_HEAD = "the logits are not the output of one linear layer, so there are no penultimate features"
"""Why a net has no scores of features."""


def head(model: EnergyModel, image: Tensor) -> nn.Module | None:
    """The linear layer (or 1x1 convolution) whose output is the logits of an image, 1 x C x H x W; None if none is.

    A net whose logits are computed from the outputs of several layers, as by two heads, has no such layer.
    """
    outputs: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, given: object, output: Tensor) -> None:
        outputs.append((module, output))

    layers = [module for module in model.net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with frozen(model), torch.no_grad():
            logits = model(image)
    finally:
        for hook in hooks:
            hook.remove()
    # Compare memory: a layer that only flattens may follow, and all outputs are kept, so none is used twice.
    same = [
        layer
        for layer, output in outputs
        if output.data_ptr() == logits.data_ptr() and output.shape[1:].numel() == logits.shape[1]
    ]
    return same[0] if len(same) == 1 else None


def penultimate(model: EnergyModel, layer: nn.Module, images: Tensor) -> Tensor:
    """What enters the layer, N x D in float32 on the CPU, as images pass the net."""
    inputs: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, given: inputs.append(given[0].flatten(1)))
    try:
        with frozen(model), torch.no_grad():
            model(images)
    finally:
        hook.remove()
    return torch.cat(inputs).float().cpu()


def unit(features: Tensor) -> Tensor:
    """Features, N x D, divided by their length."""
    return features / (features.norm(dim=1, keepdim=True) + SMALL)


def knn_score(features: Tensor, bank: Tensor, k: int) -> Tensor:
    """Minus the distance, N, to the k-th nearest of the training images' features, all of unit length.

    Deep nearest neighbours (Sun et al. 2022, equation 2). bank: M x D, of unit length already.
    """
    return -nearest(unit(features), bank, k)[0][:, -1]


def whitening(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix W, D x R, in which the classes' shared covariance is the identity, and the classes' means, K x D.

        Σ = 1/N Σ_i (f_i − μ_{y_i})(f_i − μ_{y_i})ᵀ,    W Wᵀ = Σ⁺

    Σ⁺ is the pseudo-inverse: directions in which no feature varies are left out, R of D remain. Both in float64.
    """
    double = features.double()
    means = torch.stack([double[labels == label].mean(0) for label in labels.unique()])
    apart = double - means[labels.unique(return_inverse=True)[1]]
    values, vectors = torch.linalg.eigh(apart.T @ apart / len(apart))
    kept = values > len(values) * torch.finfo(torch.double).eps * values.abs().max()
    return vectors[:, kept] / values[kept].sqrt(), means


def mahalanobis_score(features: Tensor, whiten: Tensor, means: Tensor) -> Tensor:
    """Minus the squared Mahalanobis distance, N, to the nearest class (Lee et al. 2018, equation 2)."""
    centre = means.mean(0)
    apart = torch.cdist(
        (features.double() - centre) @ whiten, (means - centre) @ whiten, compute_mode="donot_use_mm_for_euclid_dist"
    )
    return -apart.min(1).values.square()
