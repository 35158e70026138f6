"""Runs as one file: written for others, and read from others into a folder of runs.

An archive is a zip file. For each run it has a folder: what a report reads, and, if asked for, the samples and the
stages with their weights. Beside them are a list of all files with their digests (archive.json), the versions of all
packages (environment.txt), and a copy of the code (code.zip), which is kept and never unpacked.
"""

import hashlib
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from harness.core.errors import Unreadable, UserError, printable, short
from harness.core.files import atomic_write, sha256, valid_name, write_text
from harness.core.reading import LARGEST_CONFIG, LARGEST_FILE, LARGEST_LOG, parse_json, regular
from harness.runs import changed, record, trust
from harness.runs.code import file_of
from harness.runs.folder import has_record
from harness.runs.origin import code_version
from harness.runs.run import Run, load
from harness.runs.trust import Imported

LIST, ENVIRONMENT, CODE = "archive.json", "environment.txt", "code.zip"
"""The files of an archive that belong to no run."""

ABOUT = ("config.yaml", "record.json", "metrics.jsonl", "selection.json", "failure.md", "uncommitted.diff")
TABLES = ("reliability.json", "long_chains.json")
"""The files of a run that reports read, beside its pictures."""

OF_STAGE = ("weights.safetensors", "state.safetensors", "done.json", "metrics.jsonl", "pace.json")

IGNORED = (trust.IMPORTED, trust.VERIFIED)
"""What only the reader can know: files of these names in an archive are left there."""

NAME = r"\w[\w.+-]{0,127}"
KINDS = (
    (rf"{LIST}|{ENVIRONMENT}|{NAME}/({'|'.join(map(re.escape, (*ABOUT, *TABLES, *IGNORED)))})", LARGEST_FILE),
    (rf"{NAME}/{NAME}\.png", LARGEST_FILE),
    (rf"{CODE}", LARGEST_FILE),
    (rf"{NAME}/samples/[0-9]{{7,12}}\.(npy|json)", LARGEST_LOG),
    (rf"{NAME}/stages/{NAME}/({'|'.join(map(re.escape, OF_STAGE))})", 100 * LARGEST_LOG),
)
"""Patterns of the names that an archive may hold, with the bytes of the largest such file."""

MOST_FILES = 10_000
MOST_BYTES = 20 * 10**9
"""The most files of an archive, and the most bytes that they have together when they are unpacked."""

LARGEST_TABLE = 400 * MOST_FILES
"""Bytes of the largest table of contents, which is read whole."""

PIECE = 2**20
"""Bytes that are copied at a time."""

Adopt = Callable[[Run], Run]
"""Gives an imported run the reader's own places."""


class Contents(BaseModel):
    """What archive.json holds.

    harness, code: the version, and the hash of the copy of the code, that wrote the archive. runs: by name, the modules
    of that code that differ from the code that judged the run; None if that is unknown. files: the sha256 of each.
    """

    format: Literal[1]
    harness: str
    code: str
    runs: Annotated[dict[str, list[str] | None], Field(min_length=1)]
    files: dict[str, str]


def write(path: Path, runs: Sequence[Run], code: Path, weights: bool = False, samples: bool = False) -> list[str]:
    """Write an archive of finished runs; return the names of its files. `code` is a copy of the code.

    UserError if there is a file of that name, or if a run has no record, weights or samples.
    """
    if path.exists():
        raise UserError(f"{path} exists already: choose another name, out=FILE.zip, or remove it.")
    files: dict[str, Path] = {}
    for run in runs:
        files |= {f"{run.name}/{name}": file for name, file in _files(run, weights, samples).items()}
    contents = Contents(
        format=1,
        harness=code_version(),
        code=code.name,
        runs={run.name: _changed(run) for run in runs},
        files={name: sha256(file) for name, file in sorted(files.items())},
    )
    # The dates of the files are left out, so that the same runs give the same archive.
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(LIST), contents.model_dump_json(indent=2))
        archive.writestr(zipfile.ZipInfo(ENVIRONMENT), environment())
        with archive.open(zipfile.ZipInfo(CODE), "w") as stream, zipfile.ZipFile(stream, "w") as copy:
            for file in sorted(file for file in code.rglob("*") if file.is_file()):
                _add(copy, file.relative_to(code).as_posix(), file)
        for name, file in sorted(files.items()):
            _add(archive, name, file)
    return [LIST, ENVIRONMENT, CODE, *sorted(files)]


def environment() -> str:
    """The versions of all installed packages, a line each, as pip reads them."""
    packages = {(one.metadata["Name"] or "").lower(): one.version for one in metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(packages.items()) if name)


def read(path: Path, root: Path, adopt: Adopt) -> list[Run]:
    """Put the runs of an archive into a folder of runs, with a note of where they came from; return them.

    UserError, with nothing written, if the archive is damaged or unsafe, or if one of its runs exists already.
    """
    _check_table(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members, contents = _members(archive, path)
            root.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=root, prefix=".import-") as scratch:
                for member in members:
                    _unpack(archive, member, Path(scratch, member.filename), contents.files, path)
                return _install(path, Path(scratch), contents, root, adopt)
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise Unreadable(path, printable(str(error)), "Ask for a new copy.", "cannot be imported") from None


def _files(run: Run, weights: bool, samples: bool) -> dict[str, Path]:
    """The files of a run that go into an archive, by their names below its folder there."""
    if not has_record(run.folder):
        raise UserError(f"{run.name} has no record yet ({run.state}): finish it first.")
    pictures = sorted(path.name for path in run.folder.glob("*.png"))
    files = {name: run.folder / name for name in (*ABOUT, *TABLES, *pictures)}
    if samples:
        drawn = {f"samples/{path.name}": path for path in sorted(run.folder.glob("samples/[0-9]*.*"))}
        if not drawn:
            raise UserError(f"{run.name} has no samples to export: leave out samples=true.")
        files |= drawn
    for stage_run in run.stage_runs if weights else ():
        if not stage_run.done:
            raise UserError(f"{run.name} has no weights of its stage {stage_run.name}: leave out weights=true.")
        files |= {f"stages/{stage_run.name}/{name}": stage_run.folder / name for name in OF_STAGE}
    return {name: regular(path) for name, path in files.items() if path.exists()}


def _changed(run: Run) -> list[str] | None:
    """The files of the present code that differ from the code that judged a run; None if that is unknown."""
    code = record.read(run.folder / "record.json").code
    return None if code is None else sorted(map(file_of, code.changes(changed.of_record(run))))


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    """Add a file; weights and arrays are stored as they are, for they hardly become smaller."""
    member = zipfile.ZipInfo(name)
    member.compress_type = zipfile.ZIP_STORED if path.suffix in (".safetensors", ".npy") else zipfile.ZIP_DEFLATED
    with path.open("rb") as source, archive.open(member, "w", force_zip64=True) as target:
        shutil.copyfileobj(source, target, PIECE)


def _check_table(path: Path) -> None:
    """UserError if a file is no zip file as we write them, or if its table of contents would fill the memory."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 98))
            tail = file.read().rjust(98, b"\0")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): name an archive that `export` wrote.") from None
    whole, locator, end = tail[:56], tail[56:76], tail[76:]
    if end[:4] != b"PK\x05\x06" or end[20:] != b"\0\0":
        raise UserError(f"{path} is not an archive of runs: name a file that `export` wrote.")
    large = locator[:4] == b"PK\x06\x07"
    table = int.from_bytes(whole[40:48] if large and whole[:4] == b"PK\x06\x06" else end[12:16], "little")
    if table > LARGEST_TABLE or (large and whole[:4] != b"PK\x06\x06"):
        raise UserError(f"{path} has a table of contents of {table:,} bytes; the limit is {LARGEST_TABLE:,}.")


def _members(archive: zipfile.ZipFile, path: Path) -> tuple[list[zipfile.ZipInfo], Contents]:
    """The files of an archive to unpack, and what it says of them; UserError if one is unsafe."""
    members = archive.infolist()
    if len(members) > MOST_FILES:
        raise UserError(f"{path} holds {len(members):,} files; the limit is {MOST_FILES:,}.")
    for member in members:
        if reason := _fault(member):
            raise UserError(f"{path} is refused, nothing was written: its file {short(member.filename)} {reason}.")
    names = [member.filename.casefold() for member in members]
    if len({*names}) < len(names):
        raise UserError(f"{path} is refused, nothing was written: two of its files have the same name.")
    if (size := sum(member.file_size for member in members)) > MOST_BYTES:
        raise UserError(f"{path} would take {size:,} bytes when unpacked; the limit is {MOST_BYTES:,}.")
    # Read what it says of its files, which must be all that it holds.
    by_name = {member.filename: member for member in members}
    if LIST not in by_name:
        raise UserError(f"{path} is not an archive of runs: it holds no {LIST}.")
    contents = Contents.model_validate(parse_json(archive.read(LIST)))
    kept = [member for name, member in by_name.items() if name.rpartition("/")[2] not in IGNORED]
    listed = {*contents.files, LIST, ENVIRONMENT, CODE}
    for name in (member.filename for member in kept):
        if name not in listed or ("/" in name and name.partition("/")[0] not in contents.runs):
            raise UserError(f"{path} is refused, nothing was written: {LIST} does not list its file {name}.")
    return kept, contents


def _fault(member: zipfile.ZipInfo) -> str:
    """What is wrong with a file of an archive; empty if nothing is."""
    name, mode = member.filename, member.external_attr >> 16
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name:
        return "leads out of the folder"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG) or member.is_dir():
        return "is a link, a folder or a device"
    largest = next((largest for pattern, largest in KINDS if re.fullmatch(pattern, name)), None)
    if largest is None:
        return "is not a file of a run"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or member.flag_bits & 1:
        return "is compressed in another way than by `export`"
    limit = LARGEST_CONFIG if name.endswith("config.yaml") else largest
    return f"has {member.file_size:,} bytes; the limit is {limit:,}" if member.file_size > limit else ""


def _unpack(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, digests: dict[str, str], path: Path
) -> None:
    """Unpack one file, no further than its stated size; UserError if its digest is not the one that is listed."""
    digest, left = hashlib.sha256(), member.file_size
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("xb") as file:
        while piece := source.read(min(PIECE, left)):
            digest.update(piece)
            file.write(piece)
            left -= len(piece)
    if left or digests.get(member.filename, digest.hexdigest()) != digest.hexdigest():
        raise UserError(f"{path} is damaged, nothing was written: {member.filename} differs from its digest in {LIST}.")


def _install(path: Path, scratch: Path, contents: Contents, root: Path, adopt: Adopt) -> list[Run]:
    """Check the unpacked runs, make their configs the reader's own, and move them into the folder of runs."""
    for name in contents.runs:
        if (root / valid_name(name)).exists():
            raise UserError(f"{root / name} exists already: import into another folder, runs=FOLDER.")
    digest = sha256(path)
    note = Imported(archive=digest, created=datetime.now(UTC).isoformat(timespec="seconds"))
    for name in contents.runs:
        _check(run := load(scratch / name), path)
        write_text(scratch / name / "config.yaml", adopt(run).frozen)
        trust.write(scratch / name, note)
    # All of them are sound: now they appear, each at once.
    for name in contents.runs:
        (scratch / name).rename(root / name)
    about = root / "imports" / digest[:12]
    about.mkdir(parents=True, exist_ok=True)
    for name in (LIST, ENVIRONMENT, CODE):
        with suppress(FileNotFoundError):
            (scratch / name).rename(about / name)
    return [load(root / name) for name in contents.runs]


def _check(run: Run, path: Path) -> None:
    """UserError if a run's folder, config and record do not belong together."""
    found = record.read(run.folder / "record.json")
    said = (found.fingerprint, found.series, found.method, found.data, found.seed, found.protocol.hash)
    config = run.config
    frozen = (run.fingerprint, run.series, config.method["name"], config.data["name"], config.seed, run.protocol.hash)
    if run.name != run.folder.name or said != frozen:
        raise UserError(
            f"{path} is refused, nothing was written: config and record of {run.folder} belong to different runs."
        )
