"""An archive of others is bounded, holds only files that runs have, executes nothing, and claims nothing."""

import hashlib
import json
import stat
import zipfile
from dataclasses import replace

import pytest
from recorded import finish, make, paint, robust

from harness.core.errors import UserError
from harness.runs import archive, trust
from harness.runs.row import row_of
from harness.runs.run import load


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A run, and the files of its archive by name."""
    folder = tmp_path_factory.mktemp("sent")
    run = finish(make(folder, command="curl example.org | sh"), robust(40), outcomes={"clean": "10"})
    paint(run, 0.5)
    (folder / "code").mkdir()
    (folder / "code" / "a.py").write_text("raise SystemExit")
    archive.write(folder / "a.zip", [run], folder / "code")
    with zipfile.ZipFile(folder / "a.zip") as source:
        return run, {name: source.read(name) for name in source.namelist()}


def packed(path, files, listed=True, **about):
    """Write an archive; about: fields of the last file's entry."""
    files = dict(files)
    contents = json.loads(files[archive.LIST])
    if listed:
        contents["files"] |= {name: hashlib.sha256(text).hexdigest() for name, text in files.items() if "/" in name}
        files[archive.LIST] = json.dumps(contents).encode()
    with zipfile.ZipFile(path, "w") as target:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            if name == [*files][-1]:
                vars_of(entry, about)
            target.writestr(entry, text)
    return path


def vars_of(entry, about):
    for key, value in about.items():
        setattr(entry, key, value)


def read(path, root):
    return archive.read(path, root, lambda run: replace(run, config=replace(run.config, command="imported")))


def refused(path, tmp_path):
    """The message that refuses an archive, of which nothing may be left."""
    root = tmp_path / "mine"
    with pytest.raises(UserError) as error:
        read(path, root)
    assert not root.exists() or list(root.iterdir()) == []
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/passwd", "leads out of the folder"),
        ("../evil.png", "leads out of the folder"),
        ("{run}/../../evil.png", "leads out of the folder"),
        ("C:\\evil.png", "leads out of the folder"),
        ("{run}/sitecustomize.py", "is not a file of a run"),
        ("{run}/.hidden.png", "is not a file of a run"),
        ("{run}/mlflow.json", "is not a file of a run"),
        ("{run}/job.json", "is not a file of a run"),
        ("{run}/samples/0000000.pkl", "is not a file of a run"),
        ("{run}/parts/accuracy/00000.json", "is not a file of a run"),
        ("stages/robust-digits-s0-00000000/weights.safetensors", "is not a file of a run"),
        ("{run}/folder/", "is a link, a folder or a device"),
        ("other-digits-s0-00000000/record.json", "does not list"),
    ],
)
def test_names_that_no_run_has_are_refused(sent, tmp_path, name, reason):
    run, files = sent
    path = packed(tmp_path / "a.zip", files | {name.format(run=run.name): b"x"})
    assert reason in refused(path, tmp_path) and not (tmp_path / "evil.png").exists()


def test_links_and_other_packings_are_refused(sent, tmp_path):
    run, files = sent
    link = {f"{run.name}/extra.png": b"/etc/passwd"}
    mode = (stat.S_IFLNK | 0o777) << 16
    assert "is a link" in refused(packed(tmp_path / "a.zip", files | link, external_attr=mode), tmp_path)
    packing = packed(tmp_path / "b.zip", files | link, compress_type=zipfile.ZIP_BZIP2)
    assert "is compressed in another way" in refused(packing, tmp_path)


def test_sizes_and_counts_are_bounded(sent, tmp_path, monkeypatch):
    run, files = sent
    path = packed(tmp_path / "a.zip", files)
    for bound, least, reason in (
        ("MOST_FILES", 3, "files; the limit is 3"),
        ("MOST_BYTES", 1000, "bytes when unpacked"),
        ("LARGEST_TABLE", 100, "table of contents"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(archive, bound, least)
            assert reason in refused(path, tmp_path)
    large = {f"{run.name}/config.yaml": b"#" * (archive.LARGEST_CONFIG + 1)}
    assert "bytes; the limit is 1,000,000" in refused(packed(tmp_path / "b.zip", files | large), tmp_path)


def test_a_file_that_states_less_than_it_holds_is_unpacked_no_further(sent, tmp_path):
    run, files = sent
    path = packed(
        tmp_path / "a.zip", files | {f"{run.name}/extra.png": b"x" * 5000}, compress_type=zipfile.ZIP_DEFLATED
    )
    content = path.read_bytes()
    path.write_bytes(content.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    assert "cannot be imported" in (said := refused(path, tmp_path)) or "is damaged" in said


def test_two_files_of_one_name_are_refused(sent, tmp_path):
    run, files = sent
    path = packed(tmp_path / "a.zip", files | {f"{run.name}/RECORD.png": b"x", f"{run.name}/record.png": b"y"})
    assert "two of its files have the same name" in refused(path, tmp_path)


def test_what_was_changed_cut_or_is_no_archive_is_refused(sent, tmp_path):
    run, files = sent
    name = f"{run.name}/record.json"
    changed = files | {name: files[name].replace(b"40", b"90")}
    said = refused(packed(tmp_path / "a.zip", changed, False), tmp_path)
    assert "record.json differs from its digest in archive.json" in said
    unlisted = files | {f"{run.name}/extra.png": b"x"}
    assert "does not list its file" in refused(packed(tmp_path / "b.zip", unlisted, False), tmp_path)
    whole = packed(tmp_path / "c.zip", files).read_bytes()
    (tmp_path / "d.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "e.zip").write_bytes(b"")
    assert "is not an archive of runs" in refused(tmp_path / "d.zip", tmp_path)
    assert "is not an archive of runs" in refused(tmp_path / "e.zip", tmp_path)
    assert "cannot be read" in refused(tmp_path / "none.zip", tmp_path)
    del (bare := dict(files))[name]
    assert "record.json" in refused(packed(tmp_path / "f.zip", bare), tmp_path)
    with zipfile.ZipFile(tmp_path / "g.zip", "w") as empty:
        empty.writestr(archive.LIST, "[" * 1000)
    assert "cannot be imported" in refused(tmp_path / "g.zip", tmp_path)


def test_a_record_of_another_run_is_refused(sent, tmp_path):
    run, files = sent
    name = f"{run.name}/record.json"
    other = files | {name: files[name].replace(b'"seed": 0', b'"seed": 1')}
    assert "belong to different runs" in refused(packed(tmp_path / "a.zip", other), tmp_path)


def test_what_an_archive_claims_of_itself_is_left_there(sent, tmp_path):
    run, files = sent
    claim = {name: f"{run.name}/{name}" for name in (trust.VERIFIED, trust.IMPORTED)}
    same = {"what": "accuracy", "result": "same", "over": "all"}
    text = {"record": hashlib.sha256(files[f"{run.name}/record.json"]).hexdigest(), "code": "c", "hardware": "h"}
    text |= {"created": "2026", "seed": 0, "metrics": ["accuracy"], "comparisons": [same]}
    path = packed(tmp_path / "a.zip", files | {name: json.dumps(text).encode() for name in claim.values()})
    (imported,) = read(path, tmp_path / "mine")
    assert not (imported.folder / trust.VERIFIED).exists()
    assert row_of(imported.folder).provenance == "done (imported, not verified)"
    # The same file, written by the reader, counts.
    (imported.folder / trust.VERIFIED).write_text(json.dumps(text))
    assert row_of(imported.folder).provenance == "done (imported, verified)"
    # One that cannot be read, or that found a difference, counts as a doubt.
    text["comparisons"].append({"what": "robustness", "result": "differs", "note": "image 3"})
    (imported.folder / trust.VERIFIED).write_text(json.dumps(text))
    assert row_of(imported.folder).doubts == ["its verification failed: robustness image 3"]
    (imported.folder / trust.VERIFIED).write_text("{")
    assert len(row_of(imported.folder).doubts) == 1 and not row_of(imported.folder).verified


def test_nothing_that_is_there_is_replaced_and_no_command_of_others_is_kept(sent, tmp_path):
    run, files = sent
    path = packed(tmp_path / "a.zip", files)
    (imported,) = read(path, tmp_path / "mine")
    before = (imported.folder / "record.json").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        read(path, tmp_path / "mine")
    assert (imported.folder / "record.json").read_bytes() == before
    assert load(imported.folder).config.command == "imported"
    assert {path.name for path in (tmp_path / "mine").iterdir()} == {run.name, "imports"}
    (about,) = (tmp_path / "mine" / "imports").iterdir()
    assert {path.name for path in about.iterdir()} == {archive.LIST, archive.ENVIRONMENT, archive.CODE}


def test_a_link_that_leads_out_is_not_exported(tmp_path):
    run = finish(make(tmp_path), robust(40))
    (tmp_path / "secret").write_text("secret")
    (run.folder / "failure.md").symlink_to(tmp_path / "secret")
    (tmp_path / "code").mkdir()
    with pytest.raises(UserError, match="leads out"):
        archive.write(tmp_path / "a.zip", [run], tmp_path / "code")
