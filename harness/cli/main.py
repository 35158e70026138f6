"""The command line: python -m harness [VERB] [WORD …] [key=value …] [-m]; each file here except HELPERS is a verb.

A verb is a module with a docstring, whose first line `--help` shows, and a function `run(request)` that returns an exit
status, or nothing for 0. It may have a class `Arguments` (its own arguments), WORDS (the bare words that it takes; a
last one that ends in … stands for any number), EXAMPLE, PARTS and PLAIN (see request.py).
"""

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from harness.cli.request import CHOICES, read
from harness.core.errors import UserError, near
from harness.core.registry import names
from harness.core.signals import Leave
from harness.runs.compose import Flags, show

HELPERS = ("__init__", "main", "request", "tables", "bars")
"""Files of this folder that are not verbs."""


def main() -> None:
    """Run the command line and exit with 0, or with one of several numbers if something is wrong.

    1 if a run failed, 2 on a UserError, 3 if some runs cannot be read, 143 on SIGTERM or 130 on Ctrl-C.
    """
    try:
        status = command(sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        status = 2
    except Leave:
        print("\nTold to leave: what was done is saved. The same command goes on from here.", file=sys.stderr)
        status = 143
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on from here.", file=sys.stderr)
        status = 130
    sys.exit(status)


def command(typed: Sequence[str]) -> int:
    """Run a command line and return its exit status; UserError if it is invalid."""
    # Find the verb; without one, the command line is that of `run`.
    flags = Flags()
    flags.add_argument("-h", "--help", action="store_true")
    flags.add_argument("--version", action="store_true")
    flags.add_argument("--cfg", choices=["job"])
    parsed, _ = flags.parse_known_intermixed_args(list(typed))  # the verb may have more flags
    verb = next((word for word in parsed.words[:1] if "=" not in word and word[:1] not in "+~"), "run")
    if verb not in verbs():
        raise UserError(f"There is no command '{verb}'. {near(verb, verbs())}")
    # Answer the flags that print something and run nothing.
    if parsed.version:
        print(_version())
        return 0
    if parsed.help:
        print(_help_of(verb) if parsed.words and verb == parsed.words[0] else _help())
        return 0
    rest = list(typed)
    if parsed.words and verb == parsed.words[0]:
        rest.remove(verb)
    if parsed.cfg:
        flags.read(typed)
        print(show([word for at, word in enumerate(rest) if not _is_cfg(rest, at)]), end="")
        return 0
    module = import_module(f"harness.cli.{verb}")
    return module.run(read(verb, module, rest)) or 0


def verbs() -> dict[str, Path]:
    """Return the files of the verbs by name, without importing them."""
    package = sys.modules["harness.cli"]
    files = [path for place in package.__path__ for path in sorted(Path(place).glob("*.py"))]
    return {path.stem: path for path in files if path.stem not in HELPERS}


def _is_cfg(words: Sequence[str], at: int) -> bool:
    """Whether a word is --cfg, with or without its value, or the value after it."""
    return words[at].startswith("--cfg") or (at > 0 and words[at - 1] == "--cfg")


def _version() -> str:
    from harness.runs.origin import commit, uncommitted_diff, version

    at = f", commit {commit()[:7]}" if commit() else ""
    return (
        f"harness {version('ebm-harness')}{at}{', with changes that are not committed' if uncommitted_diff() else ''}"
    )


def _help() -> str:
    """Return the general help: all verbs, and the choices in each config group."""
    lines = ["harness: fair comparisons of hybrid energy-based models.", ""]
    lines += [
        "  python -m harness [VERB] [key=value …]     -m sweeps over values with commas: -m method=atjem,jem seed=0,1"
    ]
    lines += ["", "Verbs (no verb is run; VERB --help explains one):"]
    lines += [f"  {verb:<11} {_doc(path).splitlines()[0]}" for verb, path in verbs().items()]
    lines += ["", "Choices (override them with group=name):"]
    lines += [f"  {group}: {', '.join(names(group))}" for group in CHOICES]
    return "\n".join([*lines, "", f"Flags: {', '.join(['--help', '--version', '--cfg job', *Flags().flags()])}"])


def _help_of(verb: str) -> str:
    """Return the help of one verb: what it does, and its own arguments."""
    path = verbs()[verb]
    # Read the verb's constants from its source, which is not imported.
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in ("WORDS", "EXAMPLE")
    }
    lines = [" ".join(["python -m harness", verb, *constants.get("WORDS", ()), "[key=value …]"]), "", _doc(path)]
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Arguments":
            entries = [entry for entry in node.body if isinstance(entry, ast.AnnAssign)]
            own_arguments = ", ".join(f"{ast.unparse(entry.target)}={_default(entry.value)}" for entry in entries)
            lines += ["", ast.get_docstring(node) or "", "", f"Its own arguments: {own_arguments}"]
    if "EXAMPLE" in constants:
        lines += [f"Such as: python -m harness {verb} {constants['EXAMPLE']}"]
    return "\n".join([*lines, "", "Other key=value arguments are those of a run: see python -m harness --cfg job."])


def _doc(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _default(value: ast.expr | None) -> str:
    """Format a default value as a user types it; … if there is none."""
    if value is None:
        return "…"
    default = ast.literal_eval(value)
    text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return "null" if default is None else text.lower() if isinstance(default, bool) else text
