"""Differences between the config of a run and the recipe of its method on its dataset."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from harness.core.cache import kept
from harness.core.errors import UserError
from harness.core.reading import parse_yaml
from harness.core.registry import names
from harness.core.settings import flatten
from harness.runs.compose import compose
from harness.runs.config import Config, config_of
from harness.runs.run import placeless

PARTS = ("method", "model", "outliers", "data")
"""The parts of a config that a recipe sets."""

_recipes: dict[tuple[str, str], dict[str, object]] = {}
"""Composed recipes, by method and dataset."""


@dataclass(frozen=True)
class Change:
    """A field whose value differs from the recipe's; a side that lacks the field has a dash."""

    key: str
    recipe: str
    here: str


def changes(content: bytes) -> list[Change] | None:
    """Return the fields of a frozen config.yaml that differ from its current recipe.

    None if there is no recipe, or if it is a config of another version; ValueError if it is damaged.
    """
    settings = parse_yaml(content)
    if not isinstance(settings, dict):
        raise ValueError("it is no mapping")
    try:
        config = config_of({key: value for key, value in settings.items() if key != "names"})
        standard, frozen = recipe(config.method["name"], config.data["name"]), _fields(config)
    except (UserError, AttributeError, KeyError, TypeError):
        return None
    if standard is None:
        return None
    # A field that the frozen config lacks was added to the recipe later and is no difference, unless an override
    # removed it, alone or with a part that contains it.
    comparable = (*frozen, *(override.removeprefix("~") for override in config.overrides if override.startswith("~")))
    keys = [key for key in {**frozen, **standard} if any(f"{key}.".startswith(f"{part}.") for part in comparable)]
    different = [key for key in keys if (key in frozen, frozen.get(key)) != (key in standard, standard.get(key))]
    return [Change(key, _format(standard, key), _format(frozen, key)) for key in different]


def recipe(method: str, data: str) -> dict[str, object] | None:
    """Return the fields of a method on a dataset without overrides; None if the harness lacks either of them."""
    if (method, data) not in _recipes:
        learn([(method, data)])
    return _recipes.get((method, data))


def learn(pairs: Collection[tuple[str, str]]) -> None:
    """Compose the recipes of pairs of method and dataset, all methods of a dataset at once, in half the time.

    They are kept: they follow from the files of our code, and composing them takes seconds.
    """
    for data in {data for _, data in pairs} & names("data").keys():
        methods = sorted({method for method, on in pairs if on == data} & names("method").keys())
        if methods:
            found = kept("recipes", [data, methods], lambda data=data, methods=methods: _composed(data, methods))
            _recipes.update({(method, data): fields for method, fields in found.items()})


def _composed(data: str, methods: Sequence[str]) -> dict[str, dict[str, object]]:
    """The fields of each method on a dataset."""
    configs = compose(["-m", f"method={','.join(methods)}", f"data={data}"])
    return {config.method["name"]: _fields(config) for config in configs}


def _fields(config: Config) -> dict[str, object]:
    return dict(flatten(placeless({part: getattr(config, part) for part in PARTS})))


def _format(fields: dict[str, object], key: str) -> str:
    value = fields.get(key, "–")
    return value if isinstance(value, str) else json.dumps(value)
