"""The command: python -m harness [run|plan|status|cancel|logs|report|compare|…] [words] [-m] [key=value …]."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from harness.cli import commands, help
from harness.cli.arguments import (
    Asked,
    Bench,
    Cancel,
    Evaluate,
    Explain,
    Logs,
    Plan,
    Report,
    Sample,
    Status,
    Sync,
    filled,
    split,
)
from harness.core.errors import UserError, near
from harness.core.signals import Leave
from harness.runs.compose import compose
from harness.runs.reopen import UNSAID
from harness.runs.run import Config


@dataclass(frozen=True)
class Verb:
    """What a command does with composed configs, and the bare words, by what they name, that it takes before these.

    words: one that ends in … stands for any number of them, which are handed on as a list. own: the arguments that
    are not Hydra's but its own. parts: what takes the place of parts of the config, where runs have one of their own.
    """

    act: Callable[..., int]
    words: tuple[str, ...] = ()
    own: type[Asked] | None = None
    parts: Config | None = None

    @property
    def many(self) -> bool:
        """Whether it takes any number of words."""
        return bool(self.words) and self.words[-1].endswith("…")


VERBS = {
    "run": Verb(commands.run),
    "plan": Verb(commands.plan, own=Plan),
    "evaluate": Verb(commands.evaluate, own=Evaluate, parts=UNSAID),
    "sample": Verb(commands.sample, own=Sample, parts=UNSAID),
    "explain": Verb(commands.explain, own=Explain, parts=UNSAID),
    "status": Verb(commands.status, own=Status),
    "cancel": Verb(commands.cancel, words=("RUN …",), own=Cancel),
    "logs": Verb(commands.logs, words=("RUN",), own=Logs),
    "report": Verb(commands.report, own=Report),
    "sync": Verb(commands.sync, own=Sync),
    "compare": Verb(commands.compare, words=("RUN", "RUN")),
    "list": Verb(commands.list_choices),
    "check": Verb(commands.check),
    "bench": Verb(commands.bench, own=Bench),
}


def main() -> None:
    """Run the command line, and leave with 0, 1 where a run failed, or 2 where the user has something to mend."""
    arguments = sys.argv[1:]
    name = arguments.pop(0) if arguments and arguments[0] in VERBS else "run"
    if {"--help", "-h"} & {*arguments}:
        print(_help(name))
        sys.exit(0)
    try:
        words, verb = _words(name, arguments), VERBS[name]
        named = [words] if verb.many else words
        given, rest = split(verb.own, arguments[len(words) :])
        configs = compose(rest, name, arguments, verb.parts)
        asked = [filled(verb.own, name, given)] if verb.own else []
        overrides = [rest] if verb.parts else []
        status = verb.act(configs, *named, *asked, *overrides)
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


def _help(name: str) -> str:
    verb = VERBS[name]
    return help.of_all(commands.CHOICES) if name == "run" else help.of_one(name, verb.act, verb.words, verb.own)


def _words(verb: str, arguments: list[str]) -> list[str]:
    """The bare words before the overrides and flags; UserError where they are not those of the verb."""
    words = list(takewhile(lambda argument: "=" not in argument and argument[:1] not in ("-", "~"), arguments))
    wanted = VERBS[verb].words
    if VERBS[verb].many:
        return words
    if words and not wanted:
        raise UserError(f"There is no command '{words[0]}'. {near(words[0], VERBS)}")
    if len(words) != len(wanted):
        usage = " ".join(["python -m harness", verb, *wanted, "[key=value …]"])
        raise UserError(f"{verb} takes {len(wanted)} words and was given {len(words)}. Type: {usage}")
    return words
