"""The arguments that are a verb's own; all others say how Hydra composes the config."""

from dataclasses import MISSING, fields
from typing import Any, ClassVar, Literal, get_origin

from harness.core.errors import UserError
from harness.core.registry import make
from harness.core.settings import settings


@settings
class Evaluate:
    """run: a run's folder, its name in the folder of runs, or a checkpoint file."""

    run: str
    example: ClassVar[str] = "run=atjem-digits-s0-8b9c10af protocol=digits"


@settings
class Sample:
    """n samples of a run, of some classes in turn; none are all. steps: of the sampler. out: a folder for the files."""

    run: str
    n: int = 64
    classes: tuple[str, ...] = ()
    seed: int = 0
    steps: int | None = None
    out: str | None = None
    example: ClassVar[str] = "run=atjem-digits-s0-8b9c10af n=40 classes=3,5"

    def __post_init__(self) -> None:
        if self.n < 1 or (self.steps is not None and self.steps < 0):
            raise ValueError("n must be 1 or more, and steps 0 or more")


@settings
class Explain:
    """The first n images of a folder, or of the test split, walked towards a class in L2 balls of some radii."""

    run: str
    images: str
    target: str
    n: int = 8
    eps: tuple[float, ...] = (1.0, 2.0, 4.0)
    steps: int = 50
    out: str | None = None
    example: ClassVar[str] = "run=atjem-digits-s0-8b9c10af images=test target=3"

    def __post_init__(self) -> None:
        if self.n < 1 or self.steps < 1 or not self.eps or min(self.eps) <= 0:
            raise ValueError("n and steps must be 1 or more, and every eps above 0")


@settings
class Plan:
    """probe: measure what no earlier run tells, by a few steps of each such stage."""

    probe: bool = False
    example: ClassVar[str] = "-m method=atjem,jem probe=true"


@settings
class Status:
    """watch: show it anew until nothing is queued or running. all: of many runs, also those that are over."""

    watch: bool = False
    all: bool = False
    example: ClassVar[str] = "watch=true"


@settings
class Cancel:
    """all: every run that is queued or running, in place of those that are named."""

    all: bool = False
    example: ClassVar[str] = "all=true"


@settings
class Logs:
    """lines: how many of each log, from its end."""

    lines: int = 50
    example: ClassVar[str] = "atjem-digits-s0-8b9c10af lines=100"

    def __post_init__(self) -> None:
        if self.lines < 1:
            raise ValueError("lines must be 1 or more")


@settings
class Report:
    """source: where the runs are looked up, in their folders or in MLflow; the pages are the same."""

    source: Literal["folders", "mlflow"] = "folders"
    example: ClassVar[str] = "source=mlflow"


@settings
class Sync:
    """all: every run of the folder, in place of those that MLflow is owed, such as to fill a new server."""

    all: bool = False
    example: ClassVar[str] = "tracking=http://127.0.0.1:5000 all=true"


@settings
class Bench:
    """of: training steps, sampling n images, or attacking n of them. rounds: how often each is timed, in turn.

    stage: the one to measure; null for all. fit: find the largest batch that memory holds, in place of timing.
    """

    of: Literal["training", "sampling", "attacks"] = "training"
    rounds: int = 5
    stage: str | None = None
    n: int = 100
    fit: bool = False
    example: ClassVar[str] = "method=atjem data=cifar10 stage=joint rounds=3"

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.n < 1:
            raise ValueError("rounds and n must be 1 or more")


Asked = Evaluate | Sample | Explain | Plan | Status | Cancel | Logs | Report | Sync | Bench


def split(kind: type[Asked] | None, arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """The arguments that are fields of `kind`, and the others, which are for Hydra; --flag is flag=true."""
    own = {field.name: field.type for field in fields(kind)} if kind else {}
    said = {f"--{name}": f"{name}=true" for name, kind in own.items() if kind is bool}
    pairs = [said.get(one, one).partition("=") for one in arguments]
    given = {key: value for key, _, value in pairs if key in own}
    rest = [one for one, (key, *_) in zip(arguments, pairs, strict=True) if key not in own]
    return given, rest


def filled(kind: type[Asked], verb: str, given: dict[str, str]) -> Asked:
    """What a verb's own arguments say; UserError, with an example, where one is missing or means nothing."""
    for field in fields(kind):
        if field.default is MISSING and not given.get(field.name):
            raise UserError(f"{verb} needs {field.name}=…, such as: python -m harness {verb} {kind.example}")
    lists = {field.name for field in fields(kind) if get_origin(field.type) is tuple}
    values: dict[str, Any] = {
        key: tuple(value.strip("[]").split(",")) if key in lists else value for key, value in given.items()
    }
    return make(kind, "", values)
