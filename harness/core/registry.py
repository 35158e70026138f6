"""Find a class by its name; its module is imported only when it is requested."""

import inspect
import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from typing import Any, TypeVar, cast

import pydantic

from harness.core.errors import LONGEST, UserError, cut, first_line, near, short
from harness.core.settings import TYPES, without_removed

T = TypeVar("T")

MODULES = {
    "method": "harness.methods.{name}",
    "data": "harness.datasets.{name}",
    "outliers": "harness.datasets.outliers.{name}",
    "model": "harness.models.{name}",
    "metric": "harness.evaluation.metrics.{name}",
    "features": "harness.evaluation.features.{name}",
}
"""The module that defines a class, by kind.

The class has the config's name, in any case, without underscores. Digits at the end of a dataset's name denote
variants, and the module and the class may omit them: cifar10 and cifar100 are in cifar.py, imagenet256 is ImageNet.
"""

MOST = 20
"""The most faults that one message names."""

VARIANTS = ("data", "outliers")
"""The kinds whose names may end in digits that denote variants."""


def configs(group: str) -> Path:
    """The folder of a config group."""
    return Path(str(resources.files("harness.configs"))) / group


def names(group: str) -> dict[str, str]:
    """The members of a config group, each with the first line of its yaml; none is imported."""
    files = sorted(configs(group).glob("*.yaml"))
    return {file.stem: _first_line(file) for file in files}


def find(kind: str, name: str) -> type:
    """The class of a kind and name; UserError with similar names if there is none."""
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w{,99}", name)):
        raise UserError(f"There is no {kind} called {short(name)}. {near(str(name)[:100], names(kind))}")
    # Import the module of that name, if it exists; other import errors pass through.
    stem = name.rstrip("0123456789") if kind in VARIANTS else name
    module = MODULES[kind].format(name=stem)
    try:
        members = vars(import_module(module)) if stem.isidentifier() else None
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        members = None
    if members is None:
        raise UserError(f"There is no {kind} called '{name}'. {near(name, names(kind))}")
    # Pick the class by its name, with or without the variant's digits.
    classes = {m.__name__.lower(): m for m in members.values() if inspect.isclass(m) and m.__module__ == module}
    for class_name in (name, stem):
        if cls := classes.get(class_name.replace("_", "")):
            return cls
    raise UserError(f"{module} defines no class called '{name}' (in any case); a {kind} is one class of that name.")


def build(kind: str, part: dict[str, Any], **context: Any) -> Any:  # noqa: ANN401 - any registered class
    """Build the component whose class is given by `name`, from its other fields."""
    fields = {key: value for key, value in part.items() if key != "name"}
    return make(find(kind, part.get("name", "")), kind, fields, **context)


def make(cls: type[T], where: str, fields: dict[str, Any], **context: Any) -> T:  # noqa: ANN401 - any field
    """Build an instance from a part of the config; `where` is that part's place in it.

    pydantic checks types and rejects unknown or missing fields, and floats that are not finite; UserError names the
    field. A class that cannot be built at such values, as a net that no memory would hold, is a UserError too.
    """
    if not isinstance(fields, Mapping):
        raise UserError(f"{where}: fields are expected here, such as {{key: value}}, not {short(fields)}")
    instance = cls.__new__(cls)
    fields = without_removed(fields, cls)
    try:
        _init(cls)(instance, **fields, **context)
    except pydantic.ValidationError as error:
        raise UserError("\n".join(_explain(where, e) for e in error.errors()[:MOST])) from None
    except (ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        reason = first_line(error) or "memory does not suffice for it"  # Python's own MemoryError says nothing
        raise UserError(f"{where}: {cut(reason, 500)}".removeprefix(": ")) from None
    return instance


@cache
def _init(cls: type) -> Any:  # noqa: ANN401 - a function with the signature of the class
    """A class's `__init__` with its arguments checked; cached, as pydantic takes milliseconds to prepare it."""
    return pydantic.validate_call(config=cast(pydantic.ConfigDict, TYPES))(cls.__init__)


def _explain(where: str, error: Any) -> str:  # noqa: ANN401 - pydantic's own dictionary
    where = ".".join(filter(None, [where, *(str(part)[:LONGEST] for part in error["loc"])]))
    if error["type"] == "unexpected_keyword_argument":
        return f"{where}: there is no such field; drop it with ~{where}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{where}: this field is missing; give it with +{where}=…"
    if error["type"] == "value_error":  # one of ours, which says the value
        return f"{where}: {cut(error['msg'].removeprefix('Value error, '), 500)}"
    return f"{where}: {error['msg']}, not {short(error['input'])}"


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("# @package"):
                return line.removeprefix("#").strip()
    return ""
