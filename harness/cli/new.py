"""Write the two files of a new method and a test, in a folder for --config-dir or for a package."""

import re
import shlex
from pathlib import Path
from string import Template

from harness.cli.request import Request
from harness.cli.tables import console
from harness.core.errors import UserError, short
from harness.core.files import write_text
from harness.core.providers import providers
from harness.core.settings import settings

WORDS = ("method", "NAME")
EXAMPLE = "method mine out=parts"

CODE = Template('''\
"""One sentence on the method, and its paper."""

from typing import ClassVar

from harness.core.energy import EnergyModel
from harness.core.method import Batch, Loss, Method, Stage, State, Stream
from harness.core.optim import Training
from harness.core.settings import settings
from harness.core.shard import Shard
from harness.core.walk import Walk, cross_entropy


@settings
class First(Stage):
    """What the stage trains, with its formula.

    L = weight / B Σ_i CE( f(x_i), y_i )
    """

    weight: float
    training: Training
    streams: ClassVar[tuple[Stream, ...]] = ("labelled",)

    def loss(self, model: EnergyModel, batch: Batch, state: State, shard: Shard) -> Loss:
        """The terms that are minimised, by name."""
        logits = model(batch.images["labelled"])
        return Loss({"ce": self.weight * cross_entropy(batch.labels["labelled"])(logits).mean()})


@settings
class $Class(Method):
    """One stage; sampled by the default, ascent on the joint logit from outlier images."""

    first: First
    sampler: Walk
''')

CONFIG = Template("""\
# One line on the method, which `python -m harness list` shows.
# title: $name
name: $name
first:
  # What this factor does.
  weight: 1.0
  training: {epochs: 20, batch: 64, optimizer: adam, lr: 1.0e-3}
sampler: {steps: 20, step: 0.4}
""")

TEST = Template('''\
"""The method $name keeps the contract of every method."""

from pathlib import Path

import harness
from harness.runs.contract import verdicts


def test_it_keeps_the_contract() -> None:
    (run,) = harness.plan(f"--config-dir={Path(__file__).parent}", "method=$name", "data=digits")
    assert [problem for _, problem in verdicts(run) if problem] == []
''')


@settings
class Arguments:
    """out: the folder for the files; pass it as `--config-dir` afterwards."""

    out: str = "parts"


def run(request: Request) -> None:
    """Write the files; UserError if the name cannot be one, or is taken."""
    # Refuse what cannot be written.
    kind, name = request.words
    if kind != "method" or request.overrides:
        raise UserError(f"Type: python -m harness new {' '.join(WORDS)} [out=FOLDER]")
    if not re.fullmatch(r"[a-z][a-z0-9_]{,49}", name):
        raise UserError(f"{short(name)} cannot name a method: use small letters, digits and _, with a letter first.")
    class_name = name.title().replace("_", "")
    if class_name in re.findall(r"\w+", CODE.template):
        raise UserError(
            f"{name} cannot name a method: {class_name}, the name of its class, is used otherwise in its file. "
            "Choose another name."
        )
    for group, taken, file in (part for provider in providers() for part in provider.parts()):
        if (group, taken) == ("method", name):
            raise UserError(f"The name {name} is taken by {file}: choose another name.")
    folder = Path(request.arguments.out)
    files = {
        folder / "method" / f"{name}.py": CODE,
        folder / "method" / f"{name}.yaml": CONFIG,
        folder / f"test_{name}.py": TEST,
    }
    for file in files:
        if file.exists():
            raise UserError(f"{file} exists already: choose another name, or another folder with out=FOLDER.")

    # Write the files, and say what to type next.
    for file, template in files.items():
        write_text(file, template.substitute(name=name, Class=class_name))
        console.print(f"written  {file}", markup=False, soft_wrap=True)
    place = shlex.quote(f"--config-dir={folder}")
    for line in (f"check method={name} {place}", f"method={name} {place}"):
        console.print(f"python -m harness {line}", markup=False, soft_wrap=True)
