"""Weights from other people's files, and from our own: read without executing anything, loaded strictly.

A pickle that needs code is converted once, by someone who trusts it: python -m harness.foreign FILE NEW.safetensors
"""

import argparse
import pickle
import re
import shlex
import sys
import zipfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from harness.checkpoint import load_tensors, save_tensors
from harness.errors import UserError
from harness.recognise import hints

CONTAINERS = ("ema_state_dict", "model_state_dict", "state_dict", "model")
"""Where a file that holds more than weights keeps them, the averaged ones first: DAT, JEM, MadryLab."""
DROPPED = {"attacker", "normalizer", "normalize", "n_averaged", "energy_output"}
"""Parts of the names of tensors that are no weights of the net."""
PREFIXES = ("module.", "model.", "base_model.")
"""What wrappers put before the names of all weights, in any order, several times over."""

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch.save began its files before torch 1.6."""


def read(path: Path) -> dict[str, Tensor]:
    """The net's weights in a file of any published format, under the net's own names, on the CPU.

    The format is told by the content, never by the name. UserError for what is damaged, is no checkpoint, or could
    be read only by executing the code in it.
    """
    kind = _format(path)
    try:
        content = load_tensors(path, torch.device("cpu")) if kind == "safetensors" else _load(path)
    except (pickle.UnpicklingError, RuntimeError) as error:
        if needed := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(_conversion(path, needed[1])) from None
        raise UserError(_damaged(path, error)) from error
    except (SafetensorError, ValueError, LookupError, EOFError, AttributeError, TypeError, AssertionError) as error:
        raise UserError(_damaged(path, error)) from error
    return _weights(content, path)


def fit(weights: dict[str, Tensor], net: nn.Module, path: Path) -> None:
    """Load weights that were read from `path` into a net; all of them, and nothing else, have to fit.

    UserError names what is missing, unexpected or of another shape, and guesses what to try; the net is then as before.
    """
    check(weights, net, path)
    net.load_state_dict(weights)


def check(weights: dict[str, Tensor], net: nn.Module, path: Path) -> None:
    """UserError if weights that were read from `path` do not fit a net, which may be on the device "meta"."""
    wanted = net.state_dict()
    # Files of torch < 0.4.1 lack num_batches_tracked; torch then sets it.
    missing = [name for name in wanted if name not in weights and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in weights if name not in wanted]
    reshaped = [
        f"{name} ({_shape(weights[name])}, not {_shape(tensor)})"
        for name, tensor in wanted.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    wrong = {"Missing": missing, "Unexpected": unexpected, "Of another shape": reshaped}
    lines = [f"  {what}: {_few(names)}" for what, names in wrong.items() if names]
    if lines:
        raise UserError("\n".join([f"{path} does not fit the model.", *lines, *hints(weights, wanted)]))


def convert(source: Path, target: Path) -> None:
    """Write the weights of a torch.save file as safetensors; executes the code that the file holds."""
    if target.exists():
        raise UserError(f"{target} exists already. Name a new file.")
    if _format(source) == "safetensors":
        raise UserError(f"{source} is a safetensors file: give it as it is.")
    print(f"Executing the code in {source}. Do this only with files of a source that you trust.", file=sys.stderr)
    try:
        content = torch.load(source, map_location="cpu", weights_only=False, pickle_module=_pickle())
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        raise UserError(f"{source} needs the package {name}: pip install {name}, and the same command.") from None
    except Exception as error:  # code of the file, or damage: anything may be raised
        raise UserError(_damaged(source, error)) from error
    # Clones, as safetensors refuses tensors that share memory.
    save_tensors(target, {name: tensor.clone() for name, tensor in _weights(content, source).items()})


def _format(path: Path) -> Literal["safetensors", "zip", "legacy"]:
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


def _load(path: Path) -> object:
    """What torch.save wrote, if it is made of tensors and plain values; torch itself leaves a zip's sums unchecked."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise EOFError(f"the checksum of {damaged} does not hold")
    return torch.load(path, map_location="cpu", weights_only=True)


def _weights(content: object, path: Path) -> dict[str, Tensor]:
    """The weights among a file's content, without what wrappers added to their names."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds no weights but one {type(content).__name__}.")
    for key in CONTAINERS:
        if isinstance(content.get(key), Mapping | nn.Module):
            return _weights(content[key], path)
    weights = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
    weights = {name: tensor for name, tensor in weights.items() if not DROPPED & set(name.split("."))}
    if not weights:
        raise UserError(f"{path} holds no weights, only {_few([str(key) for key in content]) or 'an empty dict'}.")
    return _strip(weights)


def _strip(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if _all_begin(weights, "net."):  # our own files: what follows is the net's
        return {name.removeprefix("net."): tensor for name, tensor in weights.items()}
    while prefix := next((p for p in PREFIXES if _all_begin(weights, p)), None):
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    if "class_output.weight" in weights:  # JEM's features stand beside its head
        weights = {name.removeprefix("f."): tensor for name, tensor in weights.items()}
    return weights


def _all_begin(names: Mapping[str, Tensor], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)


def _pickle() -> ModuleType:
    """dill, with which MadryLab's files were written, where it is installed."""
    try:
        return import_module("dill")
    except ModuleNotFoundError:
        return pickle


def _conversion(path: Path, needed: str) -> str:
    command = shlex.join(["python", "-m", "harness.foreign", str(path), str(path.with_suffix(".safetensors"))])
    return (
        f"{path} is a pickle that executes code when it is read (it asks for {needed}), so it was not read.\n"
        "If you trust its source, convert it once and give the new file instead. The conversion executes that code:\n"
        f"  {command}"
    )


def _damaged(path: Path, error: Exception) -> str:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return f"{path} cannot be read as a checkpoint: damaged, cut short, or something else. ({reason:.200})"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f", … ({len(names)} in all)" if len(names) > 3 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"


def main(arguments: list[str] | None = None) -> None:
    """Convert a trusted file from the command line; exit status 2 where that fails."""
    parser = argparse.ArgumentParser("python -m harness.foreign", description=convert.__doc__)
    parser.add_argument("file", type=Path, help="what torch.save wrote, from a source that you trust")
    parser.add_argument("new", type=Path, help="the safetensors file to write")
    given = parser.parse_args(arguments)
    try:
        convert(given.file, given.new)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
