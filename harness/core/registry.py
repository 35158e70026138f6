"""Find a class by its name; its module is imported only when it is requested.

The class has the config's name, in any case, without underscores. Digits at the end of a dataset's name denote
variants, and the module and the class may omit them: cifar10 and cifar100 are in cifar.py, imagenet256 is ImageNet.
"""

import ast
import inspect
import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module, resources
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

import pydantic

from harness.core.errors import LONGEST, UserError, cut, first_line, near, short
from harness.core.providers import ROOMS, Provider, entry, folders, providers
from harness.core.settings import TYPES, without_removed

T = TypeVar("T")

MOST = 20
"""The most faults that one message names."""

VARIANTS = ("data", "outliers")
"""The kinds whose names may end in digits that denote variants."""

WITHOUT_YAML = ("metric", "features")
"""The kinds that no config group has: entries of a protocol name them."""


def configs(group: str) -> Path:
    """The harness's own folder of a config group."""
    return Path(str(resources.files("harness.configs"))) / group


def files(group: str) -> dict[str, Path]:
    """The yaml files of a config group by name, of all who provide any."""
    return {name: file for provider in providers() for name, file in provider.yamls(group).items()}


def code(kind: str, name: str) -> Path | None:
    """The file of the module that defines a class of a kind and name, which is not imported; None if there is none."""
    return next((file for provider in providers() if (file := provider.code.get((kind, name)))), None)


def names(group: str) -> dict[str, str]:
    """The members of a config group, or the metrics or extractors, each with its first line; none is imported."""
    return {name: line for provider in providers() for name, line in described(provider, group).items()}


def described(provider: Provider, group: str) -> dict[str, str]:
    """A provider's members of a group, each with its first line: of the yaml, or of the class where it needs none."""
    if group in WITHOUT_YAML:
        modules = {name: file for (kind, name), file in provider.code.items() if kind == group}
        classes = {name: provider.values.get((group, name), "").partition(":")[2] or name for name in modules}
        return {name: line for name, file in modules.items() if (line := _class_line(file, classes[name]))}
    return {name: _first_line(file) for name, file in provider.yamls(group).items()}


def find(kind: str, name: str) -> type:
    """The class of a kind and name; UserError with similar names if there is none."""
    if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w{,99}", name)):
        raise UserError(f"There is no {kind} called {short(name)}. {near(str(name)[:100], names(kind))}")
    # Import the module of that name, if it exists; other import errors pass through.
    stem = name.rstrip("0123456789") if kind in VARIANTS else name
    module, _, attribute = (entry(kind, name) or f"{room(kind).__name__}.{stem}").partition(":")
    try:
        members = vars(import_module(module)) if stem.isidentifier() else None
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        members = None
    if members is None:
        raise UserError(f"There is no {kind} called '{name}'. {near(name, names(kind))}")
    # Pick the class that the entry point names, or else by its name, with or without the variant's digits.
    if inspect.isclass(cls := members.get(attribute)):
        return cls
    classes = {m.__name__.lower(): m for m in members.values() if inspect.isclass(m) and m.__module__ == module}
    for class_name in (name, stem):
        if cls := classes.get(class_name.replace("_", "")):
            return cls
    if attribute:
        raise UserError(f"{module} has no class {attribute}, which an entry point names as the {kind} '{name}'.")
    raise UserError(f"{module} defines no class called '{name}' (in any case); a {kind} is one class of that name.")


def room(kind: str) -> ModuleType:
    """The package of a kind, in which the modules of this process's folders are found too."""
    package = import_module(ROOMS[kind])
    for place in (str(folder / kind) for folder in folders()):
        if place not in package.__path__:
            package.__path__.append(place)
    return package


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


def _class_line(file: Path, name: str) -> str:
    """The first line about a class in a module, which is not imported; empty if the module does not define it."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # said when the class is used
        return ""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in classes:
        if node.name.lower() == name.replace("_", "").lower():
            return (ast.get_docstring(node) or ast.get_docstring(tree) or node.name).partition("\n")[0]
    return ""


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("# @package"):
                return line.removeprefix("#").strip()
    return ""
