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
    "On a machine with a network, fetch it, bring the file here and give its path, init=PATH: the run is the same."
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
    _refuse_secrets(word)
    address, marked, sha256 = word.partition("@sha256:")
    if marked and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise UserError(
            f"init={printable(word)}: after @sha256: stand 64 digits of 0-9 and a-f, as sha256sum prints them."
        )
    if entry := known(word):
        address, sha256 = entry.address, sha256 or entry.sha256
    path = _from_hub(address) if address.startswith("hub:") else _from_server(word, address, sha256)
    if sha256:
        _check(word, path, sha256)
    return path


def _check(word: str, path: Path, sha256: str) -> None:
    """UserError if a fetched file has another sha256."""
    if (other := digest(str(path))) != sha256:
        raise UserError(
            f"init={printable(word)} is refused: {path} has the sha256 {other}, not {sha256}. The file is damaged, or "
            "another one. Remove it if it is still there, and correct the sha256 if that is wrong."
        )


def _refuse_secrets(word: str) -> None:
    """UserError, which does not repeat the address, if it has parts that may be secret."""
    if SECRET.search(word.partition("@sha256:")[0]):
        raise UserError(
            "init=… has a user, a password, a query or a fragment, which would stand in the run's config for all to "
            "read. Give an address without them, or fetch the file yourself and give its path: init=PATH."
        )


def _from_hub(address: str) -> Path:
    """A file of a hub's repository, in huggingface_hub's own cache."""
    match = HUB.fullmatch(address)
    if not match:
        raise UserError(
            f"init={printable(address)} is not of the form hub:OWNER/NAME@COMMIT or hub:OWNER/NAME@COMMIT:FILE, where "
            "COMMIT is the 40 digits of a commit; a branch moves, and the run would not be the same tomorrow."
        )
    from huggingface_hub import hf_hub_download  # takes its time, and few runs need it

    repo, commit, file = match["repo"], match["commit"], match["file"] or FILE
    try:
        size = hf_hub_download(repo, file, revision=commit, dry_run=True).file_size or 0
        if size <= LARGEST:
            return Path(hf_hub_download(repo, file, revision=commit))
    except Exception as error:  # the client raises many kinds
        raise UserError(
            f"init={address} could not be fetched ({printable(str(error))}). {BY_HAND} There, this fetches it: "
            f"hf download {repo} {file} --revision {commit}"
        ) from None
    raise UserError(f"init={address} has {size:,} bytes, and at most {LARGEST:,} are fetched.")


def _from_server(word: str, url: str, sha256: str) -> Path:
    """A file of a server, in torch's cache under its sha256."""
    if not sha256:
        raise UserError(
            f"init={printable(word)} needs the file's sha256, which is not known here: init={printable(word)}"
            f"@sha256:DIGEST. If its publisher states none, fetch {printable(url)} and see what sha256sum FILE prints."
        )
    import torch.hub

    path = Path(torch.hub.get_dir()) / "checkpoints" / sha256
    if path.exists():  # before any lock: the cache may be one that cannot be written to
        return path
    with locked_file(path):
        if not path.exists():
            log.warning("Fetching %s into %s.", url, path)
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
                    raise UserError(f"{url} has more than {LARGEST:,} bytes, and no more are fetched.")
                yield chunk
    except (OSError, HTTPException, ValueError) as error:
        raise UserError(f"{url} could not be fetched ({why(error)}). {BY_HAND} Or bring it to {path}.") from None
