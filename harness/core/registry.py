"""Find a class by its name; its module is imported only when it is requested."""

import inspect
import re
from importlib import import_module, resources
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from harness.core.errors import UserError, near
from harness.core.settings import without_removed

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
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w*", name)):
        raise UserError(f"There is no {kind} called '{name}'. {near(str(name), names(kind))}")
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
    return make(find(kind, part["name"]), kind, fields, **context)


def make(cls: type[T], where: str, fields: dict[str, Any], **context: Any) -> T:  # noqa: ANN401 - any field
    """Build an instance from a part of the config; `where` is that part's place in it.

    pydantic checks types and rejects unknown or missing fields; UserError names the field.
    """
    instance = cls.__new__(cls)
    fields = without_removed(fields, cls)
    try:
        init: Any = pydantic.validate_call(config={"arbitrary_types_allowed": True})(cls.__init__)
        init(instance, **fields, **context)
    except pydantic.ValidationError as error:
        raise UserError("\n".join(_explain(where, e) for e in error.errors())) from None
    except ValueError as error:
        raise UserError(f"{where}: {error}".removeprefix(": ")) from None
    return instance


def _explain(where: str, error: Any) -> str:  # noqa: ANN401 - pydantic's own dictionary
    where = ".".join(filter(None, [where, *map(str, error["loc"])]))
    if error["type"] == "unexpected_keyword_argument":
        return f"{where}: there is no such field; drop it with ~{where}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{where}: this field is missing; give it with +{where}=…"
    return f"{where}: {error['msg'].removeprefix('Value error, ')}, not {error['input']!r}"


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("# @package"):
                return line.removeprefix("#").strip()
    return ""
