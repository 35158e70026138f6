"""Folders of runs, each with one kind of damage or malice."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recorded import finish, make, paint, robust

from harness.runs.run import Run

SECRET = "the-secret-of-another-person"
"""What the file holds that links of bad folders lead to."""

Damage = Callable[[Path, Path], object]
"""Changes a run's folder, given the path of the secret too."""


@dataclass(frozen=True)
class Kind:
    """A kind of damage.

    file: the file that must be named. over: whether the run has a record. report, status: whether that command names
    the folder. row: whether the run still has its row in a report.
    """

    name: str
    file: str
    damage: Damage
    over: bool = True
    report: bool = True
    status: bool = True
    row: bool = False


def write(name: str, content: str | bytes) -> Damage:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder, secret: (folder / name).write_bytes(data)


def cut(name: str) -> Damage:
    def damage(folder: Path, secret: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return damage


def instead(name: str, make: Callable[[Path, Path], object]) -> Damage:
    """Put something else in place of a file."""

    def damage(folder: Path, secret: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name, secret)

    return damage


def link(path: Path, secret: Path) -> None:
    path.symlink_to(secret)


def dangling(path: Path, secret: Path) -> None:
    path.symlink_to(secret.with_name("nothing"))


def directory(path: Path, secret: Path) -> None:
    path.mkdir()


def pipe(path: Path, secret: Path) -> None:
    os.mkfifo(path)


def huge(path: Path, secret: Path) -> None:
    path.touch()
    os.truncate(path, 200 * 10**6)


def large(name: str, size: int) -> Damage:
    return write(name, b"#" + b" " * size)


def text(old: str, new: str) -> Damage:
    """Replace a text in the record."""

    def damage(folder: Path, secret: Path) -> None:
        content = (folder / "record.json").read_text()
        assert old in content, old
        (folder / "record.json").write_text(content.replace(old, new, 1))

    return damage


def fields(*path: str, **changed: Any) -> Damage:
    """Change fields of the record, or of a mapping in it."""

    def damage(folder: Path, secret: Path) -> None:
        content = json.loads((folder / "record.json").read_text())
        part = content
        for key in path:
            part = part[key]
        part.update(changed)
        (folder / "record.json").write_text(json.dumps(content))

    return damage


def names(**changed: Any) -> Damage:
    """Change the names in the frozen config."""

    def damage(folder: Path, secret: Path) -> None:
        import yaml

        content = yaml.safe_load((folder / "config.yaml").read_text())
        content["names"].update(changed)
        (folder / "config.yaml").write_text(yaml.safe_dump(content))

    return damage


def progress(**changed: Any) -> Damage:
    note = {"host": "n1", "pid": 7, "what": "train", "done": 1, "total": 2, "seconds_left": 1.0, "words": ""}

    def damage(folder: Path, secret: Path) -> None:
        (folder / "started").write_text("1\n")
        (folder / "progress.json").write_text(json.dumps({**note, **changed}))

    return damage


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


SCORE = "robust_accuracy/l2_0.5"
OUT = "/../../../outside"
BOMB = "a0: &a0 [0,0,0,0,0,0,0,0,0]\n" + "".join(
    f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)

RECORDS = [
    ("cut short", cut("record.json")),
    ("empty", write("record.json", "")),
    ("an empty list", write("record.json", "[]")),
    ("null", write("record.json", "null")),
    ("not UTF-8", write("record.json", b'{"state": "\xff\xfe"}')),
    ("NaN", text('"value": 50.0', '"value": NaN')),
    ("infinity", text('"value": 50.0', '"value": Infinity')),
    ("beyond floats", text('"value": 50.0', '"value": 1e999')),
    ("1e308, whose square is infinite", text('"value": 50.0', '"value": 1e308')),
    ("bounds of 1e308", fields("scores", SCORE, low=-1e308)),
    ("parameters of 4,001 digits", text('"parameters": 0', f'"parameters": 1{"0" * 4000}')),
    ("a count of 5,001 digits", text('"n": 100', f'"n": 1{"0" * 5000}')),
    ("a seed of 400 digits", text('"seed": ', f'"seed": 1{"0" * 400}')),
    ("200,000 brackets", write("record.json", "[" * 200_000)),
    ("200,000 braces", write("record.json", '{"a":' * 200_000)),
    ("half a character", fields(notes={"a": "\ud800"})),
    ("schema 99", fields(schema_version=99)),
    ("schema 1 with a list of selections", fields(schema_version=1, selection=[["a"]])),
    ("schema 1 with a number as a selection", fields(schema_version=1, selection={"steps": 5})),
    ("a study without clean accuracy", fields(study={"rate": 1.0, "step": 2.0})),
    ("a study of an unknown dataset", fields(study={"rate": 1.0}, data="nothing")),
    ("a factor that is a path", fields(study={OUT: 1.0})),
    ("a hash that is a path", fields("protocol", hash=OUT)),
    ("an id that is a path", fields("protocol", id=OUT)),
    ("a hash of 5,000 letters", fields("protocol", hash="a" * 5000)),
    ("a method that is a path", fields(method="../../outside")),
    ("a dataset that is a path", fields(data="a/b")),
    ("a fingerprint that is a path", fields(fingerprint="../x")),
    ("a stage that is a path", lambda folder, secret: _stage(folder, OUT)),
    ("a directory", instead("record.json", directory)),
    ("a link that leads out", instead("record.json", link)),
    ("a pipe", instead("record.json", pipe)),
    ("200 MB", instead("record.json", huge)),
]  # fmt: skip
"""Damage of record.json; `status` reads it without looking at what only tables need."""

ONLY_IN_TABLES = ("a study without clean accuracy", "a study of an unknown dataset")

CONFIGS = [
    ("empty", write("config.yaml", "")),
    ("a list", write("config.yaml", "[]\n")),
    ("a text", write("config.yaml", "method\n")),
    ("not UTF-8", write("config.yaml", b"method: \xff\n")),
    ("no names of parts", write("config.yaml", "{method: {}, data: {}, model: {}, outliers: {}, protocol: {}}\n")),
    ("200,000 brackets", write("config.yaml", "[" * 200_000)),
    ("200,000 brackets on lines", write("config.yaml", "[\n" * 100_000)),
    ("100,000 dashes", write("config.yaml", "- " * 100_000)),
    ("100,000 braces", write("config.yaml", "{a: " * 50_000)),
    ("aliases that explode", write("config.yaml", BOMB)),
    ("an alias of what contains it", write("config.yaml", "a: &a [*a]\n")),
    ("2 MB", large("config.yaml", 2 * 10**6)),
    ("an object of Python", write("config.yaml", "seed: !!python/object/apply:os.getcwd []\n")),
    ("a hash that is a path", names(protocol=OUT)),
    ("a fingerprint that is a path", names(run=OUT)),
    ("names that are lists", names(run=[1], series=[2])),
    ("a name that is missing", names(other="a")),
    ("a directory", instead("config.yaml", directory)),
    ("a link that leads out", instead("config.yaml", link)),
    ("a link to nothing", instead("config.yaml", dangling)),
    ("a pipe", instead("config.yaml", pipe)),
]  # fmt: skip
"""Damage of config.yaml in folders without a record; `status` does not read it."""

HUGE_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\x7f" * 8 + b"IEND\xaeB`\x82"
MANY_TERMS = json.dumps({"images": 1} | {f"t{n}": 1 for n in range(2000)}) + "\n"
BIN = {"low": 0, "high": 1, "count": 1, "right": 1}

FIGURES = [
    ("cut short", "samples.png", cut("samples.png")),
    ("a text", "samples.png", write("samples.png", SECRET)),
    ("a link that leads out", "samples.png", instead("samples.png", link)),
    ("a directory", "samples.png", instead("samples.png", directory)),
    ("too many pixels", "samples.png", write("samples.png", HUGE_PNG)),
    ("a link that leads out", "reliability.png", instead("reliability.png", link)),
    ("an empty list of lists", "reliability.json", write("reliability.json", "[[]]")),
    ("cut short", "reliability.json", write("reliability.json", '[{"low": 0')),
    ("counts of 400 digits", "reliability.json", write("reliability.json", json.dumps([BIN | {"count": 10**400}]))),
    ("more right than there are", "reliability.json", write("reliability.json", json.dumps([BIN | {"right": 2}]))),
    ("200,000 brackets", "selection.json", write("selection.json", "[" * 200_000)),
    ("no distances", "selection.json", write("selection.json", '{"steps": 1}')),
    ("distances that are texts", "selection.json", write("selection.json", '{"steps": 1, "distances": {"a": "b"}}')),
    ("a damaged line", "metrics.jsonl", write("metrics.jsonl", '{"images": 1, "a": 1}\n{"im\n')),
    ("lines that are lists", "metrics.jsonl", write("metrics.jsonl", "[1]\n")),
    ("lines without images", "metrics.jsonl", write("metrics.jsonl", '{"a": 1}\n')),
    ("texts as values", "metrics.jsonl", write("metrics.jsonl", '{"images": 1, "a": "b"}\n')),
    ("200,000 brackets", "metrics.jsonl", write("metrics.jsonl", "[" * 200_000 + "\n")),
    ("2,000 terms", "metrics.jsonl", write("metrics.jsonl", MANY_TERMS)),
    ("a link that leads out", "metrics.jsonl", instead("metrics.jsonl", link)),
    ("a link that leads out", "config.yaml", instead("config.yaml", link)),
    ("aliases that explode", "config.yaml", write("config.yaml", BOMB)),
]  # fmt: skip
"""Damage of files that only figures and pages show: the run keeps its row."""

FAILED = [("a link that leads out", instead("failure.md", link)), ("a directory", instead("failure.md", directory))]
"""Damage of failure.md: `status` says that it cannot be read, a report keeps the row."""

LOCKS = [
    ("a directory", instead("lock", directory)),
    ("a link that leads out", instead("lock", link)),
    ("a pipe", instead("lock", pipe)),
]

NOTES = [
    ("a pid that is a text", progress(pid="x")),
    ("a pid of everyone", progress(pid=-1)),
    ("a pid of 30 digits", progress(pid=10**30)),
    ("no pid", write("progress.json", '{"host": "n1"}')),
    ("a list", write("progress.json", "[]")),
    ("counts of 4,001 digits", progress(done=10**4000)),
    ("200,000 brackets", write("progress.json", "[" * 200_000)),
    ("a directory", instead("progress.json", directory)),
]
"""Damage of progress.json: a report does not read it."""

KINDS = [
    *(Kind(what, "record.json", damage, status=what not in ONLY_IN_TABLES) for what, damage in RECORDS),
    *(Kind(what, "config.yaml", damage, over=False, status=False) for what, damage in CONFIGS),
    *(Kind(what, file, damage, status=False, row=True) for what, file, damage in FIGURES),
    *(Kind(what, "failure.md", damage, over=False, row=True) for what, damage in FAILED),
    *(Kind(what, "lock", damage, over=False) for what, damage in LOCKS),
    *(Kind(what, "progress.json", damage, over=False, report=False, row=True) for what, damage in NOTES),
]


def _stage(folder: Path, name: str) -> None:
    content = json.loads((folder / "record.json").read_text())
    content["cost"]["stages"][0]["name"] = name
    (folder / "record.json").write_text(json.dumps(content))


def good(root: Path, count: int) -> list[Run]:
    """Finished runs, with pictures, of one method."""
    runs = [finish(make(root, seed), robust(50.0 + seed)) for seed in range(count)]
    for run in runs:
        paint(run, 0.5)
    return runs


def bad(root: Path, kinds: list[Kind] = KINDS) -> dict[int, Path]:
    """A folder of each kind below root/runs, by the kind's number.

    Each is of another net. Those whose figures are damaged are judged under protocols of their own, as a report draws
    only the best runs of a section.
    """
    secret, folders = root / "secret", {}
    secret.write_text(SECRET)
    for number, kind in enumerate(kinds):
        shown = {"protocol": {"id": f"bad-{number}", "metrics": {}}} if kind.row and kind.over else {}
        run = make(root, seed=1000 + number, model={"name": "digits", "width": 100 + number}, **shown)
        if kind.over:
            finish(run, robust(50.0))
            paint(run, 0.5)
            paint(run, 0.5, "reliability")
        else:
            run.freeze()
            (run.folder / "started").write_text("1\n")
        if kind.file == "progress.json":
            (run.folder / "lock").touch()
        kind.damage(run.folder, secret)
        folders[number] = run.folder
    return folders
