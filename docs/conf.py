"""How Sphinx makes the site of these pages: make docs."""

import re
from importlib import metadata

from sphinx.application import Sphinx

project = "harness"
author = "The harness developers"
release = metadata.version("ebm-harness")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "harness"
html_show_copyright = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"


def plain(_app: Sphinx, _kind: str, _name: str, _of: object, _options: object, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: for Sphinx, their signs of absolute value and stars are escaped."""
    lines[:] = [re.sub(r"([|*])", r"\\\1", re.sub(r"(?<!`)`(?!`)", "``", line)) for line in lines]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", plain)
