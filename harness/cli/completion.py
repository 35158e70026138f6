"""Print what makes Tab complete in bash, or the completions of a line: eval "$(harness completion)"."""

from collections.abc import Iterator

import yaml

from harness.cli.main import verbs
from harness.cli.request import CHOICES, Request
from harness.core.registry import configs, names
from harness.core.settings import settings
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
    """complete: print the completions of the line that is given, in place of the script."""

    complete: bool = False


def run(request: Request) -> None:
    """Print them."""
    print("\n".join(candidates(" ".join(request.words))) if request.arguments.complete else SCRIPT)


def candidates(line: str) -> list[str]:
    """What the last word of a line may become; bash breaks words at =, so only what follows one is given."""
    before, word = line.split()[1:], ""
    if not line.endswith(" "):
        before, word = before[:-1], (before or [""])[-1]
    found = sorted({candidate for candidate in _all(before, word) if candidate.startswith(word)})
    return [candidate.rpartition("=")[2] if "=" in word else candidate for candidate in found]


def _all(before: list[str], word: str) -> Iterator[str]:
    key, equals, value = word.partition("=")
    if equals and key in (*CHOICES, "recipe"):
        given = value.rpartition(",")[0]
        yield from (f"{key}={given + ',' if given else ''}{name}" for name in names(key))
        return
    if not before:
        yield from verbs()
    yield from (f"{group}=" for group in CHOICES)
    yield from (f"{name}=" for name in Config.__dataclass_fields__ if name not in CHOICES)
    chosen = {"method": "atjem", "data": "digits", "model": "digits"}
    chosen |= dict(part.split("=", 1) for part in before if "=" in part)
    for group in CHOICES:
        path = configs(group) / f"{chosen.get(group, '')}.yaml"
        if key.startswith(f"{group}.") and path.is_file():
            yield from _keys(yaml.safe_load(path.read_text(encoding="utf-8")), f"{group}.")


def _keys(part: object, prefix: str) -> Iterator[str]:
    """The keys of a yaml file's mapping at any depth: those of mappings with a dot, those of values with a =."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield f"{prefix}{key}{'.' if isinstance(value, dict) else '='}"
            yield from _keys(value, f"{prefix}{key}.")
