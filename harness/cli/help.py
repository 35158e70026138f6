"""What --help says, of all commands or of one; without Hydra, which would compose a config for it."""

from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from inspect import getdoc
from typing import Any

from harness.cli.arguments import Asked
from harness.core.registry import names

COMMANDS = """\
harness: fair comparisons of hybrid energy-based models.

  python -m harness                                      AT-JEM on digits, the defaults
  python -m harness -m method=atjem,jem,at seed=0,1,2    a sweep
  python -m harness plan -m method=atjem,jem --probe     what a sweep would do, and cost; runs nothing
  python -m harness evaluate run=RUN protocol=quick      judges a run, or a checkpoint file, once more
  python -m harness sample run=RUN classes=3,5           pictures of a run's samples, and an .npz of them
  python -m harness explain run=RUN images=test target=3 what would be changed in images to see a class there
  python -m harness status --watch                       how all runs get on
  python -m harness logs RUN                             what its jobs printed
  python -m harness cancel RUN RUN                       ends jobs and processes; --all for every one
  python -m harness report                               writes the leaderboard
  python -m harness sync                                 sends MLflow what it misses
  python -m harness compare RUN RUN                      two runs, image by image
  python -m harness list                                 methods, datasets, nets, protocols, …
  python -m harness check method=at                      whether a method keeps its contract
  python -m harness bench method=at data=cifar10         what a training step costs, and where its time goes

Choices (override them with group=name):"""

FLAGS = """
python -m harness COMMAND --help explains one; --cfg job shows the composed config, --info all how it came about."""


def of_all(groups: tuple[str, ...]) -> str:
    """The commands, and what can be chosen in each group."""
    return "\n".join([COMMANDS, *(f"  {group}: {', '.join(names(group))}" for group in groups), FLAGS])


def of_one(verb: str, act: Callable[..., int], words: tuple[str, ...], own: type[Asked] | None) -> str:
    """What a command does, and the arguments that it alone takes."""
    usage = " ".join(["python -m harness", verb, *words, "[key=value …]"])
    lines = [usage, "", getdoc(act) or ""]
    if own:
        lines += ["", getdoc(own) or "", "", f"Its own arguments: {', '.join(map(_shown, fields(own)))}"]
        lines += [f"Such as: python -m harness {verb} {own.example}"]
    return "\n".join([*lines, "", "Other key=value arguments are those of a run: see python -m harness --cfg job."])


def _shown(field: Field[Any]) -> str:
    """An argument, with what it is where it is not given."""
    if field.default is MISSING:
        return f"{field.name}=…"
    value = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    return f"{field.name}={'null' if value is None else str(value).lower()}"
