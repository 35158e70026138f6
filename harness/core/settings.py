"""Classes whose fields are a piece of config."""

from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """A frozen dataclass; built from a config, it refuses fields that it does not have."""
    cls.__pydantic_config__ = {"extra": "forbid", "arbitrary_types_allowed": True}  # pyright: ignore[reportAttributeAccessIssue]
    return dataclass(frozen=True)(cls)
