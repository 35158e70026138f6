"""The notebook of the tutorials runs from top to bottom, in an empty folder."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "docs" / "tutorials" / "a-first-look.ipynb"


def test_each_cell_runs_and_shows_what_the_committed_notebook_shows(tmp_path):
    committed = nbformat.read(NOTEBOOK, as_version=4)
    shown = [kinds(cell) for cell in committed.cells]
    assert "image/png" in {kind for cell in shown for kind in cell}, "it is committed with its outputs"
    NotebookClient(committed, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [kinds(cell) for cell in committed.cells] == shown
    assert {path.name for path in tmp_path.iterdir()} == {"first_look"}


def kinds(cell):
    """The kinds of outputs that a cell has, besides the lines of progress, whose number depends on the machine."""
    return [kind for output in cell.get("outputs", []) for kind in sorted(output.get("data", {}))]
