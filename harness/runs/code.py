"""Digests of the code that computes a run's numbers, and what has changed since they were computed.

Each part of a run (a stage, the samples, a metric) has the digests of the modules that define it: the module of its
class, those of the dataset, net, outliers and extractor that it uses, and what these import of such modules. Any
difference counts. The engine, which all parts share, answers for its numbers by `NUMERICS` and its tests; its modules
count only while they differ from their commit.

A digest is that of the syntax tree without docstrings, comments and formatting. It is taken once for each process, when
the modules are imported, so that later edits do not count as the code that runs.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from harness.core import providers
from harness.core.cache import kept
from harness.core.providers import ROOMS
from harness.core.registry import find, room
from harness.runs.config import Part
from harness.runs.origin import edited_files
from harness.runs.record import Code

if TYPE_CHECKING:  # imported only when needed, so that reading records needs no torch
    from harness.core.method import Stage
    from harness.runs.run import Run

COMPONENTS = set(ROOMS.values())
"""The packages whose modules define parts of runs."""

ENGINE = ("harness.core", "harness.training", "harness.evaluation", "harness.runs.build")
"""Packages and modules that all parts share."""


def of_stage(run: "Run", stage: "Stage") -> Code:
    """The code of a stage: its class, the dataset, the net, and outliers where it uses them."""
    config, modules = run.config, [type(stage).__module__, _dataset(run), net_module(run.config.model)]
    if "outliers" in stage.streams:
        modules.append(find("outliers", config.outliers["name"]).__module__)
    return code(components(modules))


def of_evaluation(run: "Run") -> dict[str, dict[str, str]]:
    """The digests behind a run's samples, by the name SAMPLES, and behind each metric, by its name in the protocol."""
    from harness.evaluation.evaluator import SAMPLES

    config, shared = run.config, [_dataset(run), net_module(run.config.model)]
    method = find("method", config.method["name"])
    outliers = find("outliers", (run.method.outliers or config.outliers)["name"])
    by_name = {SAMPLES: components([*shared, method.__module__, outliers.__module__])}
    for name, entry in config.protocol["metrics"].items():
        used = [find("metric", entry.get("metric", name))]
        used += [find("features", str(entry["features"]))] if entry.get("features") else []
        used += [find("outliers", part["name"]) for part in (entry.get("sets") or {}).values()]
        used += [outliers] if entry.get("anchors") else []
        by_name[name] = components([*shared, *(cls.__module__ for cls in used)])
    return by_name


def code(parts: dict[str, str]) -> Code:
    """These parts, with the engine of this process."""
    return Code(parts=parts, engine=engine(), edited=sorted(edited()))


def mixed(codes: Iterable[Code]) -> list[str]:
    """The modules that were not the same in all of these codes, where that counts."""
    several = list(codes)
    names = {name for one in several for name in (*one.parts, *one.edited)}
    digests = {name: {d for one in several if (d := one.parts.get(name) or one.engine.get(name))} for name in names}
    return sorted(name for name, found in digests.items() if len(found) > 1)


def file_of(module: str) -> str:
    """A module as people know it: the path of its file in a checkout."""
    top, _, rest = module.partition(".")
    if not rest:
        return f"{top}.py"
    inside = rest if rest.partition(".")[0] in ("methods", "datasets", "configs", "reports") else f"{top}.{rest}"
    return inside.replace(".", "/") + ".py"


def net_module(part: Part) -> str:
    """The module that defines a net: a package's, or one of `harness.models`, which makes timm's nets too."""
    if provided := providers.entry("model", part["name"]):
        return provided.partition(":")[0]
    own = {module.name for module in iter_modules(room("model").__path__)}
    return f"harness.models.{part['name'] if part['name'] in own else 'timm'}"


def components(modules: Iterable[str]) -> dict[str, str]:
    """The digests of these modules and of all components that they import, in alphabetical order."""
    digests: dict[str, str] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in digests:
            digests[name], imported = _parsed(name)
            waiting += [other for other in imported if _is_component(other, name)]
    return dict(sorted(digests.items()))


@cache
def engine() -> dict[str, str]:
    """The digests of the engine's modules."""
    return kept("engine", [], _engine)


def _engine() -> dict[str, str]:
    """The same, taken from the files."""
    names: list[str] = []
    for entry in ENGINE:
        spec = find_spec(entry)
        folders = (spec and spec.submodule_search_locations) or []
        inside = [f"{entry}.{module.name}" for module in iter_modules(folders) if not module.ispkg]
        names += [entry, *inside]
    return {name: _parsed(name)[0] for name in sorted(names)}


@cache
def edited() -> frozenset[str]:
    """The engine's modules whose code differs from the commit that is checked out."""
    before = {file: text for file, text in edited_files().items() if file.endswith(".py")}
    ours = {file_of(name): name for name in engine()}
    return frozenset(
        ours[file] for file, text in before.items() if file in ours and digest(text) != engine()[ours[file]]
    )


def digest(source: str) -> str:
    """Twelve hex digits of a module's syntax tree."""
    return hashlib.sha256(_dump(ast.parse(source)).encode()).hexdigest()[:12]


def _dataset(run: "Run") -> str:
    return find("data", run.config.data["name"]).__module__


def _is_component(name: str, importer: str) -> bool:
    """Whether a module defines parts of runs: it is in a room of components, or beside a part from outside."""
    top = importer.partition(".")[0]
    return name.rpartition(".")[0] in COMPONENTS or (top != "harness" and name.partition(".")[0] == top)


@cache
def _parsed(module: str) -> tuple[str, tuple[str, ...]]:
    """The digest of a module, and the names of the modules that it imports."""
    path = _path(module)
    if path is None:
        return "no file", ()
    tree = ast.parse(path.read_bytes())
    inside = f"{module}.__init__" if path.name == "__init__.py" else module
    return hashlib.sha256(_dump(tree).encode()).hexdigest()[:12], tuple(_imports(tree, inside))


def _path(module: str) -> Path | None:
    """The source file of a module; None if it has none, or there is no such module."""
    if loaded := getattr(sys.modules.get(module), "__file__", None):
        return Path(loaded)
    try:
        spec = find_spec(module)
    except (ModuleNotFoundError, ValueError):  # a name in a module that is no package, or no module at all
        return None
    return Path(spec.origin) if spec and spec.has_location and spec.origin else None


def _imports(tree: ast.AST, module: str) -> Iterator[str]:
    """The modules that a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _path(alias.name))
        elif isinstance(node, ast.ImportFrom):
            package = module if "." not in module else module.rpartition(".")[0]
            origin = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module or ""
            names = [f"{origin}.{alias.name}" for alias in node.names]
            inside = [name for name in names if _is_component(name, module)]
            yield from [name for name in inside if _path(name)] or [origin]


def _dump(node: object) -> str:
    """Serialise a syntax tree without what changes no number: docstrings, positions, and where the engine's names live.

    It is our own, as ast.dump differs between versions of Python.
    """
    if isinstance(node, list):
        return "[" + ",".join(_dump(part) for part in node if not _is_text(part)) + "]"
    if isinstance(node, ast.Constant):
        return repr(node.value)
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    for ignored in ("ctx", "kind", "type_comment", "type_ignores"):
        fields.pop(ignored, None)
    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness."):
        fields.pop("module")
    return f"{type(node).__name__}({','.join(f'{name}={_dump(value)}' for name, value in fields.items())})"


def _is_text(node: object) -> bool:
    """Whether a statement is a bare string, such as a docstring."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
