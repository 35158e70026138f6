"""The image labels of Open Images, read from the files on its download page."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from harness.core.errors import UserError
from harness.core.settings import settings

PAGE = "https://storage.googleapis.com/openimages/web/download.html"
ROWS = 1_000_000
"""Number of rows read at a time: the whole file has tens of millions."""


@settings
class Labels:
    """The human labels of each image.

    annotations: a file with columns ImageID, LabelName, Confidence. descriptions: one with LabelName, DisplayName.
    """

    annotations: str
    descriptions: str

    def images(self, root: Path, names: set[str]) -> set[str]:
        """The ids of the images for which annotators confirmed one of these names, given in lower case."""
        described = pd.concat(_read(root / self.descriptions, ["LabelName", "DisplayName"]))
        wanted = described.LabelName[described.DisplayName.str.lower().isin(list(names))]
        ids: set[str] = set()
        for rows in _read(root / self.annotations, ["ImageID", "LabelName", "Confidence"]):
            ids.update(rows.ImageID[(rows.Confidence.astype(float) == 1) & rows.LabelName.isin(wanted)])
        return ids


def _read(path: Path, columns: list[str]) -> Iterator[pd.DataFrame]:
    """Read some columns of a file in pieces; UserError if they are missing."""
    try:
        yield from pd.read_csv(path, usecols=columns, dtype=str, keep_default_na=False, chunksize=ROWS)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is expected to be a table with the columns {', '.join(columns)} ({error}). Get it from {PAGE}, "
            "or use the folder without labels: outliers.labels=null."
        ) from None
