"""Print the script for Tab completion in bash, or the completions of a line: eval "$(harness completion)"."""

from collections.abc import Iterator

import yaml

from harness.cli.main import verbs
from harness.cli.request import CHOICES, Request
from harness.core.registry import files, names
from harness.core.settings import flatten, settings
from harness.runs.config import Config

PLAIN = True
WORDS = ("WORD …",)
SCRIPT = """\
_harness() {
    local IFS=$'\\n'
    COMPREPLY=($(harness completion complete=true -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    [[ ${COMPREPLY-} == *[=.,] ]] && compopt -o nospace
}
complete -o default -F _harness harness"""


@settings
class Arguments:
    """complete: print the completions of the given line, instead of the script."""

    complete: bool = False


def run(request: Request) -> None:
    """Print the script or the completions."""
    print("\n".join(candidates(" ".join(request.words))) if request.arguments.complete else SCRIPT)


def candidates(line: str) -> list[str]:
    """Return the completions of the last word; bash breaks words at =, so only the part after it is returned."""
    before, word = line.split()[1:], ""
    if not line.endswith(" "):
        before, word = before[:-1], (before or [""])[-1]
    matches = sorted({candidate for candidate in _candidates(before, word) if candidate.startswith(word)})
    return [candidate.rpartition("=")[2] if "=" in word else candidate for candidate in matches]


def _candidates(before: list[str], word: str) -> Iterator[str]:
    key, equals, value = word.partition("=")
    if equals and key in (*CHOICES, "recipe"):
        earlier = value.rpartition(",")[0]
        yield from (f"{key}={earlier + ',' if earlier else ''}{name}" for name in names(key))
        return
    if not before:
        yield from verbs()
    yield from (f"{group}=" for group in CHOICES)
    yield from (f"{name}=" for name in Config.__dataclass_fields__ if name not in CHOICES)
    chosen = {"method": "atjem", "data": "digits", "model": "digits"}
    chosen |= dict(part.split("=", 1) for part in before if "=" in part)
    for group in CHOICES:
        if key.startswith(f"{group}.") and group in chosen:
            yield from _keys(group, chosen[group], f"{group}.")


def _keys(group: str, name: str, prefix: str) -> Iterator[str]:
    """Yield the keys of a yaml file and of the files in its defaults list: each ends in =."""
    path = files(group).get(name)
    part = yaml.safe_load(path.read_text(encoding="utf-8")) if path else {}
    for entry in part.pop("defaults", []):
        if isinstance(entry, dict):
            ((what, member),) = entry.items()
            other, _, place = what.removeprefix("/").partition("@")
            yield from _keys(other, member, f"{prefix}{place}." if place else prefix)
        elif entry != "_self_":
            yield from _keys(group, entry, prefix)
    yield from (f"{key}=" for key, _ in flatten(part, prefix))
