"""The files that the code of this process stands in: those of the harness, of installed packages and of folders."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from harness.core.providers import ROOMS, Provider, folder_code, installed

PACKAGES = ("harness", "harness.methods", "harness.datasets", "harness.configs", "harness.reports")
"""Our packages; a checkout has them side by side, a copy has them nested in `harness`."""

NOTES = ("METADATA", "PKG-INFO", "entry_points.txt")
"""The files by which Python finds an installed package's entry points."""


def sources() -> dict[str, Path]:
    """The files by their names in a copy of the code: those of the harness, and the parts of others."""
    files: dict[str, Path] = {}
    for package in PACKAGES:
        spec = find_spec(package)
        assert spec and spec.submodule_search_locations, package  # our own packages
        folder = Path(spec.submodule_search_locations[0])
        files |= {f"{package.replace('.', '/')}/{path.relative_to(folder).as_posix()}": path for path in inside(folder)}
    # A folder's modules belong to the packages of their kinds.
    for (kind, _), path in folder_code().items():
        files[f"{ROOMS[kind].replace('.', '/')}/{path.name}"] = path
    for provider in installed():
        files |= _installed_files(provider)
    return files


def _installed_files(provider: Provider) -> dict[str, Path]:
    """The files of an installed package, and those by which Python finds its entry points, by their names in a copy."""
    if provider.distribution is None:
        return {}
    spec = find_spec(provider.package)
    assert spec, provider.package  # it was found before
    files = {
        f"{provider.package}/{path.relative_to(folder).as_posix()}": path
        for folder in map(Path, spec.submodule_search_locations or [])
        for path in inside(folder)
    }
    if spec.origin and not spec.submodule_search_locations:  # a single module
        files[f"{provider.package}.py"] = Path(spec.origin)
    notes = [file for file in provider.distribution.files or [] if file.name in NOTES]
    return files | {file.as_posix(): Path(str(file.locate())) for file in notes}


def inside(folder: Path) -> Iterator[Path]:
    """The files below a folder, without what Python compiles from them."""
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.relative_to(folder).parts:
            yield path
