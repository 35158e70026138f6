"""Read weights from published checkpoint files and our own, without executing code, and load them strictly.

A pickle that needs code must be converted once, by a user who trusts it: python -m harness convert FILE NEW.safetensors
"""

import pickle
import pickletools
import re
import shlex
import sys
import zipfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from harness.core.errors import UserError
from harness.core.tensors import load_tensors, save_tensors
from harness.training.architectures import mismatch

CONTAINERS = ("ema_state_dict", "model_state_dict", "state_dict", "model")
"""Keys under which files with further content (DAT, JEM, MadryLab) hold the weights; averaged weights come first."""
DROPPED = {"attacker", "normalizer", "normalize", "n_averaged", "energy_output"}
"""Name parts of tensors that are not weights of the net."""
PREFIXES = ("module.", "model.", "base_model.")
"""Prefixes that wrappers add to all names of weights, in any order and possibly repeated."""

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of torch.save's files before torch 1.6."""


def read(path: Path) -> dict[str, Tensor]:
    """Read the net's weights from a file of any published format, under the net's own names, on the CPU.

    The format is detected from the content, not from the file name. UserError for a file that is damaged, is no
    checkpoint, or cannot be read without executing code in it.
    """
    load = LOADERS[_format(path)]
    try:
        content = load(path)
    except Exception as error:  # damage: anything may be raised
        needed = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(_conversion(path, needed[1]) if needed else _unreadable(path, error)) from error
    return _weights(content, path)


def fit(weights: dict[str, Tensor], net: nn.Module, path: Path) -> None:
    """Load weights that were read from `path` into a net; names and shapes must match exactly.

    UserError lists what is missing, unexpected or of another shape, and suggests a fix; the net is then unchanged.
    """
    check(weights, net, path)
    net.load_state_dict(weights)


def check(weights: dict[str, Tensor], net: nn.Module, path: Path) -> None:
    """Raise UserError if weights read from `path` do not fit a net; the net may be on the device "meta"."""
    if lines := mismatch(weights, net.state_dict()):
        raise UserError("\n".join([f"{path} does not fit the model.", *lines]))


def convert(source: Path, target: Path) -> None:
    """Write the weights of a torch.save file as safetensors; executes the code in the file."""
    if target.exists():
        raise UserError(f"{target} exists already. Name a new file.")
    if _format(source) == "safetensors":
        raise UserError(f"{source} is a safetensors file: give it as it is.")

    print(f"Executing the code in {source}. Do this only with files of a source that you trust.", file=sys.stderr)
    try:
        with source.open("rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=False, pickle_module=_pickle())
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        raise UserError(f"{source} needs the package {name}: pip install {name}, and the same command.") from None
    except Exception as error:  # code of the file, or damage: anything may be raised
        raise UserError(_unreadable(source, error)) from error
    # Clone, as safetensors refuses tensors that share memory.
    save_tensors(target, {name: tensor.clone() for name, tensor in _weights(content, source).items()})


def _format(path: Path) -> str:
    """The key in LOADERS for a file's format, detected from its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(LEGACY):
        return "legacy"
    if head[8:9] == b"{":  # after the header's length, 8 bytes
        return "safetensors"
    begins = f"it begins with {head!r}" if head else "it is empty"
    raise UserError(f"{path} holds no weights: {begins}. Files of torch.save and safetensors are read.")


def _load_zip(path: Path) -> object:
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():  # torch does not verify the checksums
            raise ValueError(f"the checksum of {damaged} does not hold")
    return _load_pickle(path)


def _load_legacy(path: Path) -> object:
    with path.open("rb") as file:
        for _ in range(5):  # magic number, protocol, machine, content, the names of the storages that follow
            for _ in pickletools.genops(file):  # raises where the file is cut short; executes nothing
                pass
    return _load_pickle(path)


def _load_pickle(path: Path) -> object:
    with path.open("rb") as file:  # not the path: torch.load would choose by its extension
        return torch.load(file, map_location="cpu", weights_only=True)


def _load_safetensors(path: Path) -> object:
    return load_tensors(path, torch.device("cpu"))


LOADERS: dict[str, Callable[[Path], object]] = {
    "zip": _load_zip,
    "legacy": _load_legacy,
    "safetensors": _load_safetensors,
}


def _weights(content: object, path: Path) -> dict[str, Tensor]:
    """The weights in a file's content, with wrappers' prefixes removed from their names."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds no weights but one {type(content).__name__}.")
    for key in CONTAINERS:
        if isinstance(content.get(key), Mapping | nn.Module):
            return _weights(content[key], path)
    weights = _strip({str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)})
    if not weights:
        raise UserError(f"{path} holds no weights, only {', '.join(map(str, content)) or 'an empty dict':.200}.")
    return weights


def _strip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if _all_begin(weights, "net."):  # our own files: EnergyModel's attribute `net`
        return {name.removeprefix("net."): tensor for name, tensor in weights.items()}
    weights = {name: tensor for name, tensor in weights.items() if not DROPPED & set(name.split("."))}
    while prefix := next((p for p in PREFIXES if _all_begin(weights, p)), None):
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    if "class_output.weight" in weights:  # JEM keeps the features, f, and the head side by side
        weights = {name.removeprefix("f."): tensor for name, tensor in weights.items()}
    return weights


def _all_begin(names: Mapping[str, Tensor], prefix: str) -> bool:
    return bool(names) and all(name.startswith(prefix) for name in names)


def _pickle() -> ModuleType:
    """dill if it is installed (MadryLab's files were written with it), or else pickle."""
    try:
        return import_module("dill")
    except ModuleNotFoundError:
        return pickle


def _conversion(path: Path, needed: str) -> str:
    command = shlex.join(["python", "-m", "harness", "convert", str(path), str(path.with_suffix(".safetensors"))])
    return (
        f"{path} is a pickle that executes code when it is read (it asks for {needed}), so it was not read.\n"
        "If you trust its source, convert it once and give the new file instead. The conversion executes that code:\n"
        f"  {command}"
    )


def _unreadable(path: Path, error: Exception) -> str:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return f"{path} cannot be read as a checkpoint: damaged, cut short, or something else. ({reason:.200})"
