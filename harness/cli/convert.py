"""Convert a pickle from a source that you trust into safetensors; this executes the code that it holds."""

from pathlib import Path

from harness.cli.request import Request
from harness.training.weights import convert

WORDS = ("FILE", "NEW.safetensors")
PLAIN = True


def run(request: Request) -> None:
    """Convert it."""
    convert(*map(Path, request.words))
