"""Tune a method on a dataset: run trials of drawn values, and choose one by scores of validation images.

Trials are ordinary runs: launcher=processes shares them out, and the same command again goes on where it was. The first
one has the recipe's own values. The command ends with the lines of the best trial, to be pasted into the recipe.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from harness.cli.request import Request
from harness.cli.run import run_all
from harness.cli.tables import console, relative
from harness.core.distributed import join
from harness.core.errors import UserError, near
from harness.core.files import valid_name, write_text
from harness.core.reading import LARGEST_CONFIG, parse_yaml, read_file
from harness.core.registry import files, make
from harness.core.settings import flatten, settings
from harness.cost.passes import network_passes
from harness.runs import record
from harness.runs.compose import compose
from harness.runs.config import Config
from harness.runs.folder import OVER
from harness.runs.run import Run
from harness.runs.search import Search, splits

EXAMPLE = "method=jem data=digits trials=4 launcher=processes"


@settings
class Arguments:
    """trials: how many. budget: the part of a whole training that each takes. Both are the search's own by default.

    search: a file in configs/search by its name, or the path of one that ends in .yaml; the method's by default.
    """

    trials: int | None = None
    budget: float | None = None
    search: str | None = None


def run(request: Request) -> int:
    """Run the trials, write their log, and print the lines of the best; return 1 if a trial failed."""
    if "protocol" not in _keys(request.overrides):
        request = replace(request, overrides=[*request.overrides, "protocol=search"])
    base = Run(request.config)
    name, search = ranges(request.arguments, base.config.method["name"], request.overrides)
    trials = [Run(config) for config in configs_of(request, search)]
    keys = search.keys(trials[0].config.protocol, base.data)
    status = run_all(trials)

    # The log is written once nothing is left to do, so that it is the same however the trials were run.
    left = join().on_main(lambda: [trial.name for trial in trials if trial.state not in OVER])
    if left:
        console.print(f"{len(left)} of {len(trials)} trials are not over: the same command goes on from here.")
        return status
    log = summary(base, trials, search, keys)
    path = Path(base.config.reports) / "searches" / valid_name(f"{name}_{base.config.data['name']}.yaml")
    join().on_main(lambda: write_text(path, yaml.safe_dump(log, sort_keys=False, allow_unicode=True, width=120)))
    console.print(trials_table(log))
    for line in [*passes(base, request.overrides), f"Written: {path}", *recipe(log, path)]:
        console.print(line, markup=False, soft_wrap=True)
    return status


def ranges(asked: Arguments, method: str, overrides: Sequence[str]) -> tuple[str, Search]:
    """The search's name and itself, without the fields that the command sets; UserError if it cannot be read."""
    word = asked.search or method
    path = Path(word) if word.endswith(".yaml") else files("search").get(word)
    if path is None or not path.is_file():
        own = "Write one, as docs/tuning.md says, and name it: search=FILE.yaml"
        raise UserError(f"There is no search '{word}'. {near(word, files('search'))} {own}")
    content = parse_yaml(read_file(path, LARGEST_CONFIG))
    search = make(Search, path.name, content if isinstance(content, dict) else {"fields": content})
    given = {"trials": asked.trials, "budget": asked.budget}
    kept = {key: range for key, range in search.fields.items() if key not in _keys(overrides)}
    try:
        return path.stem, replace(
            search, fields=kept, **{key: value for key, value in given.items() if value is not None}
        )
    except ValueError as error:
        raise UserError(f"{path.name}: {error}.") from None


def configs_of(request: Request, search: Search) -> Iterator[Config]:
    """The config of each trial: that of the command, at the trial's budget and values."""
    for trial in range(search.trials):
        values = [f"{key}={value}" for key, value in search.values(trial, request.config).items()]
        yield compose([*request.overrides, f"budget={search.budget:g}", *values], "search", request.typed)[0]


def _keys(overrides: Sequence[str]) -> set[str]:
    """The keys that overrides set."""
    return {word.lstrip("+~").partition("=")[0] for word in overrides}


def summary(base: Run, trials: Sequence[Run], search: Search, keys: Mapping[str, str]) -> dict[str, Any]:
    """The log: what was searched and how, and each trial with its values, scores and objective; chosen: the best."""
    lines: list[dict[str, Any]] = []
    for trial in trials:
        result, config = record.read(trial.folder / "record.json"), dict(flatten(trial.config.mapping()))
        line = {"run": trial.name, "state": result.state, "values": {key: config[key] for key in search.fields}}
        if result.state == "done":
            line["scores"] = {key: round(result.scores[key].value, 4) for key in keys.values()}
            line["objective"] = round(search.objective_of(result.scores, keys), 4)
        lines.append(line)
    done = [number for number, line in enumerate(lines) if "objective" in line]
    protocol = trials[0].config.protocol
    return {
        "method": base.config.method["name"],
        "data": base.config.data["name"],
        "overrides": base.config.overrides,
        "protocol": protocol["id"],
        "splits": splits(protocol),
        "budget": search.budget,
        "seed": base.config.seed,
        "seed of values": search.seed,
        "objective": search.objective,
        "chosen": max(done, key=lambda number: lines[number]["objective"], default=None),
        "trials": lines,
    }


def trials_table(log: Mapping[str, Any]) -> Table:
    """Table of the trials: the values of the fields, the scores, and the objective; a star is beside the best."""
    trials = log["trials"]
    scores = next((trial["scores"] for trial in trials if "scores" in trial), {})
    columns = [*map(_short, trials[0]["values"]), *scores]
    table = Table("trial", *columns, "objective", title=f"Trials of {log['method']} on {log['data']}")
    for number, trial in enumerate(trials):
        figures = [f"{trial['scores'][key]:.4g}" for key in scores] if "scores" in trial else ["–"] * len(scores)
        last = f"{trial['objective']:.1f}" if "objective" in trial else trial["state"]
        table.add_row(
            f"{number}{' *' * (number == log['chosen'])}", *map(str, trial["values"].values()), *figures, last
        )
    return table


def _short(key: str) -> str:
    """The last two parts of a key, which say enough beside a method."""
    return ".".join(key.split(".")[-2:])


def passes(base: Run, overrides: Sequence[str]) -> Iterator[str]:
    """Lines on the network passes of a whole training, those of AT-JEM on the same data, and how to make them equal."""
    method, own = base.config.method["name"], network_passes(base)
    same_data = [word for word in overrides if word.lstrip("+~").startswith(("data", "--config-dir"))]
    goal = sum(network_passes(Run(compose(["method=atjem", *same_data])[0])).values())
    yield f"Passes of the net for each training image, at most: {method} {sum(own.values()):,.0f}, atjem {goal:,.0f}."
    # The last stage is made longer or shorter: those before it may be shared with other methods.
    *_, last = own
    factor = 1 + (goal - sum(own.values())) / own[last]
    if factor > 0 and abs(factor - 1) > 0.01:
        training, images = base.method.stages[last].training, base.data.length("train")
        epochs = factor * training.steps(images) * training.batch / images
        lengths = {"epochs": f"{epochs:.3g}"}
        if training.schedule == "step":
            places = (epochs / training.epochs * milestone for milestone in training.milestones)
            lengths["milestones"] = f"[{','.join(f'{place:.3g}' for place in places)}]"
        words = (shlex.quote(f"method.{last}.training.{key}={value}") for key, value in lengths.items())
        yield f"As many as atjem: {' '.join(words)}"


def recipe(log: Mapping[str, Any], path: Path) -> Iterator[str]:
    """The lines of the best trial for configs/recipe/<method>_<data>.yaml, with what they were selected by."""
    if log["chosen"] is None:
        yield "No trial is done, so none is chosen: look at why they ended, and search in other ranges."
        return
    # Nest the values by the parts of their keys.
    values = log["trials"][log["chosen"]]["values"]
    content: dict[str, Any] = {}
    for key, value in values.items():
        *parents, last = key.split(".")
        part = content
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    weights = ", ".join(f"{name} x {weight:g}" for name, weight in log["objective"].items())
    by = f"search of {len(log['trials'])} trials at budget {log['budget']:g}, {weights}: {relative(path.absolute())}"
    content["selection"] = {", ".join(map(_short, values)): {"by": by, "split": log["splits"]}}
    which = "has the recipe's own values" if log["chosen"] == 0 else "is the best"
    yield f"Trial {log['chosen']} {which}. For configs/recipe/{log['method']}_{log['data']}.yaml:"
    yield yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
