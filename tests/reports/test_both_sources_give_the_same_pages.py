"""The run folders and their mirror in MLflow give the same rows and pages, wherever the folders are."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import ATJEM, CHOSEN, JEM, WALK, a_row, database, finish, further, make, paint, robust, scores

from harness import tracking
from harness.core.errors import UserError
from harness.core.files import write_text
from harness.evaluation.score import Score, Selection
from harness.reports import leaderboard
from harness.reports.rows import rows
from harness.runs import record
from harness.runs.row import Row
from harness.runs.run import Run
from harness.tracking.tags import row_of_tags, row_tags


def runs(root: Path) -> Iterator[Run]:
    """Yield runs in every state that a folder can have, one of them in a study, on two protocols."""
    for seed in range(2):
        run = finish(make(root, seed), scores(50 + seed, 20.0 - seed, 2.0) | further(90), notes={"loss": "ε|<b>"})
        paint(run, seed / 3)
        yield run
    doubtful = {"warnings": ["gradients are masked " * 30] * 20}
    yield finish(make(root, method=ATJEM), scores(70, 3, 1, **doubtful), selection=CHOSEN, parameters=75434)
    without = {"name": "samples", "source": "given.npz", "sampler": WALK}
    yield finish(make(root, method=without), {"fd_digits": scores(1, 9, 1)["fd_digits"]}, not_given=["ece"])
    yield finish(make(root, 1, method=ATJEM), {}, state="diverged", reason="loss nan at step 7")
    yield finish(make(root, protocol={"id": "quick", "metrics": {}, "label": "for trying out"}), robust(10))
    study = {"study": {"step": 2.0, "rate": 1.0}}
    accuracy = Score(title="Clean accuracy", value=95, n=360, unit="%", better="higher")
    yield finish(make(root, 5, **study), {"clean_accuracy": accuracy}, init="0" * 64)
    for width, state in enumerate(("queued", "interrupted", "failed"), start=9):
        net = {"name": "digits", "width": width}
        run = make(root, method=JEM, model=net, overrides=[f"model.width={width}"], notes={"about": "never judged"})
        run.freeze()
        if state == "interrupted":
            (run.folder / "started").touch()
        if state == "failed":
            write_text(run.folder / "failure.md", "# out of memory")
        yield run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs and their mirror."""
    root = tmp_path_factory.mktemp("sources")
    (root / "runs").mkdir()
    (root / "runs" / "mlflow.db").write_bytes(database())
    assert all(tracking.push(run) for run in runs(root))
    return root


def pages(root: Path, source: str, to: str) -> dict[str, bytes]:
    """All files that a report writes."""
    folder = root / to
    leaderboard.write(replace(make(root).config, reports=str(folder)), source)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_pages_are_the_same_byte_for_byte_also_of_a_moved_folder(place: Path, tmp_path: Path) -> None:
    found = pages(place, "folders", "from-folders")
    names = {"LEADERBOARD.md", "leaderboard.csv", "leaderboard.tex", "references.bib", "published.md"}
    assert names < set(found)
    assert b"AT-JEM (DAT)" in found["LEADERBOARD.md"]
    assert pages(place, "mlflow", "from-mlflow") == found
    shutil.copytree(place / "runs", tmp_path / "elsewhere" / "runs", ignore=lambda *_: ["mlflow.db", "mlartifacts"])
    for copied in (tmp_path / "elsewhere" / "runs").glob("at-*"):
        shutil.copytree(copied, copied.with_name(f"copy of {copied.name}"))
    assert pages(tmp_path / "elsewhere", "folders", "reports") == found


def test_rows_of_every_state_agree_and_find_their_files(place: Path) -> None:
    there, mirrored = (rows(make(place).config, source) for source in ("folders", "mlflow"))
    assert there == mirrored
    assert {row.state for row in there} == {"done", "diverged", "queued", "interrupted", "failed"}
    for one, other in zip(there, mirrored, strict=True):
        for name in ("config.yaml", "samples.png", "failure.md", "absent.txt"):
            assert one.read(name, bytes) == other.read(name, bytes), (one.name, name)
            assert not one.faults and not other.faults
    assert sum(row.read("samples.png", bytes) is not None for row in mirrored) == 2


texts = st.text(max_size=50)
chosen = st.builds(Selection, by=texts, split=st.lists(st.sampled_from(["train", "validation", "test"])))
numbers = st.floats(-1e100, 1e100)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,40}", fullmatch=True)
measured = st.builds(
    Score, title=texts, value=numbers, low=st.none() | numbers, high=st.none(), n=st.integers(0, 10**6),
    unit=st.sampled_from(["%", ""]), better=st.sampled_from(["higher", "lower"]), warnings=st.lists(texts, max_size=3),
)  # fmt: skip


@settings(max_examples=30)
@given(st.data())
def test_a_row_comes_back_from_its_tags(data: st.DataObject) -> None:
    fields = {
        "reason": texts,
        "overrides": texts,
        "parameters": st.integers(0, 10**9),
        "notes": st.dictionaries(texts, texts),
        "study": st.dictionaries(names, numbers),
        "canaries": st.dictionaries(texts, numbers),
        "selection": st.dictionaries(texts, chosen),
        "scores": st.dictionaries(texts, measured),
        "protocol": st.builds(record.ProtocolTag, id=names, hash=names, label=texts),
    }
    row = a_row("at", **{key: data.draw(strategy) for key, strategy in fields.items()})
    assert row_of_tags(dict(row_tags(row)), row.find) == row


def test_tags_of_an_older_harness_are_read(place: Path) -> None:
    row: Row = rows(make(place).config)[0]
    kept = {key: text for key, text in row_tags(row) if key not in ("cost", "origin", "parameters", "canaries")}
    found = row_of_tags(kept, row.find)
    assert found.scores == row.scores and found.cost is None and found.parameters == 0


def test_where_nothing_is_the_user_is_told(tmp_path: Path) -> None:
    for source in ("folders", "mlflow"):
        (tmp_path / "runs").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="Run something first"):
            rows(make(tmp_path).config, source)
