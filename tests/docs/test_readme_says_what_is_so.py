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


def test_the_readmes_tables_are_those_of_the_pages_that_commands_wrote():
    tables = re.findall(r"<!-- from (\S+) -->\n(.*?)\n<!-- end", (ROOT / "README.md").read_text(), re.S)
    assert [page for page, _ in tables] == ["docs/digits/LEADERBOARD.md", "docs/slurm-scenarios.md"]
    for page, table in tables:
        assert table.count("\n") >= 5
        assert table in (ROOT / page).read_text()


def test_every_scenario_of_a_cluster_is_in_the_table():
    table = (ROOT / "docs" / "slurm-scenarios.md").read_text()
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tests" / "slurm").glob("*.py")]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    scenarios = [node for node in functions if [arg.arg for arg in node.args.args] == ["folder", "cluster"]]
    assert len(scenarios) >= 14
    for scenario in scenarios:
        assert f"| {scenario.name.replace('_', ' ')} | {ast.get_docstring(scenario)} |" in table, scenario.name
