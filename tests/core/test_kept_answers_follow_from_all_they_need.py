"""An answer is kept until its question or the code changes; a file that is damaged or missing costs time alone."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.core import cache
from harness.core.cache import kept
from harness.core.sources import sources

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    cache.code.cache_clear()


def files() -> list[Path]:
    return sorted(path for path in cache.folder().rglob("*") if path.is_file())


def test_an_answer_is_asked_for_once():
    assert kept("sums", {"a": 1}, lambda: [1, "ü", 0.1]) == [1, "ü", 0.1]
    assert kept("sums", {"a": 1}, lambda: "another") == [1, "ü", 0.1]


def test_another_question_is_answered_anew():
    assert [kept("sums", {"seed": seed}, lambda seed=seed: seed) for seed in (1, 2, 1.5)] == [1, 2, 1.5]
    assert kept("products", {"seed": 1}, lambda: "of another kind") == "of another kind"


def test_what_could_not_be_answered_is_asked_again():
    assert kept("sums", 1, lambda: None) is None
    assert kept("sums", 1, lambda: 2) == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_text(path.read_text().replace("7", "8", 1)),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\xff\x00"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("{}"),
    ],
)
def test_a_damaged_file_is_written_again(damage):
    kept("sums", 1, lambda: 7)
    (path,) = files()
    damage(path)
    assert kept("sums", 1, lambda: 7) == 7
    assert kept("sums", 1, lambda: "it is kept again") == 7


def test_nothing_is_kept_where_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [kept("sums", 1, lambda answer=answer: answer) for answer in (1, 2)] == [1, 2]


def test_several_may_keep_one_answer_at_once():
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: kept("sums", 1, lambda: list(range(1000))), range(40)))
    assert all(answer == list(range(1000)) for answer in answers) and len(files()) == 1


def test_code_that_changed_after_it_was_imported_keeps_nothing(tmp_path, monkeypatch):
    (tmp_path / "a.py").touch()
    monkeypatch.setattr(cache, "sources", lambda: {"a.py": tmp_path / "a.py"})
    for answer in (1, 2):  # as of two processes
        cache.code.cache_clear()
        assert kept("sums", 1, lambda answer=answer: answer) == answer


def test_other_code_answers_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "STARTED", time.time() + 3600)
    file, other = tmp_path / "a.py", tmp_path / "b.py"
    file.write_text("x = 1")
    other.write_text("")
    digests = []
    for content, names in (("x = 1", ["a.py"]), ("x = 2", ["a.py"]), ("x = 2", ["c.py"]), ("x = 2", ["a.py", "b.py"])):
        file.write_text(content)
        monkeypatch.setattr(cache, "sources", lambda names=names: {n: other if n == "b.py" else file for n in names})
        cache.code.cache_clear()
        digests.append(cache.code())
        assert kept("sums", 1, lambda: len(digests)) == len(digests)
    assert len(set(digests)) == 4


def test_another_version_of_a_package_answers_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    for version in ("1.0", "1.1"):
        (tmp_path / f"package-{version}.dist-info").mkdir()
        cache.code.cache_clear()
        assert kept("sums", 1, lambda version=version: version) == version


def test_the_code_is_every_file_of_ours():
    rooms = [ROOT / name for name in ("harness", "methods", "datasets", "reports", "configs")]
    expected = {path.resolve() for room in rooms for kind in ("*.py", "*.yaml", "*.html") for path in room.rglob(kind)}
    assert expected <= {path.resolve() for path in sources().values()}
