"""A page for each method, at a stable address: what it is, its equations, its paper, its settings and its rows.

What it is and its equations are the docstrings of its file, which is read and not imported.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import dedent

from harness.core.files import write_text
from harness.core.providers import ROOMS
from harness.core.registry import code, files
from harness.core.text import code_block, markdown
from harness.reports.section import Section
from harness.reports.tables import Table
from harness.reports.titles import cite, reference, title
from harness.reports.webpage import write_page
from harness.runs.row import Row


@dataclass(frozen=True)
class Passage:
    """A paragraph of a docstring, or an equation, which is indented there."""

    text: str
    equation: bool


@dataclass(frozen=True)
class About:
    """What a page says of a method, besides its rows.

    passages: by the name of the class that they describe, those of the whole file under an empty name; they are
    markdown. builds_on: the methods of which it uses parts. paper: a BibTeX entry. settings: the texts of its yaml
    files, by the dataset that they are for.
    """

    name: str
    title: str
    passages: dict[str, list[Passage]]
    builds_on: list[str]
    paper: str
    settings: dict[str, str]


def having(rows: Sequence[Row]) -> list[str]:
    """The methods of rows that have a page: those that are installed here, as a record may hold any name."""
    return sorted({row.method for row in rows} & files("method").keys())


def write(folder: Path, found: Sequence[Row], sections: Sequence[Section]) -> None:
    """Write methods/NAME.md and .html for each method that has a page."""
    names = having(found)
    for name in names:
        about, tables = describe(name), list(_rows(name, sections))
        kin = [other for other in about.builds_on if other in names]
        write_text(folder / address(name, "md"), _markdown(about, kin, tables))
        write_page(folder / address(name, "html"), "method.html", about=about, kin=kin, tables=tables)


def address(method: str, kind: str) -> str:
    """The path of a method's page below the folder of reports; kind: md or html."""
    return f"methods/{method}.{kind}"


def describe(name: str) -> About:
    """What its file, its yaml files and the bibliography say of a method."""
    source = code("method", name)
    tree = ast.parse(source.read_bytes() if source else b"")
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    passages = {"": _passages(tree)} | {node.name: _passages(node) for node in classes}
    modules = [node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom)]
    used = [module.rpartition(".")[2] for module in modules if module.startswith(ROOMS["method"])]
    # The settings of the method itself, then those of each dataset that it has a recipe for.
    yamls = {"": files("method").get(name)} | {
        recipe.removeprefix(f"{name}_"): file
        for recipe, file in files("recipe").items()
        if recipe.startswith(f"{name}_")
    }
    return About(
        name=name,
        title=title(name),
        passages={of: found for of, found in passages.items() if found},
        builds_on=[other for other in used if other in files("method")],
        paper=reference(cite(name)),
        settings={of: file.read_text(encoding="utf-8").strip() for of, file in yamls.items() if file},
    )


def _passages(node: ast.Module | ast.ClassDef) -> list[Passage]:
    """The paragraphs and equations of a docstring."""
    blocks = (ast.get_docstring(node) or "").split("\n\n")
    return [
        Passage(dedent(block) if block.startswith("    ") else block.replace("\n", " "), block.startswith("    "))
        for block in blocks
        if block
    ]


def _rows(name: str, sections: Sequence[Section]) -> Iterator[tuple[str, str, Table]]:
    """The rows of a method in each main table: the heading and the name of its section, and the table."""
    for section in sections:
        for table in section.main():
            both = zip(table.rows, table.series, strict=False)  # rows of anchors come last and have no series
            pairs = [(row, one) for row, one in both if one.runs[0].method == name]
            if pairs:
                rows, series = map(list, zip(*pairs, strict=True))
                yield section.heading, section.name, replace(table, rows=rows, series=series)


def _markdown(about: About, kin: Sequence[str], tables: Sequence[tuple[str, str, Table]]) -> str:
    parts = [f"# {markdown(about.title)}", f"`method={about.name}`. Made by `python -m harness report`; do not edit."]
    for of, passages in about.passages.items():
        parts += [f"## {markdown(of)}"] if of else []
        parts += [code_block(one.text) if one.equation else one.text for one in passages]
    if kin:
        links = ", ".join(f"[{markdown(title(name))}]({name}.md)" for name in kin)
        parts += [f"It uses parts of {links}."]
    if about.paper:
        parts += ["## Paper", code_block(about.paper)]
    parts += ["## Rows"] if tables else []
    for heading, section, table in tables:
        parts += [f"### [{markdown(heading)}](../pages/{section}.md)", table.markdown()]
    parts += ["## Settings"] if about.settings else []
    for of, text in about.settings.items():
        parts += [f"### {markdown(f'On {of}' if of else 'Everywhere')}", code_block(text)]
    return "\n\n".join(parts) + "\n"
