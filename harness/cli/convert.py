"""Convert a pickle from a source that you trust into safetensors; this executes the code in the pickle."""

from pathlib import Path

from harness.cli.request import Request
from harness.training.weights import convert

WORDS = ("FILE", "NEW.safetensors")
PLAIN = True


def run(request: Request) -> None:
    """Convert the file."""
    convert(*map(Path, request.words))
