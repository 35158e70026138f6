"""Odd input from a seed: altered configs, and command lines. Each is refused in one message, or it works.

`make odd-input N=10000 SEED=1` tries many, on two cores; the tests try few. Equal seeds give equal input anywhere.
"""

import contextlib
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import replace
from datetime import date
from functools import cache, partial
from math import inf, nan
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import torch

from harness.cli import main, run
from harness.core.errors import UserError
from harness.core.registry import names
from harness.launch.preflight import check_all
from harness.runs.compose import compose
from harness.runs.config import config_of
from harness.runs.run import Run, load

COMMANDS, PROCESSES = 280, 20
"""How many command lines `make odd-input` tries, in its own processes and each as a process of its own."""

Outcome = Literal["refused", "accepted"]
Kind = Literal["config", "command", "process"]

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**32, 2**63, -(2**63), 10**30, 10**4999),
    *(0.5, -0.5, 1e-320, 1e-9, 1e9, 1e300, -1e300, inf, -inf, nan),
    *("", " ", "x", "0", "1e3", "nan", "null", "???", "${seed}", "[/bold]", "a[red]b", "a b", "a/b", "\0", "\ud800"),
    *("../..", "ünï\u2028", "\x85\x1b[31m\n", "k" * 300, "k" * 100_000, "test", "digits", "noise", "cpu", "meta", "L2"),
    *([], {}, [None], [nan], [1, 2, 3], ["x"], [[[]]], {"a": 1}, {"name": "x"}, {"name": ["x"]}, {1: 2}, {"": 1}),
    *(date(2020, 1, 1), b"x"),
)  # fmt: skip
"""Values that a file of yaml can hold, and some that only Python can."""

TEXTS = (
    *("", "''", "null", "true", "yes", "0", "-1", "1.5", "1e9", "1e20", "1e400", "inf", "-inf", "nan", "9" * 5000),
    *("[]", "{}", "[a]", "{a: 1}", "{a:1}", "[nan]", "x", "???", "${seed}", "${nope}", "${oc.env:NOPE}"),
    *("${times:a,b}", "a=b", "a?b#c%d", "'[/bold]'", '"a[red]b"', '"a b"', "'\"", "a,b", "range(0,10,0)"),
    *("range(0,1e9)", "choice()", "interval(0,1)", "glob(*)", "sort(a)", "../../etc", "/dev/null", "/proc/x"),
    *("k" * 300, "k" * 100_000, "\ud800", "ü", "[" * 300, "epoch=3-val_acc=0.93.safetensors", "meta", "cuda:99"),
    *("http://[::1", "a\tb", "\\"),
)  # fmt: skip
"""What may be typed after key=."""

WORDS = (
    *("--hydra-help", "--info", "--cfg", "--cfg=all", "--resolve", "--config-dir=nope", "--config-dir", "-c", "-cn"),
    *("--multirun", "-m", "--", "-", "--package=x", "--run", "-x", "@x", "=", "==", "=1", "~", "+", "++a=1", "~a=1"),
    *("a", "hydra.mode=MULTIRUN", "hydra/launcher=x", "+hydra.x=1", "k" * 100_000 + "=1", "\ud800"),
)  # fmt: skip
"""Words of a command line that are no key=value of a config."""

METHODS = tuple(names("method"))
CHOICES = ("method", "data", "model", "outliers", "protocol", "launcher", "experiment", "recipe", "study")

VERBS = ("", "", "", "plan", "plan", "--cfg=job", "status", "logs", "cancel", "report", "compare", "sample", "explain")
"""Verbs that are tried; none of them trains here. The empty one is `run`."""


@cache
def composed(method: str) -> dict[str, Any]:
    """The composed config of a method on digits, as a mapping."""
    (config,) = compose([f"method={method}"])
    return config.mapping()


def places(part: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all values inside a mapping or list, each a tuple of keys and indices."""
    inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in inside:
        yield (*way, key)
        yield from places(value, (*way, key))


def blown_up(value: Any, rng: random.Random) -> Any:
    """A value grown far beyond its kind."""
    if isinstance(value, int | float):
        return rng.choice([-value, value * 10 ** rng.randint(1, 40), value / 1e6, value + 0.5])
    if isinstance(value, str | list):
        return value * rng.choice([0, 2, 1000])
    if isinstance(value, dict):
        return {**value, **{f"{key}{n}": part for key, part in value.items() for n in range(9)}}
    return [value] * 1000


def retyped(value: Any, rng: random.Random) -> Any:
    """A value as another type would hold it."""
    return rng.choice([str(value), [value], {"value": value}, [value, [value]], bool(value), str(value).upper()])


def nested(value: Any, rng: random.Random) -> Any:
    """A value deep inside others."""
    for _ in range(rng.choice([1, 2, 50])):
        value = rng.choice([[value], {"a": value}])
    return value


def altered(number: int, seed: int) -> tuple[dict[str, Any], list[str]]:
    """A composed config with one to three alterations at random places, and what was done."""
    rng = random.Random(f"config {seed} {number}")
    content, told = deepcopy(composed(rng.choice(METHODS))), [str(number)]
    for _ in range(rng.choice([1, 1, 2, 3])):
        way = rng.choice(list(places(content)))
        parent = content
        for key in way[:-1]:
            parent = parent[key]
        last, do = way[-1], rng.choice(["replace", "replace", "replace", "remove", "add", "retype", "nest", "blow up"])
        if do == "remove":
            del parent[last]
        elif do == "add" and isinstance(parent, dict):
            parent[rng.choice(["x", "name", "id", 5, "", "a.b", "k" * 1000])] = deepcopy(rng.choice(VALUES))
        else:
            change: Callable[[Any, random.Random], Any] = {"retype": retyped, "nest": nested, "blow up": blown_up}.get(
                do, lambda value, rng: deepcopy(rng.choice(VALUES))
            )
            parent[last] = change(parent[last], rng)
        told.append(f"{do} {'.'.join(map(str, way))}")
    return content, told


def try_config(content: dict[str, Any], folder: Path) -> Outcome:
    """Build what a run builds of a config before it trains; what is accepted must be the same when it is read back."""
    try:
        run = Run(config_of(content))
        check_all([run])
        run = Run(replace(run.config, runs=str(folder)))
        named = run.name, run.series, run.protocol, [stage_run.fingerprint for stage_run in run.stage_runs]
    except UserError as error:
        assert str(error).strip() and len(str(error)) < 20_000, "a message says what is wrong, briefly"
        return "refused"
    # What was accepted is frozen, and read back.
    run.freeze()
    again = load(run.folder)
    shutil.rmtree(run.folder)
    assert again.config == run.config, "the config is not the same when it is read back"
    fresh = Run(again.config)
    assert named == (fresh.name, fresh.series, fresh.protocol, [part.fingerprint for part in fresh.stage_runs])
    return "accepted"


def command_line(number: int, seed: int) -> list[str]:
    """A command line with one or two odd words."""
    rng = random.Random(f"words {seed} {number}")
    keys = [".".join(map(str, way)) for way in places(composed("atjem")) if way[0] not in ("overrides", "command")]
    words = [verb] if (verb := rng.choice(VERBS)) else []
    for _ in range(rng.choice([1, 1, 2])):
        if rng.random() < 0.2:
            words.append(rng.choice(WORDS))
            continue
        key = rng.choice([*keys, *CHOICES, "runs", "reports", "init", "seed", "run", "device", "tracking", "nope"])
        sign = rng.choice(["", "", "", "", "", "+", "++", "~"])
        words.append(sign + key if sign == "~" else f"{sign}{key}={rng.choice(TEXTS)}")
    return words


def try_command(words: list[str], folder: Path) -> Outcome:
    """Run a command line in this process, in an empty folder; launching is left out. A refused one writes nothing."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        with (
            mock.patch.object(run, "launch", lambda runs, show: 0),
            mock.patch.object(run.tracking, "sync", lambda root, seconds: (0, 0)),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            status = main.command(words)
        assert status == 0, f"exit status {status}"
    except UserError as error:
        assert str(error).strip()
        assert not list(folder.iterdir()), "a refused command wrote files"
        return "refused"
    finally:
        os.chdir(before)
    return "accepted"


def try_process(words: list[str], folder: Path) -> Outcome:
    """Plan a command line as a process of its own: exit status 0, or 2 with one message and nothing written."""
    words = ["plan", *(word for word in words if word not in VERBS and word.isprintable() and len(word) < 100_000)]
    told = subprocess.run([sys.executable, "-m", "harness", *words], cwd=folder, capture_output=True, text=True)
    assert told.returncode in (0, 2), f"exit status {told.returncode}: {told.stderr}"
    assert "Traceback" not in told.stderr
    assert told.returncode == 0 or (told.stderr.strip() and not list(folder.iterdir()))
    return "refused" if told.returncode else "accepted"


def try_one(kind: Kind, seed: int, number: int) -> tuple[str, str]:
    """Try one input of a kind; return its kind with the outcome, and what is wrong, empty if nothing is."""
    with tempfile.TemporaryDirectory() as folder:
        told: object = number
        try:
            if kind == "config":
                content, told = altered(number, seed)
                outcome = try_config(content, Path(folder))
            else:
                words = told = command_line(number, seed)
                outcome = (try_command if kind == "command" else try_process)(words, Path(folder))
        except (Exception, SystemExit) as error:
            frames = traceback.extract_tb(error.__traceback__)[-6:]
            where = " ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
            return f"failed: {kind}", f"{kind} {str(told)[:300]}: {type(error).__name__}: {str(error)[:300]} ({where})"
    return f"{outcome}: {kind}", ""


def try_all(configs: int, seed: int) -> int:
    """Try so many configs, and the command lines, on two cores; print what failed, and counts. Return the failures."""
    started, outcomes, failures = time.monotonic(), Counter[str](), 0
    counts: dict[Kind, int] = {"process": PROCESSES, "command": COMMANDS, "config": configs}
    with ProcessPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for kind, count in counts.items():
            for outcome, wrong in pool.map(partial(try_one, kind, seed), range(count), chunksize=1 + count // 200):
                outcomes[outcome] += 1
                if wrong:
                    failures += 1
                    print(wrong.encode(errors="backslashreplace").decode(), flush=True)
    for outcome, count in sorted(outcomes.items()):
        print(f"{outcome:<18} {count:>6,}")
    print(f"seed {seed}, {time.monotonic() - started:.0f} s: {failures} failures")
    return failures


if __name__ == "__main__":
    sys.exit(try_all(int(sys.argv[1]), int(sys.argv[2])) > 0)
