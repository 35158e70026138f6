"""Inception's architecture with initial weights, for tests without the published ones."""

import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


class _Bare(FeatureExtractorInceptionV3):
    def load_state_dict(self, *_):
        return None


def untrained_inception(folder):
    """Return the net with weights of a fixed seed; `folder` gets a file that it asks for and does not use."""
    torch.save({}, folder / "empty.pth")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _Bare("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(folder / "empty.pth"))
