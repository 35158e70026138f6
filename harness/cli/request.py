"""The parsed command line that a verb receives."""

from collections.abc import Sequence
from dataclasses import MISSING, Field, dataclass, fields
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from types import ModuleType
from typing import Any, get_origin

from harness.core.errors import UserError
from harness.core.registry import make
from harness.core.text import counted
from harness.runs.compose import Flags, compose
from harness.runs.config import Config, Part

CHOICES = ("method", "data", "model", "outliers", "protocol", "launcher", "experiment", "ablation")
"""The config groups that `list` and `--help` show."""


@dataclass(frozen=True)
class Request:
    """A parsed command line.

    typed: everything after the verb. words: the bare words. arguments: the verb's own arguments, as an instance of its
    class `Arguments`. overrides: the rest, for composing the config. parts: replacements for parts of the config while
    composing. folder: that of --config-dir.
    """

    verb: str
    typed: Sequence[str]
    words: Sequence[str]
    arguments: Any
    overrides: Sequence[str]
    parts: Part | None
    folder: Path | None

    @cached_property
    def configs(self) -> list[Config]:
        """The composed configs, one for each run of a sweep."""
        return compose(self.overrides, self.verb, self.typed, self.parts)

    @property
    def config(self) -> Config:
        """The one composed config; UserError if the command line is a sweep."""
        if len(self.configs) != 1:
            raise UserError("This command takes no sweep: leave out -m.")
        return self.configs[0]


def read(verb: str, module: ModuleType, typed: Sequence[str]) -> Request:
    """Parse the arguments of a verb; UserError if the verb does not take them.

    A verb's own arguments are typed as key=value, as --key value, or as --key if it is a bool.
    """
    kind, expected_words = getattr(module, "Arguments", None), getattr(module, "WORDS", ())
    own_fields = {part.name: part for part in fields(kind)} if kind else {}
    # Collect the verb's own arguments: those typed as flags, then those typed as key=value.
    parser = Flags()
    for name, part in own_fields.items():
        if part.type is bool:
            parser.add_argument(f"--{name}", action="store_const", const="true")
        else:
            parser.add_argument(f"--{name}")
    parsed = parser.read(typed)
    values = {name: value for name in own_fields if (value := getattr(parsed, name)) is not None}
    rest: list[str] = []
    for word in parsed.words:
        key, equals, value = word.partition("=")
        if equals and key in own_fields:
            values[key] = value
        else:
            rest.append(word)
    # Split the rest into bare words and overrides.
    plain = getattr(module, "PLAIN", False)  # its words may contain any character, such as paths
    words = rest if plain else list(takewhile(lambda word: "=" not in word and word[:1] not in "+~", rest))
    any_number = bool(expected_words) and expected_words[-1].endswith("…")
    may_lack = not words and bool(expected_words) and expected_words[0].startswith("[")
    if not (any_number or may_lack) and len(words) != len(expected_words):
        usage = " ".join(["python -m harness", verb, *expected_words, "[key=value …]"])
        raise UserError(
            f"{verb} takes {counted(len(expected_words), 'word')} and was given {len(words)}. Type: {usage}"
        )
    kept_flags = ["-m"] * parsed.multirun + ([f"--config-dir={parsed.config_dir}"] if parsed.config_dir else [])
    arguments = _parse_arguments(kind, verb, values, getattr(module, "EXAMPLE", "")) if kind else None
    overrides = [*kept_flags, *rest[len(words) :]]
    return Request(verb, typed, words, arguments, overrides, getattr(module, "PARTS", None), parsed.config_dir)


def _parse_arguments(kind: type, verb: str, values: dict[str, str], example: str) -> Any:  # noqa: ANN401 - the verb's own class
    """Build a verb's own arguments; UserError, with an example, if one is missing or invalid."""
    for part in fields(kind):
        if part.default is MISSING and not values.get(part.name):
            raise UserError(f"{verb} needs {part.name}=…, such as: python -m harness {verb} {example}")
    return make(kind, "", {part.name: _value(part, values[part.name]) for part in fields(kind) if part.name in values})


def _value(part: Field[Any], text: str) -> object:
    """Return the value of an argument as typed; for a tuple, the parts between commas."""
    return tuple(part.strip() for part in text.strip("[]").split(",")) if get_origin(part.type) is tuple else text
