"""Whatever a run's folder holds costs that run's row, or a picture of it; it is named, and all others are shown."""

import json
import re
import subprocess
import sys
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from bad_kinds import KINDS, SECRET, Kind, bad, good
from commandline import harness
from recorded import a_row, finish, make, paint, robust

import harness as api
from harness.reports.rows import find_rows
from harness.reports.series import page_name
from harness.runs.record import ProtocolTag

GOOD = 20


class Told(NamedTuple):
    """What a command answered."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 20 good runs and a folder of each bad kind."""
    root = tmp_path_factory.mktemp("bad")
    good(root, GOOD)
    bad(root)
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The bad folders by number, in another place: only their names count here."""
    return bad(tmp_path_factory.mktemp("names"))


@pytest.fixture(scope="module")
def report(place: Path) -> Told:
    """What `report` answers."""
    return Told(*harness("report", "reports=reports", folder=place))


@pytest.fixture(scope="module")
def status(place: Path) -> Told:
    """What `status` answers."""
    return Told(*harness("status", "all=true", folder=place))


def ids(kind: Kind) -> str:
    return f"{kind.file}: {kind.name}"


def named(told: Told, folder: Path, kind: Kind) -> bool:
    """Whether a folder is named on stderr, with the file."""
    lines = [line for line in told.err.splitlines() if line.startswith(f"{folder.name}: unreadable: ")]
    assert all(line.startswith(f"{folder.name}: unreadable: {kind.file}: ") for line in lines), lines
    assert all(len(line) < 500 for line in lines)
    return bool(lines)


@pytest.mark.parametrize("number", range(len(KINDS)), ids=[ids(kind) for kind in KINDS])
def test_a_report_names_it(number: int, folders: dict[int, Path], report: Told) -> None:
    assert report.status == 3
    assert "Traceback" not in report.err
    assert named(report, folders[number], KINDS[number]) == KINDS[number].report


@pytest.mark.parametrize("number", range(len(KINDS)), ids=[ids(kind) for kind in KINDS])
def test_status_names_it(number: int, folders: dict[int, Path], status: Told) -> None:
    assert status.status == 3
    assert "Traceback" not in status.err
    assert named(status, folders[number], KINDS[number]) == KINDS[number].status
    (line,) = [line for line in status.out.splitlines() if folders[number].name in line]
    assert ("unreadable" in line) == KINDS[number].status


def test_all_other_rows_are_there(place: Path, folders: dict[int, Path], report: Told, status: Told) -> None:
    page = (place / "reports" / "LEADERBOARD.md").read_text(encoding="utf-8")
    lost = {folders[number].name for number, kind in enumerate(KINDS) if not kind.row}
    assert f" {GOOD}/{GOOD} " in page
    assert f" {GOOD}/{GOOD} " in report.out and "LEADERBOARD.md" in report.out
    web = (place / "reports" / "leaderboard.html").read_text(encoding="utf-8").partition("Not readable")[2]
    assert all(f"<li>{name}: unreadable: " in web for name in lost)
    found, faults = find_rows(make(place).config)
    names = {row.name for row in found}
    kept = {folders[number].name for number, kind in enumerate(KINDS) if kind.row}
    assert {fault.name for fault in faults} == lost and all(f"- {name}: unreadable: " in page for name in lost)
    assert len(names) == GOOD + len(kept) and kept <= names
    assert status.out.count(" done ") >= GOOD


def test_nothing_is_written_outside_the_reports_and_no_secret_is_published(place: Path, report: Told) -> None:
    assert {path.name for path in place.iterdir()} == {"runs", "reports", "secret"}
    assert not (place.parent / "outside").exists()
    texts = [path.read_bytes() for path in (place / "reports").rglob("*") if path.is_file()]
    assert len(texts) > GOOD
    for hidden in (SECRET.encode(), b64encode(SECRET.encode())):
        assert not any(hidden in text for text in texts)


def test_results_have_the_good_rows_and_warn_of_the_others(
    place: Path, folders: dict[int, Path], caplog: pytest.LogCaptureFixture
) -> None:
    table = api.results(f"runs={place / 'runs'}")
    assert (table["state"] == "done").sum() >= GOOD
    warned = {record.getMessage().partition(":")[0] for record in caplog.records}
    assert {folders[number].name for number, kind in enumerate(KINDS) if not kind.row} <= warned


def test_cancel_ends_the_others_and_names_what_it_needs_and_cannot_read(place: Path, folders: dict[int, Path]) -> None:
    told = Told(*harness("cancel", "all=true", folder=place))
    assert told.status == 3 and "Traceback" not in told.err
    locks = {folders[number].name for number, kind in enumerate(KINDS) if kind.file == "lock"}
    assert {line.partition(":")[0] for line in told.err.splitlines()} == locks


def test_plan_names_the_runs_of_the_command_that_it_cannot_read(tmp_path: Path) -> None:
    plan = ("plan", "-m", "method=at", "seed=0,1", "runs=runs")
    first = api.plan("method=at", "seed=0", f"runs={tmp_path / 'runs'}")[0]
    first.freeze()
    (first.folder / "record.json").write_text("[")
    (tmp_path / "runs" / "stages" / "x").mkdir(parents=True)
    for name, text in {"a": "[" * 200_000, "b": '{"key": [], "seconds": "x"}', "c": "null"}.items():
        (tmp_path / "runs" / name).mkdir()
        (tmp_path / "runs" / name / "pace.json").write_text(text)
    told = Told(*harness(*plan, folder=tmp_path))
    assert told.status == 3
    (line,) = told.err.splitlines()
    assert line.startswith(f"{first.name}: unreadable: record.json: it is no JSON")
    assert "1 run" in told.out and "Estimated remaining cost" in told.out


def test_compare_reads_the_two_named_runs_alone(tmp_path: Path) -> None:
    accuracy = {"clean_accuracy": robust(90.0)["robust_accuracy/l2_0.5"]}
    runs = [finish(make(tmp_path, seed), accuracy, outcomes={"clean": "1101"}) for seed in range(3)]
    (runs[2].folder / "record.json").write_text("[" * 200_000)
    assert harness("compare", runs[0].name, runs[1].name, folder=tmp_path)[0] == 0
    status, _, err = harness("compare", runs[0].name, runs[2].name, folder=tmp_path)
    assert status == 2 and err.count("\n") == 1 and "record.json is not a readable record" in err


def test_two_seeds_at_the_bound_of_numbers_are_shown(tmp_path: Path) -> None:
    for seed, value in enumerate((1e100, -1e100)):
        finish(make(tmp_path, seed), robust(value))
    status, out, err = harness("report", folder=tmp_path)
    assert (status, err) == (0, "") and " 2/2 " in out


def test_a_copy_that_says_something_else_does_not_hide_the_run(tmp_path: Path) -> None:
    run = finish(make(tmp_path), robust(50.0))
    copy = tmp_path / "runs" / "a copy"
    copy.mkdir()
    for name in ("config.yaml", "record.json"):
        text = (run.folder / name).read_text(encoding="utf-8")
        (copy / name).write_text(text.replace('"value": 50.0', '"value": 99.0'), encoding="utf-8")
    (row,), _ = find_rows(make(tmp_path).config)
    assert row.scores["robust_accuracy/l2_0.5"].value == 50


def test_folders_of_runs_and_stages_may_lie_on_another_disk(tmp_path: Path) -> None:
    run = finish(make(tmp_path), robust(50.0))
    paint(run, 0.5)
    elsewhere = tmp_path / "another disk"
    run.folder.rename(elsewhere)
    run.folder.symlink_to(elsewhere)
    (elsewhere / "samples.png").rename(elsewhere / "first.png")
    (elsewhere / "samples.png").symlink_to("first.png")
    status, out, err = harness("report", folder=tmp_path)
    assert (status, err) == (0, "") and " 1/1 " in out
    assert "data:image/png" in (tmp_path / "reports" / "runs" / f"{run.name}.html").read_text(encoding="utf-8")


def test_a_large_record_is_read(tmp_path: Path) -> None:
    score = robust(50.0)["robust_accuracy/l2_0.5"]
    scores = {f"detail/{number}": score.model_copy(update={"table": f"table {number % 20}"}) for number in range(2000)}
    outcomes = {f"attack/{number}": "10" * 25_000 for number in range(20)}
    run = finish(make(tmp_path), robust(50.0) | scores, outcomes=outcomes)
    assert (run.folder / "record.json").stat().st_size > 10**6
    (row,), faults = find_rows(make(tmp_path).config)
    assert len(row.scores) == 2001 and faults == []


def test_a_record_as_large_as_may_be_is_read_and_a_larger_one_is_named(tmp_path: Path) -> None:
    runs = [finish(make(tmp_path, seed), robust(50.0)) for seed in range(3)]
    for run, size in ((runs[1], 99), (runs[2], 101)):
        record = json.loads((run.folder / "record.json").read_text())
        record["outcomes"] = {"clean": "1" * (size * 10**6)}
        (run.folder / "record.json").write_text(json.dumps(record))
    for verb in ("report", "status"):
        told = Told(*harness(verb, folder=tmp_path))
        (line,) = told.err.splitlines()
        assert told.status == 3 and line.startswith(f"{runs[2].name}: unreadable: record.json: it has 101,")
        assert (" 2/2 " if verb == "report" else "2 done, 1 unreadable") in told.out


def test_a_machine_without_memory_is_no_fault_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finish(make(tmp_path), robust(50.0))
    paint(run, 0.5)
    (row,), _ = find_rows(make(tmp_path).config)

    def fail(*_: object) -> bytes:
        raise MemoryError

    with pytest.raises(MemoryError):
        row.read("samples.png", fail)
    monkeypatch.setattr("harness.runs.record.read_file", fail)
    with pytest.raises(MemoryError):
        find_rows(make(tmp_path).config)


def test_two_sections_never_share_a_page(tmp_path: Path) -> None:
    judged = [
        ("a", "b-c", "0" * 12),
        ("a-b", "c", "0" * 12),
        ("a", "b", "c-" + "0" * 12),
        ("stability", "a-b", "0" * 12),
    ]
    rows = [a_row("at", data=data, protocol=ProtocolTag(id=id, hash=hash)) for data, id, hash in judged]
    factors = ({"x": 1.0}, {"x-y": 1.0}, {"x": 1.0, "y": 1.0}, {"0" * 12: 1.0, "x": 1.0})
    rows += [
        a_row("at", data=data, protocol=ProtocolTag(id=id, hash=hash), study=study)
        for data, id, hash in (*judged, ("a", f"b-{'0' * 12}", "0" * 12))
        for study in factors
    ]
    names = [page_name(row) for row in rows]
    assert len(set(names)) == len(names)
    assert names[0] == "a-b-c-000000000000" and names[4] == "stability-a-b-c-000000000000-x"


@pytest.fixture
def odd_name(tmp_path: Path) -> Iterator[Path]:
    """A good run whose folder has a name that no terminal can show."""
    run = finish(make(tmp_path), robust(50.0))
    (run.folder / "record.json").write_text("[")
    odd = tmp_path / "runs" / b"\x1b[31m\n\xff".decode(errors="surrogateescape")
    run.folder.rename(odd)
    yield odd


def test_a_name_that_is_not_printable_is_escaped(odd_name: Path, tmp_path: Path) -> None:
    for verb in ("status", "report"):
        status, out, err = harness(verb, folder=tmp_path)
        assert status == 3 and "\x1b" not in out + err
        assert "␛[31m" in err and "Traceback" not in err


def test_the_bad_folders_are_as_bad_as_they_say(place: Path) -> None:
    code = "import yaml,sys; yaml.load(open(sys.argv[1]).read(), yaml.CSafeLoader)"
    number = next(n for n, kind in enumerate(KINDS) if kind.name == "100,000 dashes")
    (config,) = (place / "runs").glob(f"at-digits-s{1000 + number}-*/config.yaml")
    assert subprocess.run([sys.executable, "-c", code, config], capture_output=True).returncode < 0
    assert json.loads('{"a": NaN}')["a"] != 0


def test_the_documentation_counts_the_kinds() -> None:
    page = (Path(__file__).parents[2] / "docs" / "what-a-run-survives.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \| (\d+) \|", page, re.MULTILINE)
    counted: Counter[str] = Counter()
    for files, count in rows:
        counted[min(re.findall(r"`([^`]*)`", files))] += int(count)
    kinds = Counter(
        "metrics.jsonl" if kind.file in ("reliability.json", "selection.json") else kind.file for kind in KINDS
    )
    kinds["reliability.png"] += kinds.pop("samples.png")
    assert {file: counted[file] for file in kinds} == dict(kinds)
