"""A net with one hidden layer."""

from torch import nn


class Perceptron(nn.Sequential):
    """Pixels → hidden units → logits."""

    def __init__(self, classes: int, channels: int, sides: tuple[int, int], hidden: int) -> None:
        pixels = channels * sides[0] * sides[1]
        super().__init__(nn.Flatten(), nn.Linear(pixels, hidden), nn.SiLU(), nn.Linear(hidden, classes))
