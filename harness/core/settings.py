"""Classes whose fields are a piece of config, and how such a piece enters a name.

A config that does not change keeps its name, whatever fields come and go: see `later` and `settings`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

from annotated_types import Ge, Lt

T = TypeVar("T")

TYPES = {"arbitrary_types_allowed": True, "allow_inf_nan": False}
"""How pydantic reads the fields of all classes that are built from a config: no float is infinite or NaN."""

Factor = Annotated[float, Ge(0)]
"""The weight of a loss term, or a standard deviation: 0 or more."""

Seed = Annotated[int, Ge(0), Lt(2**32)]
"""A seed that numpy's generators take; torch's take all of 64 bits."""

LATER = "later"
"""Marks, in a field's metadata, a field that came after runs had been named without it."""


def later(*, default: T) -> T:
    """A field that came later, with the default that says what was done before it: names leave it out at that value."""
    return field(default=default, metadata={LATER: True})


@dataclass_transform(frozen_default=True, field_specifiers=(field, later))
def settings(cls: type[T]) -> type[T]:
    """A frozen dataclass; built from a config, it refuses fields that it does not have, and floats that are not finite.

    A class that lost fields has `removed: ClassVar[dict[str, Any]]`, with the value of each that all runs had: a config
    that has a field at that value is built without it, and named as if the field were still there.
    """
    cls.__pydantic_config__ = {"extra": "forbid", **TYPES}  # pyright: ignore[reportAttributeAccessIssue]
    return dataclass(frozen=True)(cls)


def flatten(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings, with dotted keys; an empty mapping is a value."""
    for key, value in part.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def canonical(content: Any, kind: Any) -> Any:  # noqa: ANN401 - any piece of config, and its type
    """A piece of config as names count it, given the class (or annotation) that it is built as; at any depth."""

    def count(part: dict[str, Any], cls: type) -> dict[str, Any]:
        new = {entry.name: entry.default for entry in fields(cls) if entry.metadata.get(LATER)}
        kept = {key: value for key, value in part.items() if key not in new or value != new[key]}
        return _removed(cls) | kept

    return _at_each_class(content, kind, count)


def without_removed(content: Any, kind: Any) -> Any:  # noqa: ANN401 - any piece of config, and its type
    """A piece of config without the fields that its classes lost, where these have the value that all runs had."""

    def drop(part: dict[str, Any], cls: type) -> dict[str, Any]:
        gone = _removed(cls)
        return {key: value for key, value in part.items() if key not in gone or value != gone[key]}

    return _at_each_class(content, kind, drop)


def _removed(cls: type) -> dict[str, Any]:
    return getattr(cls, "removed", {})


def _at_each_class(content: Any, kind: Any, change: Callable[[dict[str, Any], type], dict[str, Any]]) -> Any:  # noqa: ANN401
    """A piece of config in which each mapping that is built as a class was changed, innermost first."""
    if get_origin(kind) in (Union, UnionType):
        kind = next((part for part in get_args(kind) if is_dataclass(part)), None)
    if not isinstance(content, Mapping):
        return content
    if get_origin(kind) is dict:
        return {key: _at_each_class(value, get_args(kind)[1], change) for key, value in content.items()}
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return content
    types = get_type_hints(kind)
    return change({key: _at_each_class(value, types.get(key), change) for key, value in content.items()}, kind)
