"""The command line: python -m harness [VERB] [WORD …] [key=value …] [-m]; each file here except HELPERS is a verb.

A verb is a module with a docstring, whose first line `--help` shows, and a function `run(request)` that returns an exit
status, or nothing for 0. It may have a class `Arguments` (its own arguments), WORDS (the bare words that it takes; a
last one that ends in … stands for any number, and those in [ ] may all be left out), EXAMPLE, PARTS and PLAIN (see
request.py).
"""

import ast
import errno
import logging
import os
import resource
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO, cast

from harness.cli.request import CHOICES, read
from harness.core.errors import OutputLost, UserError, near, out_of_memory, short
from harness.core.registry import names
from harness.core.signals import Leave
from harness.core.text import visible
from harness.runs.compose import Flags, show

HELPERS = ("__init__", "main", "request", "tables", "bars")
"""Files of this folder that are not verbs."""


class Output:
    """Standard output, but what cannot be written raises OutputLost."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        with self._guarded():
            return self.stream.write(text)

    def flush(self) -> None:
        """Write what is held back."""
        with self._guarded():
            self.stream.flush()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            _drop_rest(self.stream)
            raise OutputLost(error) from None


class Visible(logging.Formatter):
    """Shows control characters of messages, so that none reaches the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """The message as it is printed."""
        return visible(super().format(record))


def main() -> None:
    """Run the command line and exit.

    The status is 0; 1 if a run failed; 2 on a UserError, where the output cannot be written, or memory ends; 3 if some
    runs cannot be read; 141 if the reader of the output is gone, as with `| head`; 143 on SIGTERM; 130 on Ctrl-C.
    """
    with _streams():
        sys.exit(_status())


def _status() -> int:
    """Run the command line; return the exit status, and say on stderr why it is not 0."""
    try:
        status = command(sys.argv[1:])
        sys.stdout.flush()
        return status
    except UserError as error:
        return _say(str(error), 2)
    except OutputLost as error:
        return 141 if error.reader_gone else _say(str(error), 2)
    except Leave:
        return _say("\nStopped. Finished work is saved; the same command continues.", 143)
    except KeyboardInterrupt:
        return _say("\nInterrupted. The same command continues.", 130)
    except Exception as error:
        if not out_of_memory(error):
            raise
        with suppress(OutputLost):
            sys.stdout.flush()
        _say(_short_of_memory(), 2)
        os._exit(2)  # libraries that were imported in part would fail once more at a usual exit


def _short_of_memory() -> str:
    """What to say where memory ends: whose limit it is, and what to do."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    limited = limit != resource.RLIM_INFINITY
    whose = f"A process may use {limit / 1e9:.1f} GB here (ulimit -v)" if limited else "The machine has no memory left"
    return f"Out of memory. {whose}. No file is half-written; the same command continues when there is more memory."


def _say(text: str, status: int) -> int:
    try:
        print(visible(text), file=sys.stderr, flush=True)
    except OSError:
        _drop_rest(sys.stderr)
    return status


def _drop_rest(stream: TextIO) -> None:
    """Let Python write what it still holds for a stream to nowhere, or it complains of it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _streams() -> Iterator[None]:
    """Standard streams of which none is closed, as files would get its number, and which print any character."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    if logging.lastResort:  # the handler of programs that set up none
        logging.lastResort.setFormatter(Visible())
    stdout, sys.stdout = sys.stdout, cast(TextIO, Output(sys.stdout))
    try:
        yield
    finally:
        sys.stdout = stdout


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
    try:
        return module.run(read(verb, module, rest)) or 0
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise UserError(f"This file name is too long: {short(error.filename)}") from None
        raise


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
    usage = (
        "  python -m harness [VERB] [key=value …]     -m sweeps over values with commas: -m method=atjem,jem seed=0,1"
    )
    lines += [_wrapped(usage)]
    lines += ["", "Verbs (the default is run; VERB --help explains a verb):"]
    lines += [_wrapped(f"  {verb:<11} {_doc(path).splitlines()[0]}", 14) for verb, path in verbs().items()]
    lines += ["", "Choices (override them with group=name):"]
    lines += [_wrapped(f"  {group}: {', '.join(names(group))}") for group in CHOICES]
    lines += ["", _wrapped(f"Flags: {', '.join(['--help', '--version', '--cfg job', *Flags().flags()])}")]
    return "\n".join(lines)


def _wrapped(line: str, indent: int = 4) -> str:
    """The line, wrapped at the width of the terminal if there is one; its further lines are indented."""
    columns = shutil.get_terminal_size((10_000, 24)).columns
    return textwrap.fill(line, columns, subsequent_indent=indent * " ", break_on_hyphens=False)


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
        lines += [f"Example: python -m harness {verb} {constants['EXAMPLE']}"]
    return "\n".join([*lines, "", "Other key=value arguments change the config: see python -m harness --cfg job."])


def _doc(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _default(value: ast.expr | None) -> str:
    """Format a default value as a user types it; … if there is none."""
    if value is None:
        return "…"
    default = ast.literal_eval(value)
    text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    return "null" if default is None else text.lower() if isinstance(default, bool) else text
