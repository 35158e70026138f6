"""sFID is taken in the features of ADM's evaluator: seven channels of `mixed_6/conv`, by row, column and channel."""

import numpy as np
import pytest
import torch
from inception import untrained_inception
from torch import nn
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from harness.core.errors import UserError
from harness.evaluation.features import features
from harness.evaluation.features.spatial import Spatial
from harness.evaluation.reference import read_statistics

CPU = torch.device("cpu")
UP_TO_MIXED_6C = [
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "MaxPool_1",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
    "MaxPool_2",
    "Mixed_5b",
    "Mixed_5c",
    "Mixed_5d",
    "Mixed_6a",
    "Mixed_6b",
    "Mixed_6c",
]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inception")
    net = untrained_inception(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.data.uniform_(-1, 1)
    torch.save(net.state_dict(), folder / "random.pth")
    return net.eval(), folder / "random.pth"


@torch.no_grad()
def test_the_features_are_those_of_the_layers_called_one_by_one(weights):
    net, path = weights
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x = (interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(299, 299), align_corners=False) - 128) / 128
    for name in UP_TO_MIXED_6C:
        x = getattr(net, name)(x)
    branch = net.Mixed_6d.branch1x1
    maps = branch.bn(branch.conv(x)).relu()
    layers = features("spatial", None, str(path), CPU, path.parent)(images)
    assert layers.keys() == {"features"}
    found = layers["features"]
    assert found.shape == (2, 2023) and found.std() > 0
    for row, column, channel in [(0, 0, 0), (0, 0, 6), (0, 1, 0), (1, 0, 0), (16, 16, 6), (5, 11, 3)]:
        place = (row * 17 + column) * 7 + channel
        torch.testing.assert_close(found[:, place], maps[:, channel, row, column], rtol=1e-4, atol=1e-5)


def test_the_statistics_are_the_spatial_ones_of_the_file(tmp_path):
    path, n = tmp_path / "reference.npz", 2023
    pooled = {"mu": np.zeros(2048), "sigma": np.eye(2048)}
    np.savez(path, **pooled)
    with pytest.raises(UserError, match=r"statistics for sFID: an \.npz with mu_s and sigma_s is needed"):
        read_statistics(path, Spatial())
    np.savez(path, **pooled, mu_s=np.full(n, 3.0), sigma_s=2 * np.eye(n))
    statistics = read_statistics(path, Spatial())
    assert statistics["mu"].tolist() == [3.0] * n and statistics["sigma"].trace() == 2 * n
