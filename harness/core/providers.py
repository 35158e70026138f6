"""Who provides parts: the harness, installed packages with entry points, and folders given by --config-dir.

A package declares its classes in the entry-point groups of GROUPS, each as `name = "package.module"` or
`name = "package.module:Class"`, where the name is that of the config. Its yaml files are in `package/configs/`, as in
`configs/` here. A folder has them in the same way, with a class beside its yaml: FOLDER/method/x.py. Nothing is
imported to find them, and a name belongs to one provider.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path

from harness.core.errors import UserError, short

ROOMS = {
    "method": "harness.methods",
    "data": "harness.datasets",
    "outliers": "harness.datasets.outliers",
    "model": "harness.models",
    "metric": "harness.evaluation.metrics",
    "features": "harness.evaluation.features",
}
"""The package whose modules define the classes of a kind."""

GROUPS = {
    "ebm_harness.methods": "method",
    "ebm_harness.datasets": "data",
    "ebm_harness.outliers": "outliers",
    "ebm_harness.models": "model",
    "ebm_harness.metrics": "metric",
    "ebm_harness.features": "features",
}
"""The kind of an entry-point group."""

FOLDERS = "EBM_HARNESS_FOLDERS"
"""Environment variable with the folders whose code this process, and those that it starts, may import; one a line."""


@dataclass(frozen=True)
class Provider:
    """Where parts come from.

    title: as messages and `list` show it. configs: the folder of its config groups. code: the file of each module that
    may define a class, by kind and name. values: those of its entry points, by kind and name. package: the top-level
    package or module of the latter, and distribution: what was installed.
    """

    title: str
    configs: Path
    code: dict[tuple[str, str], Path]
    values: dict[tuple[str, str], str] = field(default_factory=dict)
    package: str = ""
    distribution: metadata.Distribution | None = None

    def yamls(self, group: str) -> dict[str, Path]:
        """The files of a config group, by name."""
        return {path.stem: path for path in sorted((self.configs / group).glob("*.yaml"))}

    def parts(self) -> Iterator[tuple[str, str, Path]]:
        """The group, name and file of each yaml and each module."""
        for path in sorted(self.configs.glob("*/**/*.yaml")):
            yield path.parent.relative_to(self.configs).as_posix(), path.stem, path
        for (kind, name), path in self.code.items():
            yield kind, name, path


def providers(folder: Path | None = None) -> list[Provider]:
    """The harness, the installed packages, a user's configs/local, the folders of this process, and `folder`.

    UserError if two of them have one name, with both files.
    """
    local = installed()[0].configs / "local"
    others = [Provider("configs/local", local, {})] if local.is_dir() else []
    own = folders()
    own += [folder] if folder and folder not in own else []
    others += map(_of_folder, own)
    return _without_clash([*installed(), *others]) if others else [*installed()]


@cache
def installed() -> tuple[Provider, ...]:
    """The harness and the packages with entry points; read once. UserError if two have one name, or one is wrong."""
    modules = {(kind, path.stem): path for kind, room in ROOMS.items() for path in _modules(Path(_locations(room)[0]))}
    harness = Provider("the harness", Path(str(resources.files("harness.configs"))), modules)
    return tuple(_without_clash([harness, *_packages()]))


def entry(kind: str, name: str) -> str:
    """The value of the entry point that provides a class, such as "package.module:Class"; empty if none does."""
    return next((value for provider in installed() if (value := provider.values.get((kind, name)))), "")


def folders() -> list[Path]:
    """The folders whose code this process may import."""
    return [Path(folder) for folder in os.environ.get(FOLDERS, "").split("\n") if folder]


def folder_code() -> dict[tuple[str, str], Path]:
    """The modules of these folders, by kind and name."""
    return {key: path for folder in folders() for key, path in _of_folder(folder).code.items()}


def use(folder: Path) -> None:
    """Let this process, and those that it starts, import the code of a folder; UserError as for `providers`."""
    providers(folder)
    if folder not in folders() and _of_folder(folder).code:
        os.environ[FOLDERS] = "\n".join(map(str, [*folders(), folder]))


def _entry_points(group: str) -> Iterable[metadata.EntryPoint]:
    """The entry points of a group; UserError if one of a package of ours is no reference to an object."""
    try:
        return metadata.entry_points(group=group)
    except ValueError:  # newer finders refuse to read such an entry point, whatever its package and its group
        return [point for one in metadata.distributions() for point in _readable(one) if point.group == group]


def _readable(distribution: metadata.Distribution) -> Iterable[metadata.EntryPoint]:
    """The entry points of a package; none if they cannot be read and none is ours."""
    try:
        return distribution.entry_points
    except ValueError as error:
        text = distribution.read_text("entry_points.txt") or ""
        if any(f"[{group}]" in text for group in GROUPS):
            raise UserError(
                f"The package {_title(distribution)} has an entry point with the value {short(str(error.args[-1]))}, "
                f"where package.module:Class is expected: correct or uninstall it."
            ) from None
        return []


def _packages() -> Iterator[Provider]:
    """The installed packages that have entry points of the harness."""
    # Group the entry points by their package.
    values: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    distributions: dict[str, metadata.Distribution] = {}
    for group, kind in GROUPS.items():
        for point in _entry_points(group):
            assert point.dist  # as of all that are found
            if not re.fullmatch(r"[A-Za-z]\w{,99}", point.name) or not re.fullmatch(r"\w+(\.\w+)*(:\w+)?", point.value):
                raise UserError(
                    f"The package {_title(point.dist)} has an entry point {short(point.name)} = {short(point.value)} "
                    f"in {group}, where a name and package.module:Class are expected: correct or uninstall it."
                )
            origin = _title(point.dist), re.split("[.:]", point.value)[0]
            values.setdefault(origin, {})[kind, point.name] = point.value
            distributions[origin[0]] = point.dist
    # Find the files, without importing them.
    for (title, package), named in sorted(values.items()):
        code = {key: _file(value, title) for key, value in named.items()}
        (home, *_) = _locations(package) or [_file(package, title).with_suffix("")]
        yield Provider(f"package {title}", Path(home, "configs"), code, named, package, distributions[title])


def _of_folder(folder: Path) -> Provider:
    """A folder given by --config-dir."""
    code = {(kind, path.stem): path for kind in ROOMS for path in _modules(folder / kind)}
    return Provider(f"--config-dir={folder}", folder, code)


def _modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.py") if path.stem != "__init__")


def _title(distribution: metadata.Distribution) -> str:
    return f"{distribution.metadata['Name']} {distribution.version}"


def _locations(package: str) -> list[str]:
    """The folders of a package; empty if it is a module, or missing."""
    spec = find_spec(package)
    return list((spec and spec.submodule_search_locations) or [])


def _file(value: str, title: str) -> Path:
    """The file of an entry point's module; UserError, with the title of its package, if it is missing."""
    top, *inside = value.partition(":")[0].split(".")
    spec = find_spec(top)
    places = [Path(place, *inside) for place in _locations(top)]
    files = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    files += [Path(spec.origin)] if spec and spec.origin and not inside else []
    for file in files:
        if file.is_file():
            return file
    raise UserError(
        f"The package {title} has an entry point {value}, and no such module: install it again, or uninstall it."
    )


def _without_clash(providers: Iterable[Provider]) -> list[Provider]:
    """Return the providers; UserError if two of them have one name in a group."""
    owners: dict[tuple[str, str], tuple[Provider, Path]] = {}
    for provider in (listed := list(providers)):
        for group, name, path in provider.parts():
            owner, other = owners.setdefault((group, name), (provider, path))
            if owner is not provider and other.resolve() != path.resolve():
                raise UserError(
                    f"Two parts have the name {group}={name}: {other} of {owner.title}, and {path} of "
                    f"{provider.title}. Rename one of them, or uninstall its package."
                )
    return listed
