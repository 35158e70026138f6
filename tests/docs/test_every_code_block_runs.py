"""Every code block of the README and the docs does what it says.

A page is tested from top to bottom: files that it shows are written, Python is run, commands are typed. A run on digits
is executed with four steps per stage and a small evaluation, and a benchmark with one round. Sweeps, and runs on other
data or on a cluster, are only planned: each override must fit, and everything in the config is built, without data.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml
from documents import PAGES, ROOT, blocks, inline
from tiny_world import World

import harness
from harness.cli import main as command
from harness.cli import search
from harness.cli.request import CHOICES, read
from harness.launch.preflight import check_all
from harness.runs.reopen import checkpoint_overrides
from harness.runs.run import Run

LEFT = {
    "git clone": "needs a network",
    "apt-get": "needs root and a network",
    ".": "changes the shell in which it is typed",
    "export": "changes the shell in which it is typed",
    "python -m harness sync all=true tracking=http://mlflow.example.org:5000": "needs a server",
    "python -m harness bench method=at of=attacks": "is tried by tests/cost",
    "python -m harness convert": "needs a file of somebody else's",
    "python -m harness push RUN to=hub:OWNER/NAME": "needs a hub",
    "squeue": "is SLURM's, which only the scenarios have",
    "python -m harness experiment=digits_stability": "is planned by tests/reports",
    "python -m harness report runs=docs/fashion_mnist/records": "is tried by another test of the docs",
    "python -m harness report runs=docs/digits/records": "is tried by another test of the docs",
    "python -m harness report watch=5": "goes on until Ctrl-C",
    "python -m harness compare atjem-digits-s0-c1a31312": "needs the records of a checkout",
    "python -m harness compare runs=docs/fashion_mnist/records": "needs the records of a checkout",
    "python -m harness method=pretrained method.only=classify init=docs/digits/records": "needs a checkout",
}
"""Commands that are not run, by their first words, with the reason."""

SHOWN = ("text", "bibtex", "{include}", "{toctree}", "{eval-rst}")
"""Languages of blocks that are not code: output, and directives for Sphinx."""

NOTHING = "there is nothing to cancel"
"""The only error that a command may end with, since nothing is running."""

OF_A_RUN = re.compile(r"\bRUN\b|\b[a-z]+-digits-s\d-[0-9a-f]{8}\b")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with two runs, named in `runs`."""
    with pytest.MonkeyPatch.context() as patch:
        made = World(tmp_path_factory.mktemp("world"), patch)
        made.runs = [harness.plan(f"method={method}")[0] for method in ("at", "standard")]
        for run in made.runs:
            harness.run(run)
        yield made
        made.close()


@pytest.fixture
def type_(world, monkeypatch, capsys):
    """A function that runs a command of the harness, which must succeed."""

    def type_(*arguments):
        monkeypatch.setattr(sys, "argv", ["harness", *arguments])
        with pytest.raises(SystemExit) as left:
            command.main()
        told = capsys.readouterr().err
        assert not left.value.code or NOTHING in told, f"python -m harness {shlex.join(arguments)}\n{told}"

    return type_


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(page, world, type_):
    names = {}
    for block in blocks(page):
        kind = block.language.partition(" ")[0]
        if block.file:
            write(block, world)
        elif kind == "python":
            exec(compile(block.text, page, "exec"), names)
        elif kind == "yaml":
            yaml.safe_load(block.text)
        elif kind in ("", "sh"):
            for line in block.commands:
                do(line, world, type_)
        else:
            assert kind in SHOWN, f"{page}: no way to test a block of {kind}"
    for line in inline(page):
        do(line, world, type_)


def write(block, world):
    """Write a file that a page shows; if it is a choice of a config group, also build everything that it names."""
    world.write(block.file, block.text)
    folder, _, name = block.file.removesuffix(".yaml").rpartition("/")
    if (group := folder.removeprefix("configs/")) in CHOICES:
        check_all([Run(config) for config in world.composed([f"{group}={name}", f"--config-dir={world.configs}"])])


def do(line, world, type_):
    """Run or check one line of a shell."""
    first = line.partition(" ")[0]
    if first.endswith("/"):
        assert (ROOT / first).is_dir(), f"a listing names a missing folder: {first}"
        return
    if any(f"{line} ".startswith(f"{beginning} ") for beginning in LEFT):
        return
    words = [word for word in shlex.split(line) if not re.match(r"[A-Z_]+=", word)]
    if "harness" in words and words[0] in ("python", "torchrun", "harness"):
        at = words.index("harness")
        of_harness(words[at + 1 :], world, type_, alone=words[0] != "torchrun")
    else:
        assert words[0] in OTHERS, f"no way to test: {line}"
        OTHERS[words[0]](line, words[1:])


def of_harness(words, world, type_, alone):
    """Run a command of the harness if it ends soon; otherwise plan it."""
    runs = iter(world.runs * 2)
    words = [re.sub(r"^rounds=\d+", "rounds=1", OF_A_RUN.sub(lambda _: next(runs).name, word)) for word in words]
    words = [word.replace("@sha256:DIGEST", f"@sha256:{64 * '0'}") for word in words]
    flags = {"--help", "--cfg", "--version"} & set(words)
    verb = words.pop(0) if words and words[0] in command.verbs() else "run"
    if verb == "search":  # its trials take minutes: each is planned
        request = read("search", search, words)
        _, asked = search.ranges(request.arguments, request.config.method["name"], request.overrides)
        check_all([Run(config) for config in search.configs_of(request, next(asked.rounds(request.config)))])
        return
    file = next((word[4:] for word in words if re.fullmatch(r"run=\S+\.\w+", word)), None)
    if file or (verb == "run" and not flags and not (alone and soon(words, world))):
        own = ("run=", "seed=") if file else ("seed=",)
        verb, words = "plan", [word for word in words if not word.startswith(own)] + ["seed=0"]
        words += checkpoint_overrides(file) if file else []
    if (verb, *words) not in world.typed:
        type_(verb, *words)
        world.typed.add((verb, *words))


def soon(words, world):
    """Whether a command is a single local run of the small net."""
    if any(word == "-m" or word.startswith("launcher=") for word in words):
        return False
    configs = world.compose(words)
    return len(configs) == 1 and configs[0].model["name"] == "digits" and not configs[0].init


def make(line, words):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {word for word in words if "=" not in word} <= set(targets), line


def pip(line, words):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {extra for word in words for found in re.findall(r"\[(.*)\]", word) for extra in found.split(",")}
    assert extras <= set(project["optional-dependencies"]), line
    assert all((ROOT / file).exists() for file in re.findall(r"-[cr] (\S+)", line)), line


def python(line, words):
    """Check that a script or test exists in the repository, or that a module can be imported."""
    target = words[1] if words[0] == "-m" else words[0]
    if target == "pytest":
        assert all((ROOT / word).exists() for word in words[2:] if word.startswith("tests")), line
    elif words[0] == "-m":
        done = subprocess.run([sys.executable, "-c", f"import {target}"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    else:
        assert (ROOT / target).exists(), line


def mlflow(line, words):
    """Check that every command and option is one of MLflow's."""
    from mlflow.cli import cli

    known = cli
    while words and not words[0].startswith("-") and isinstance(known, click.Group):
        known = known.get_command(click.Context(known), words.pop(0))
        assert known, line
    options = {option for parameter in known.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("-")} <= options, line


def shell(line, words):
    """Run the line in a shell that finds the harness of this environment."""
    path = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-ec", line], env=path, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


OTHERS = {"make": make, "pip": pip, "python": python, "mlflow": mlflow, "eval": shell}
