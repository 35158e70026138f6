"""A room imports only rooms below it, without cycles, and only the third-party packages that it may know."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ORDER = (
    {"cli"},
    {"harness"},  # harness/__init__.py, the Python API
    {"cost"},
    {"launch", "reports"},
    {"tracking"},
    {"runs"},
    {"training", "evaluation"},
    {"methods", "datasets", "models"},
    {"core", "configs"},
)
"""The rooms from top to bottom; rooms on one line do not import each other."""

KNOWN_TO = {
    "hydra": {"harness.runs.compose"},
    "omegaconf": {"harness.runs.compose"},
    "mlflow": {"harness.tracking"},
    "submitit": {"harness.launch", "harness.core.distributed"},  # the latter reads a job's rank
}
"""The modules that may import a third-party package; a room stands for all its modules."""


def modules(root: Path) -> dict[str, Path]:
    """All modules of the harness in a checkout, by the names under which they are imported."""
    places = {"harness": "harness"} | {
        name: f"harness.{name}" for name in ("methods", "datasets", "reports", "configs")
    }
    found: dict[str, Path] = {}
    for folder, package in places.items():
        for path in (root / folder).rglob("*.py"):
            parts = path.relative_to(root / folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def imported(path: Path, known: set[str]) -> Iterator[str]:
    """Yield the modules that a file imports anywhere, also for types; for third-party packages only the first name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            of = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in known else node.module for name in of]
        for name in names:
            yield name if name.split(".")[0] == "harness" else name.split(".")[0]


def room(module: str) -> str:
    """The room of a module."""
    if module == "harness":
        return "harness"
    second = module.split(".")[1]
    return "cli" if second in ("__main__", "foreign") else second


def faults(root: Path) -> list[str]:
    """The violations of the rules in a checkout, one line each."""
    paths = modules(root)
    level = {name: number for number, line in enumerate(ORDER) for name in line}
    graph: dict[str, set[str]] = {name: set() for name in paths}
    lines: list[str] = []
    for name, path in sorted(paths.items()):
        for other in sorted(set(imported(path, set(paths)))):
            if other in KNOWN_TO and not any(f"{name}.".startswith(f"{who}.") for who in KNOWN_TO[other]):
                lines.append(f"{name} knows {other}")
            if other not in paths:
                continue
            graph[name].add(other)
            here, there = room(name), room(other)
            if here != there and level[there] <= level[here]:
                lines.append(f"{name} imports {other}, which is not below it")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        lines.append(f"a circle: {' → '.join(reversed(error.args[1]))}")
    return lines


def test_rooms_import_only_rooms_below() -> None:
    assert faults(ROOT) == []


def test_every_room_has_its_place_in_the_order() -> None:
    assert {room(name) for name in modules(ROOT)} == set().union(*ORDER)


def test_the_top_of_the_package_is_nine_rooms_and_three_files() -> None:
    top = [path for path in (ROOT / "harness").iterdir() if path.name != "__pycache__"]
    assert sum(path.is_dir() for path in top) <= 9 and sum(path.suffix == ".py" for path in top) <= 3


PLANTED = {
    "upward": ("harness/core/files.py", "from harness.runs.run import Run", "not below"),
    "sibling": ("harness/training/loop.py", "from harness.evaluation import metric", "not below"),
    "method": ("methods/at.py", "import harness.training.step", "not below"),
    "dataset": ("datasets/digits.py", "from harness.methods import at", "not below"),
    "net": ("harness/models/wrn.py", "from harness.runs import record", "not below"),
    "in a function": ("harness/runs/pace.py", "def f():\n    from harness.launch import status", "not below"),
    "for types": ("harness/runs/pace.py", "if TYPE_CHECKING:\n    import harness.cost.price", "not below"),
    "circle": ("harness/core/errors.py", "from harness.core.files import digest", "a circle"),
    "hydra": ("harness/runs/run.py", "from hydra import compose", "knows hydra"),
    "omegaconf": ("harness/cli/main.py", "import omegaconf", "knows omegaconf"),
    "mlflow": ("reports/leaderboard.py", "from mlflow import MlflowClient", "knows mlflow"),
    "submitit": ("harness/runs/execute.py", "import submitit", "knows submitit"),
}
"""For each kind of violation a file, a line that commits it, and the message for it."""


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fault_is_found(kind: str, tmp_path: Path) -> None:
    for name in ("harness", "methods", "datasets", "reports", "configs"):
        for path in (ROOT / name).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    file, line, said = PLANTED[kind]
    with (tmp_path / file).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    assert any(said in fault and Path(file).stem in fault for fault in faults(tmp_path))
