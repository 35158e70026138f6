"""Tune a method on a dataset: run trials with random values, and choose the best by scores on validation images.

Trials are ordinary runs: launcher=processes runs several at a time, and the same command continues interrupted ones.
The first trial has the recipe's own values. sampler=tpe learns from earlier trials; rungs=0.05,0.1 runs all trials at
the first budget, and the best again at the next. The command ends with the lines of the best trial for the recipe.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

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
from harness.core.text import counted
from harness.launch.launchers import launcher
from harness.runs import record
from harness.runs.compose import compose
from harness.runs.config import Config
from harness.runs.folder import OVER
from harness.runs.passes import network_passes
from harness.runs.run import Run
from harness.runs.search import Search, Trial, splits

EXAMPLE = "method=jem data=digits trials=4 launcher=processes"


@settings
class Arguments:
    """trials: number of trials. budget: fraction of a full training for each. The defaults are in the search's file.

    sampler: random or tpe. batch: trials that tpe draws at a time. rungs: increasing budgets, with commas between them.
    keep: the part of the trials that goes on to the next rung. search: the name of a file in configs/search, or a path
    that ends in .yaml (default: the method's own file).
    """

    trials: int | None = None
    budget: float | None = None
    sampler: Literal["random", "tpe"] | None = None
    batch: int | None = None
    rungs: tuple[float, ...] = ()
    keep: float | None = None
    search: str | None = None


def run(request: Request) -> int:
    """Run the trials, write their log, and print the lines of the best; return 1 if a trial failed."""
    if "protocol" not in _keys(request.overrides):
        request = replace(request, overrides=[*request.overrides, "protocol=search"])
    base = Run(request.config)
    name, search = ranges(request.arguments, base.config.method["name"], request.overrides)
    if search.batch is None:  # a learning sampler draws as many as run at a time
        search = replace(search, batch=getattr(launcher(base.config), "parallel", 1))
    keys = search.keys(base.config.protocol, base.data)
    # Run the trials round by round, and judge each by its record.
    tried: list[tuple[Trial, Run]] = []
    status = 0
    for trials in search.rounds(request.config):
        runs = [Run(config) for config in configs_of(request, trials)]
        status = max(status, run_all(runs))
        # What comes next waits until nothing is left to do, so that it is the same however the trials were run.
        left = join().on_main(lambda runs=runs: [run.name for run in runs if run.state not in OVER])
        if left:
            console.print(f"Not finished: {len(left)} of {counted(len(runs), 'trial')}. The same command continues.")
            return status
        for trial, run in zip(trials, runs, strict=True):
            result = record.read(run.folder / "record.json")
            if result.state == "done":
                trial.objective = round(search.objective_of(result.scores, keys), 4)
            tried.append((trial, run))
        finished, whole = counted(len(runs), "trial"), counted(len(tried), "run")
        console.print(f"Finished: {finished} at budget {trials[0].budget:g}, {whole} in all.")

    log = summary(base, tried, search, keys)
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
        own = "To use your own, see docs/tuning.md and set search=FILE.yaml"
        raise UserError(f"There is no search '{word}'. {near(word, files('search'))} {own}")
    content = parse_yaml(read_file(path, LARGEST_CONFIG))
    search = make(Search, path.name, content if isinstance(content, dict) else {"fields": content})
    if asked.budget is not None and asked.rungs:
        raise UserError("rungs= gives the budgets: leave out budget=.")
    given = {name: value for name, value in vars(asked).items() if name != "search" and value not in (None, ())}
    if asked.budget is not None:
        given["rungs"] = ()  # one budget replaces the rungs of the file
    kept = {key: range for key, range in search.fields.items() if key not in _keys(overrides)}
    try:
        return path.stem, replace(search, fields=kept, **given)
    except ValueError as error:
        raise UserError(f"{path.name}: {error}.") from None


def configs_of(request: Request, trials: Iterable[Trial]) -> Iterator[Config]:
    """The config of each trial: that of the command, at the trial's budget and values."""
    for trial in trials:
        values = [f"{key}={value}" for key, value in trial.values.items()]
        yield compose([*request.overrides, f"budget={trial.budget:g}", *values], "search", request.typed)[0]


def _keys(overrides: Sequence[str]) -> set[str]:
    """The keys that overrides set."""
    return {word.lstrip("+~").partition("=")[0] for word in overrides}


def summary(base: Run, tried: Sequence[tuple[Trial, Run]], search: Search, keys: Mapping[str, str]) -> dict[str, Any]:
    """The log: what was searched and how, and each trial with its values, scores and objective; chosen: the best.

    With rungs, a trial's line is that of its largest budget, and `earlier` lists the others.
    """
    lines: dict[int, dict[str, Any]] = {}
    for trial, run in tried:
        result, config = record.read(run.folder / "record.json"), dict(flatten(run.config.mapping()))
        line = {"run": run.name, "state": result.state, "values": {key: config[key] for key in search.fields}}
        if search.rungs:
            line["budget"] = trial.budget
        if trial.objective is not None:
            line["scores"] = {key: round(result.scores[key].value, 4) for key in keys.values()}
            line["objective"] = trial.objective
        if before := lines.get(trial.number):
            line["earlier"] = [*before.pop("earlier", []), {key: before[key] for key in before if key != "values"}]
        lines[trial.number] = line
    # The last rung decides.
    last = {
        trial.number: trial.objective
        for trial, _ in tried
        if trial.budget == search.budgets[-1] and trial.objective is not None
    }
    protocol = base.config.protocol
    learnt = {"optuna": version("optuna"), "batch": search.batch} if search.sampler == "tpe" else {}
    return {
        "method": base.config.method["name"],
        "data": base.config.data["name"],
        "overrides": base.config.overrides,
        "protocol": protocol["id"],
        "splits": splits(protocol),
        "sampler": search.sampler,
        **learnt,
        **({"rungs": [*search.rungs], "keep": search.keep} if search.rungs else {"budget": search.budget}),
        "seed": base.config.seed,
        "seed of values": search.seed,
        "objective": search.objective,
        "chosen": max(last, key=last.__getitem__, default=None),
        "trials": [lines[number] for number in sorted(lines)],
    }


def trials_table(log: Mapping[str, Any]) -> Table:
    """Table of the trials: the values of the fields, the scores, and the objective; a star is beside the best."""
    trials = log["trials"]
    scores = next((trial["scores"] for trial in trials if "scores" in trial), {})
    budget = ["budget"] if "rungs" in log else []
    columns = [*budget, *map(_short, trials[0]["values"]), *scores]
    table = Table("trial", *columns, "objective", title=f"Trials of {log['method']} on {log['data']}")
    for number, trial in enumerate(trials):
        figures = [f"{trial['scores'][key]:.4g}" for key in scores] if "scores" in trial else ["–"] * len(scores)
        last = f"{trial['objective']:.1f}" if "objective" in trial else trial["state"]
        values = [*(trial[key] for key in budget), *trial["values"].values()]
        table.add_row(f"{number}{' *' * (number == log['chosen'])}", *map(str, values), *figures, last)
    return table


def _short(key: str) -> str:
    """The last two parts of a key, which say enough beside a method."""
    return ".".join(key.split(".")[-2:])


def passes(base: Run, overrides: Sequence[str]) -> Iterator[str]:
    """Lines on the network passes of a whole training, those of AT-JEM on the same data, and how to make them equal."""
    method, own = base.config.method["name"], network_passes(base)
    same_data = [word for word in overrides if word.lstrip("+~").startswith(("data", "--config-dir"))]
    goal = sum(network_passes(Run(compose(["method=atjem", *same_data])[0])).values())
    yield f"Net passes per training image, at most: {method} {sum(own.values()):,.0f}, atjem {goal:,.0f}."
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
        yield f"For as many as atjem: {' '.join(words)}"


def recipe(log: Mapping[str, Any], path: Path) -> Iterator[str]:
    """The lines of the best trial for configs/recipe/<method>_<data>.yaml, with what they were selected by."""
    if log["chosen"] is None:
        yield "No trial is done, so none is chosen: find out why they ended, and search other ranges."
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
    how = f"{counted(len(log['trials']), 'trial')}{' of tpe' * (log['sampler'] == 'tpe')}"
    budgets = ", ".join(f"{budget:g}" for budget in log.get("rungs") or [log["budget"]])
    by = f"search of {how} at budget {budgets}, {weights}: {relative(path.absolute())}"
    content["selection"] = {", ".join(map(_short, values)): {"by": by, "split": log["splits"]}}
    which = "is the best, with the recipe's own values" if log["chosen"] == 0 else "is the best"
    yield f"Trial {log['chosen']} {which}. Its lines for configs/recipe/{log['method']}_{log['data']}.yaml:"
    yield yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
