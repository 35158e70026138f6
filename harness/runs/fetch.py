"""Initial weights by their address: fetched once into a cache, and verified.

    hub:OWNER/NAME@COMMIT            model.safetensors of a Hugging Face repository, at a commit
    hub:OWNER/NAME@COMMIT:FILE       another file of it
    https://HOST/FILE@sha256:DIGEST  a file of any server
    zoo:NAME                         an entry of harness/runs/zoo.py

An address may end in @sha256:DIGEST; without a commit, it must. Everything else is the path of a file.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from harness.core.errors import UserError, near, printable, why
from harness.core.files import atomic_write, digest, locked_file
from harness.runs.zoo import ZOO, Known

log = logging.getLogger(__name__)

SCHEMES = ("hub", "http", "https", "zoo")

HUB = re.compile(r"hub:(?P<repo>\w[\w.-]*/\w[\w.-]*)@(?P<commit>[0-9a-f]{40})(:(?P<file>\w[\w.+-]*(/\w[\w.+-]*)*))?")

SECRET = re.compile(r"//[^/]*@|[?#]")
"""Matches an address with a user, a query or a fragment."""

FILE = "model.safetensors"
"""The file of a hub's repository where none is named; `push` writes it."""

LARGEST = 20 * 10**9
"""Bytes of the largest file that is fetched."""

SECONDS = 60
"""How long a server may be silent."""

BY_HAND = (
    "Download it on a machine with a network, copy the file here and give its path, init=PATH: the run is the same."
)


def is_address(word: str) -> bool:
    """Whether a word is an address, not the path of a file."""
    return word.partition(":")[0] in SCHEMES


def is_weights(word: str) -> bool:
    """Whether a word names a weights file, by its address or its path, and not a run."""
    return is_address(word) or Path(word).is_file()


def known(word: str) -> Known | None:
    """The zoo's entry for a word; None if it is another address or a path. UserError if the zoo has no such weights."""
    if not word.startswith("zoo:"):
        return None
    name = word.partition("@sha256:")[0].removeprefix("zoo:")
    if name not in ZOO:
        raise UserError(f"init={printable(word)}: the zoo has no weights of that name. {near(name, ZOO)}")
    return ZOO[name]


def local(word: str) -> Path:
    """The file that `init` names: a path as it is, and an address fetched if it is not in the cache yet.

    UserError if it cannot be fetched, or has not the sha256 that the address or the zoo says.
    """
    if not is_address(word):
        return Path(word)
    address, sha256 = _parsed(word)
    path = _from_hub(address) if address.startswith("hub:") else _from_server(word, address, sha256)
    if sha256:
        _check(word, path, sha256)
    return path


def here(word: str) -> Path | None:
    """The file that `init` names, if it is on this machine; nothing is fetched. UserError for what is no address."""
    if not is_address(word):
        return Path(word) if Path(word).is_file() else None
    address, sha256 = _parsed(word)
    if match := HUB.fullmatch(address):
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(match["repo"], match["file"] or FILE, revision=match["commit"])
        return Path(found) if isinstance(found, str) else None
    path = _in_cache(sha256)
    return path if path.is_file() else None


def require_here(word: str) -> None:
    """UserError if the file that `init` names is not on this machine."""
    if here(word) is None:
        if is_address(word):
            raise UserError(f"init={printable(word)} is not on this machine yet: the command itself downloads it.")
        digest(word)  # says where it is expected


def _parsed(word: str) -> tuple[str, str]:
    """An address without its sha256, and the sha256, also from the zoo; UserError if it is none."""
    _refuse_secrets(word)
    address, marked, sha256 = word.partition("@sha256:")
    if marked and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise UserError(
            f"init={printable(word)}: @sha256: must be followed by 64 digits of 0-9 and a-f, as sha256sum prints them."
        )
    if entry := known(word):
        address, sha256 = entry.address, sha256 or entry.sha256
    if address.startswith("hub:") and not HUB.fullmatch(address):
        raise UserError(
            f"init={printable(address)} is not of the form hub:OWNER/NAME@COMMIT or hub:OWNER/NAME@COMMIT:FILE, where "
            "COMMIT is the 40 digits of a commit; a branch can move, and then the run could not be repeated."
        )
    if not address.startswith("hub:") and not sha256:
        raise UserError(
            f"init={printable(word)} needs the file's sha256, which is not known here: init={printable(word)}"
            f"@sha256:DIGEST. If its publisher states none, download {printable(address)} and type: sha256sum FILE"
        )
    return address, sha256


def _in_cache(sha256: str) -> Path:
    """Where a server's file is in torch's cache."""
    import torch.hub

    return Path(torch.hub.get_dir()) / "checkpoints" / sha256


def _check(word: str, path: Path, sha256: str) -> None:
    """UserError if a fetched file has another sha256."""
    if (other := digest(str(path))) != sha256:
        raise UserError(
            f"init={printable(word)} is refused: {path} has the sha256 {other}, not {sha256}. The file is damaged or "
            "a different one. Remove it if it still exists, and correct the sha256 if that is wrong."
        )


def _refuse_secrets(word: str) -> None:
    """UserError, which does not repeat the address, if it has parts that may be secret."""
    if SECRET.search(word.partition("@sha256:")[0]):
        raise UserError(
            "init=… has a user, a password, a query or a fragment, which everybody could read in the run's config. "
            "Give an address without them, or download the file yourself and give its path: init=PATH."
        )


def _from_hub(address: str) -> Path:
    """A file of a hub's repository, in huggingface_hub's own cache."""
    match = HUB.fullmatch(address)
    assert match  # _parsed has checked it
    from huggingface_hub import hf_hub_download  # takes its time, and few runs need it

    repo, commit, file = match["repo"], match["commit"], match["file"] or FILE
    try:
        size = hf_hub_download(repo, file, revision=commit, dry_run=True).file_size or 0
        if size <= LARGEST:
            return Path(hf_hub_download(repo, file, revision=commit))
    except Exception as error:  # the client raises many kinds
        raise UserError(
            f"init={address} could not be downloaded ({printable(str(error))}). {BY_HAND} The command is: "
            f"hf download {repo} {file} --revision {commit}"
        ) from None
    raise UserError(f"init={address} has {size:,} bytes; the limit is {LARGEST:,}.")


def _from_server(word: str, url: str, sha256: str) -> Path:
    """A file of a server, in torch's cache under its sha256."""
    path = _in_cache(sha256)
    if path.exists():  # before any lock: the cache may be one that cannot be written to
        return path
    with locked_file(path):
        if not path.exists():
            log.warning("Downloading %s to %s.", url, path)
            with atomic_write(path) as temporary, temporary.open("wb") as file:
                for chunk in _read(url, path):
                    file.write(chunk)
                file.flush()
                _check(word, temporary, sha256)
    return path


def _read(url: str, path: Path) -> Iterator[bytes]:
    """Yield a server's answer in pieces; UserError if there is none, or more than the largest file has."""
    from http.client import HTTPException  # with it comes OpenSSL, which few runs need and all would keep in memory
    from urllib.request import urlopen

    size = 0
    try:
        with urlopen(url, timeout=SECONDS) as answer:
            while chunk := answer.read(2**20):
                size += len(chunk)
                if size > LARGEST:
                    raise UserError(f"{url} has more than {LARGEST:,} bytes, which is the limit.")
                yield chunk
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(f"{url} could not be downloaded ({why(error)}). {BY_HAND} Or copy it to {path}.") from None
