"""Weights files of extractors: given by path, or downloaded once into torch's cache."""

from pathlib import Path
from urllib.error import URLError

import torch

from harness.core.errors import UserError
from harness.core.files import locked_file


def hub_file(url: str) -> Path:
    """The path at which torch stores the file of a URL."""
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def fetch(name: str, given: str | None, url: str) -> None:
    """Make sure that an extractor's weights are on this machine; UserError if they are neither given nor fetchable."""
    if given:
        if not Path(given).is_file():
            raise UserError(f"extractors.{name}={given}: there is no such file ({Path(given).absolute()}).")
        return
    # Download it once; concurrent runs wait for the lock.
    path = hub_file(url)
    with locked_file(path):
        if path.exists():
            return
        try:
            torch.hub.download_url_to_file(url, str(path), progress=False)
        except (URLError, OSError) as error:
            raise UserError(
                f"The weights of the extractor '{name}' are not at {path} and could not be fetched ({error}). On a "
                f"machine with a network, fetch {url}, bring the file here, and say extractors.{name}=PATH."
            ) from None
