"""The README's commands are those of the Makefile, and the Makefile's commands are in the README."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commands(text):
    return {line.strip() for line in text.splitlines() if "python -m harness" in line}


def test_what_the_demo_runs_stands_in_the_readme():
    makefile = (ROOT / "Makefile").read_text()
    readme = (ROOT / "README.md").read_text()
    run_by_demo = {line.split("$(BIN)/")[1] for line in makefile.splitlines() if "$(BIN)/python -m harness" in line}
    assert run_by_demo
    for command in run_by_demo:
        assert command in readme


def test_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert {"demo", "test"} <= named <= targets


def test_ci_runs_the_readmes_test_command():
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_what_the_readme_links_to_is_there():
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text()):
        assert link.startswith("https://") or (ROOT / link).exists(), link


COLUMNS = ("Clean accuracy", "Robust accuracy (L2 1.5)", "FD (own features)", "ECE", "OOD AUROC, attacked")


def cells(line):
    """The cells of a row of a table, without marks: bold, links, daggers; and without the intervals of single seeds."""
    plain = r" \[[\d.]+, [\d.]+\]|\*|[◆†]|\[|\]\([^)]*\)"
    return [re.sub(plain, "", cell).strip() for cell in line.strip("| \n").split("|")]


def test_the_readmes_table_is_that_of_the_leaderboard():
    page = (ROOT / "docs" / "fashion_mnist" / "LEADERBOARD.md").read_text()
    page = page.partition("## fashion_mnist, protocol fashion-1")[2].partition("\n\nCounts")[0]
    header, _, *rows = [cells(line) for line in page.strip().splitlines()[2:]]
    places = [next(at for at, title in enumerate(header) if title.startswith(column)) for column in COLUMNS]
    # Rows of methods have a net; the anchors of distances have none.
    expected = [[row[0], *(row[at] for at in places)] for row in rows if row[1] != "–"]
    shown = (ROOT / "README.md").read_text().partition("\n| method ")[2].partition("\n\n")[0].splitlines()[2:]
    assert [cells(line) for line in shown] == expected


def test_the_readme_is_short():
    """A stranger reads it in five minutes."""
    words = [word for word in (ROOT / "README.md").read_text().split() if re.search(r"\w", word)]
    assert len(words) <= 1300


def test_every_scenario_of_a_cluster_is_in_the_table():
    table = (ROOT / "docs" / "slurm-scenarios.md").read_text()
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tests" / "slurm").glob("*.py")]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    scenarios = [node for node in functions if [arg.arg for arg in node.args.args] == ["folder", "cluster"]]
    assert len(scenarios) >= 14
    for scenario in scenarios:
        assert f"| {scenario.name.replace('_', ' ')} | {ast.get_docstring(scenario)} |" in table, scenario.name
