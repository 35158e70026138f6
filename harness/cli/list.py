"""List methods, datasets, nets, protocols, metrics, known weights, …, and the packages that provide more of them.

Without a word, experiments are listed by name alone; with the name of a group, such as `list experiment`, only that.
"""

from textwrap import fill

from harness.cli.request import CHOICES, Request
from harness.cli.tables import console
from harness.core.errors import UserError, near
from harness.core.providers import providers
from harness.core.registry import WITHOUT_YAML, described
from harness.runs.zoo import ZOO

WORDS = ("[GROUP …",)

FOLDED = "experiment"
"""The group whose entries take one line for each dataset, unless it is asked for."""

NARROW = 24
"""Characters of the first column on a terminal, at most."""

WEIGHTS = "init"
"""The group of known weights."""


def run(request: Request) -> None:
    """Print one line for each choice of all groups, or of the named ones; UserError if there is no such group."""
    groups = (*CHOICES, *WITHOUT_YAML, WEIGHTS)
    for word in request.words:
        if word not in groups:
            raise UserError(f"There is no group '{word}' to list. {near(word, groups)}")
    harness, *others = providers(request.folder)
    for group in (group for group in groups if not request.words or group in request.words):
        lines = {name: str(entry) for name, entry in ZOO.items()} if group == WEIGHTS else described(harness, group)
        for other in others if group != WEIGHTS else ():
            lines |= {name: f"{line} ({other.title})" for name, line in described(other, group).items()}
        title = f"{WEIGHTS}=zoo:" if group == WEIGHTS else group if group in WITHOUT_YAML else f"{group}="
        if group == FOLDED and not request.words:
            lines, title = _by_beginning(lines), f"{title}  (`list {FOLDED}` says what each is)"
        if lines:
            console.print(title, style="bold")
        _print(lines)


def _by_beginning(names: dict[str, str]) -> dict[str, str]:
    """The ends of names by their beginnings: cifar10_… → at, jem."""
    ends: dict[str, list[str]] = {}
    for name in names:
        beginning, _, end = name.partition("_")
        ends.setdefault(f"{beginning}_…" if end else beginning, []).append(end)
    return {beginning: ", ".join(filter(None, found)) for beginning, found in ends.items()}


def _print(lines: dict[str, str]) -> None:
    """Print names and lines in two columns; on a terminal, lines that do not fit go on in the second."""
    widest = max(map(len, lines), default=0)
    if not console.is_terminal:
        for name, line in lines.items():
            console.print(f"  {name:<{widest}}  {line}".rstrip(), soft_wrap=True)
        return
    rest = " " * (min(widest, NARROW) + 4)
    for name, line in lines.items():
        begun = f"  {name}".ljust(len(rest))
        if len(name) > NARROW:  # it takes a line of its own
            console.print(begun, soft_wrap=True)
            begun = rest
        text = fill(line, console.width, initial_indent=begun, subsequent_indent=rest, break_on_hyphens=False)
        console.print(text or begun, soft_wrap=True)
