"""Train the digits extractor that is shipped with the harness: python benchmarks/digits_features.py FILE.safetensors.

The shipped weights are the ruler of every Fréchet distance on digits. They were made once by this script, with one
thread, and are never trained again: another CPU adds numbers in another order and gives a slightly different ruler.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.core.dataset import TensorView
from harness.core.loader import batches
from harness.datasets.digits import Digits
from harness.evaluation.features.digits import Classifier

STEPS, BATCH = 600, 64


def train(images: Tensor, labels: Tensor) -> Classifier:
    """Return a classifier of the digits features trained on these images, N x 1 x 8 x 8 in [0, 1]."""
    torch.manual_seed(0)
    classifier = Classifier()
    optimizer = torch.optim.AdamW(classifier.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    view = TensorView(images, labels, pad=1)
    for x, y in batches(view, len(view), BATCH, seed=0, start=0, stop=STEPS):
        loss = nn.functional.cross_entropy(classifier.head(classifier.features(x)), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return classifier


if __name__ == "__main__":
    torch.set_num_threads(1)
    save_file(train(*Digits().tensors("train")).state_dict(), Path(sys.argv[1]))
