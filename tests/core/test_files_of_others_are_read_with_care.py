"""A file of a run's folder is read if it is a regular file in that folder, of a bounded size; else it is named."""

import os
import sys
import tracemalloc
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.errors import Unreadable, UserError, printable
from harness.core.files import LONGEST, remove_stale, valid_name
from harness.core.reading import DEEPEST, parse_json, parse_yaml, read_file
from harness.core.text import visible
from harness.runs.folder import is_locked, lock


def test_links_are_followed_inside_the_folder_only(tmp_path: Path) -> None:
    folder, outside = tmp_path / "run", tmp_path / "outside"
    (folder / "below").mkdir(parents=True)
    outside.write_text("secret")
    (folder / "below" / "file").write_text("ours")
    (folder / "near").symlink_to("below/file")
    (folder / "through").symlink_to("near")
    (folder / "far").symlink_to("../outside")
    (folder / "absolute").symlink_to(outside)
    (folder / "round").symlink_to("round")
    (tmp_path / "linked").symlink_to(folder)
    for place in (folder, tmp_path / "linked"):
        assert read_file(place / "near") == read_file(place / "through") == b"ours"
        for name in ("far", "absolute", "round"):
            with pytest.raises(Unreadable):
                read_file(place / name)
    with pytest.raises(FileNotFoundError):
        read_file(folder / "none")


def test_what_is_no_file_or_too_large_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "large").write_bytes(b"12345")
    for name in ("pipe", "folder"):
        with pytest.raises(Unreadable, match="no regular file"):
            read_file(tmp_path / name)
    with pytest.raises(Unreadable, match="5 bytes, and at most 4"):
        read_file(tmp_path / "large", 4)
    assert read_file(tmp_path / "large", 5) == b"12345"


def test_a_file_takes_the_memory_of_its_size_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"12345")
    tracemalloc.start()
    assert read_file(tmp_path / "small", 10**9) == b"12345"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**6


@settings(max_examples=50)
@given(st.integers(1, 3 * DEEPEST), st.sampled_from(["[]", "{}"]))
def test_json_is_read_to_the_depth_that_is_documented(levels: int, pair: str) -> None:
    inner = "".join("[" if pair == "[]" else '{"a":' for _ in range(levels)) + "1"
    text = (inner + pair[1] * levels).encode()
    if levels <= DEEPEST:
        assert parse_json(text)
    else:
        with pytest.raises(ValueError, match="nested"):
            parse_json(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_yaml_is_read_as_its_own_loader_reads_it(value: object) -> None:
    shared = [value, value]
    text = yaml.safe_dump(shared, allow_unicode=True)
    assert parse_yaml(text.encode()) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text", ["[" * 10**6, "- " * 5 * 10**5, "{a: " * 10**5, "? " * 10**5, "a: &a [*a]", "*a", "1:" * 10**5 + "1"]
)
def test_yaml_that_would_end_the_process_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(it|its) "):
        parse_yaml(text.encode())


def test_aliases_may_repeat_what_is_small() -> None:
    few = "a: &a [1, 2]\n" + "".join(f"b{n}: *a\n" for n in range(200))
    assert parse_yaml(few.encode())["b199"] == [1, 2]
    many = f"a: &a [{'1, ' * 1000}]\n" + "".join(f"b{n}: *a\n" for n in range(200))
    with pytest.raises(ValueError, match="100,000 values"):
        parse_yaml(many.encode())


@given(st.text())
def test_a_name_is_one_part_of_a_path_and_short(name: str) -> None:
    try:
        valid_name(name)
    except UserError as error:
        assert len(str(error)) < 3 * LONGEST and "\n" not in str(error)
    else:
        assert Path("/a", f"{name}.html").parent == Path("/a") and len(os.fsencode(name)) <= LONGEST


@pytest.mark.parametrize("name", ["a" * (LONGEST + 1), "ä" * (LONGEST // 2 + 1), "a\n", "/../../x", "..", ""])
def test_names_that_lead_elsewhere_or_are_too_long_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="cannot name a file or folder"):
        valid_name(name)


@given(st.text(st.characters()))
def test_what_is_printed_of_others_is_one_line(text: str) -> None:
    line = printable(text)
    assert len(line) <= 300 and visible(line) == line and not set(line) & set("\n\r\t")
    line.encode(sys.stdout.encoding or "utf-8")


@pytest.mark.parametrize("pid", ["9" * 12, "9" * 60, "0" * 30 + "1" * 20])
def test_the_temporary_file_of_a_process_that_cannot_be_is_removed(pid: str, tmp_path: Path) -> None:
    import platform

    path = tmp_path / f".x.{pid}@{platform.node()}.0123abcd"
    path.touch()
    (tmp_path / f".y.{pid}@{platform.node()}.0123abcd").mkdir()
    assert remove_stale(tmp_path) == [path] and not path.exists()


def test_a_lock_that_is_no_file_is_told(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("kept")
    for number, make in enumerate((Path.mkdir, os.mkfifo, lambda path: path.symlink_to(secret))):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        make(folder / "lock")
        with pytest.raises(Unreadable):
            is_locked(folder)
        with pytest.raises(UserError, match="remove it"):
            lock(folder)
    assert secret.read_text() == "kept"
