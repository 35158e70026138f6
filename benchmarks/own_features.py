"""Train the classifier behind features=own that is shipped for a dataset: python benchmarks/own_features.py data=NAME.

It writes own-NAME.safetensors and its sha256 beside the extractor, and prints what docs/extractors.md says of them. The
shipped weights are the ruler of every Fréchet distance on that dataset. They were made once, and are never trained
again: another CPU adds numbers in another order and gives a slightly different ruler.
"""

import sys
from pathlib import Path

import torch

from harness.core.dataset import Dataset
from harness.core.files import sha256
from harness.core.tensors import save_tensors
from harness.evaluation.features import own
from harness.runs.compose import compose
from harness.runs.run import Run


@torch.no_grad()
def describe(classifier: own.Classifier, data: Dataset) -> str:
    """The accuracy of a classifier on the test split, and the range of its features' standard deviations there."""
    images, labels = data.tensors("test")
    features = torch.cat([classifier.features(batch) for batch in images.split(500)])
    accuracy = 100 * float((classifier.head(features).argmax(1) == labels).float().mean())
    deviations = features.std(0)
    return f"{accuracy:.2f} % of {len(labels)}; deviations between {deviations.min():.2f} and {deviations.max():.2f}"


if __name__ == "__main__":
    (config,) = compose(sys.argv[1:])
    data = Run(config).data
    classifier = own.train(data)
    path = Path(own.__file__).with_name(f"own-{type(data).__name__.lower()}.safetensors")
    save_tensors(path, classifier.state_dict())
    path.with_suffix(".sha256").write_text(f"{sha256(path)}  {path.name}\n")
    print(describe(classifier, data))
