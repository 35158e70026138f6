"""Read weights from published checkpoint files and our own, without executing code, and load them strictly.

A pickle that needs code must be converted once, by a user who trusts it: python -m harness convert FILE NEW.safetensors
"""

import logging
import pickle
import pickletools
import re
import shlex
import sys
import zipfile
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from harness.core.errors import UserError
from harness.core.tensors import load_tensors, save_tensors
from harness.training.architectures import few, mismatch

log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]

AVERAGED = (
    "ema_state_dict", "model_ema_state_dict", "ema_model_state_dict", "state_dict_ema", "model_ema", "ema_model",
    "net_ema", "ema_net", "params_ema", "ema_weights", "ema", "swa_state_dict", "swa_model", "averaged_model",
)  # fmt: skip
"""Keys, or first parts of names, under which files hold averaged weights."""
RAW = ("model_state_dict", "state_dict", "model", "net", "params", "module")
"""Keys under which files with further content (DAT, JEM, MadryLab, Lightning) hold the weights as they were trained."""
LIGHTNING_RAW = "current_model_state"
"""Lightning's key for the raw weights of a file whose `state_dict` is averaged."""
PREFIXES = ("module.", "model.", "base_model.", "net.")
"""Prefixes that wrappers and Lightning add to all names of weights, in any order and possibly repeated."""

DROPPED = {"attacker", "normalizer", "normalize", "n_averaged"}
"""Name parts of tensors that are not weights of the net."""
UNUSED = {
    "energy_output": "class_output.weight",
    "linear": "class_output.weight",
    "sub_block1": "block1.layer.0.conv1.weight",
}
"""Modules that official classes (JEM, TRADES) hold but never use, each with a tensor by which its class is known."""
COPIES = ("layer_one", "other_layers")
"""Modules under which JEM++ registers the same tensors a second time."""

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""First bytes of torch.save's files before torch 1.6."""


def read(path: Path, choice: str = "averaged") -> Tensors:
    """Read the net's weights from a file of any published format, under the net's own names, on the CPU.

    choice: the set to take from a file that holds both: averaged, raw, or "" for what older versions took. The format
    is detected from the content, not from the file name. UserError for a file that is damaged, is no checkpoint, holds
    numbers that are not finite, or cannot be read without executing code in it.
    """
    sets = _open(path)
    choice = choice if len(sets) > 1 and choice else next(iter(sets))
    weights = sets[choice]
    other = next((name for name in sets if name != choice), "")

    # Refuse what cannot be used, and say what is taken of two sets.
    if not weights:
        raise UserError(f"{path} holds {choice} weights without names, which cannot be read: say weights={other}.")
    if wrong := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise UserError(
            f"{path} holds weights that are not finite (NaN or infinite): {few(wrong)}. Its training diverged, or the "
            f"file is damaged. Take another checkpoint{other and f', or say weights={other}'}."
        )
    if other:
        _tell(f"{path} holds averaged and raw weights: the {choice} ones are taken. weights={other} takes the others.")
    return weights


def mark(path: Path, choice: str) -> str:
    """The end of a run's `init`, after the file's digest: ":" and the choice, or nothing where there is none to make.

    Nothing, too, if older versions took the same set: their runs, named by the digest alone, keep their names.
    UserError if `choice` is raw and the file is known to hold averaged weights only.
    """
    sets = _names_of_sets(path.absolute(), path.stat().st_mtime_ns)
    if sets == ("averaged",) and choice == "raw":
        raise UserError(f"{path} holds averaged weights only: drop weights=raw.")
    return "" if len(sets) == 1 or choice == sets[0] else f":{choice}"


def marked(init: str) -> str:
    """The choice at the end of a run's `init`, for `read`; empty if it has none."""
    return init.partition(":")[2]


def fit(weights: Tensors, net: nn.Module, path: Path) -> None:
    """Load weights that were read from `path` into a net; names and shapes must match exactly.

    UserError lists what is missing, unexpected or of another shape, and suggests a fix; the net is then unchanged.
    """
    check(weights, net, path)
    net.load_state_dict(weights)


def check(weights: Tensors, net: nn.Module, path: Path) -> None:
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
    sets = _sets(content, source)
    if missing := [name for name, weights in sets.items() if not weights]:
        print(f"Left out, as they have no names: the {missing[0]} weights.", file=sys.stderr)
        del sets[missing[0]]
    prefixes = {"averaged": "model_ema.", "raw": "model."} if len(sets) > 1 else dict.fromkeys(sets, "")
    tensors = {prefixes[choice] + name: tensor for choice in sets for name, tensor in sets[choice].items()}
    # Clone, as safetensors refuses tensors that share memory.
    save_tensors(target, {name: tensor.clone() for name, tensor in tensors.items()})


def _open(path: Path) -> dict[str, Tensors]:
    """The sets of weights in a file, as `_sets` gives them; executes nothing."""
    kind = _format(path)
    try:
        content = LOADERS[kind](path)
    except Exception as error:  # damage: anything may be raised
        needed = re.search(r"GLOBAL (\S+)", str(error))
        raise UserError(_conversion(path, needed[1]) if needed else _unreadable(path, error)) from error
    if kind == "safetensors" and isinstance(content, dict) and _all_begin(content, "net."):
        # Our own files: EnergyModel's attribute `net`, and below it the net's own names.
        return {"raw": {name.removeprefix("net."): tensor for name, tensor in content.items()}}
    return _sets(content, path)


@lru_cache
def _names_of_sets(path: Path, _changed: int) -> tuple[str, ...]:
    return tuple(_open(path))


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


def _sets(content: object, path: Path) -> dict[str, Tensors]:
    """The sets of weights in a file's content: averaged, raw, or both. Older versions took the first of two.

    A set is empty if its tensors have no names. UserError if there are no weights.
    """
    if isinstance(content, nn.Module):
        content = content.state_dict()
    if not isinstance(content, Mapping):
        raise UserError(f"{path} holds no weights but one {type(content).__name__}.")

    # Look for containers, those of averages also in Lightning's callbacks.
    callbacks = content.get("callbacks")
    places = [content, *(callbacks.values() if isinstance(callbacks, Mapping) else ())]
    averaged = next((found for place in places if (found := _container(place, AVERAGED))), None)
    raw, averaged_first = _container(content, RAW), _container(content, AVERAGED[:1]) is not None
    if raw and (others := _container(content, (LIGHTNING_RAW,))):
        averaged, raw, averaged_first = raw, others, True

    # Without containers, the content is the weights.
    if averaged is None and raw is None:
        tensors = {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
        sets = _split(tensors, path)
        if not sets:
            raise UserError(f"{path} holds no weights, only {', '.join(map(str, content)) or 'an empty dict':.200}.")
        return sets

    # Of containers, take the set in each; a list of averaged tensors without names is an empty set beside the raw ones.
    if raw is None:
        return {"averaged": next(iter(_sets(averaged, path).values()))}
    sets = _sets(raw, path)
    if averaged is not None:
        average = {"averaged": _average(averaged, path)}
        sets = average | sets if averaged_first else sets | average
    return sets


def _container(content: object, keys: Iterable[str]) -> Mapping[object, object] | nn.Module | None:
    """What `content` holds under the first of these keys that has tensors; None if it has none."""
    values = [content[key] for key in keys if key in content] if isinstance(content, Mapping) else []
    return next((value for value in values if isinstance(value, Mapping | nn.Module) and _has_tensors(value)), None)


def _has_tensors(content: object) -> bool:
    if isinstance(content, Mapping | list | tuple):
        return any(map(_has_tensors, content.values() if isinstance(content, Mapping) else content))
    return isinstance(content, Tensor | nn.Module)


def _average(content: object, path: Path) -> Tensors:
    """The weights in a container of averaged ones; empty if they are a list without names."""
    try:
        return next(iter(_sets(content, path).values()))
    except UserError:
        return {}


def _split(tensors: Tensors, path: Path) -> dict[str, Tensors]:
    """The averaged and the raw weights among tensors, told apart by the first part of their names."""
    weights = _unwrap(tensors, path)
    averaged = {name for name in weights if name.partition(".")[0] in AVERAGED}
    sets = {
        "averaged": {name.partition(".")[2]: tensor for name, tensor in weights.items() if name in averaged},
        "raw": {name: tensor for name, tensor in weights.items() if name not in averaged},
    }
    return {choice: _used(_unwrap(part, path), path) for choice, part in sets.items() if part}


def _unwrap(weights: Tensors, path: Path) -> Tensors:
    """Weights without what wrappers add: prefixes of names, and tensors that are not the net's."""
    weights = {name.replace("_orig_mod.", ""): tensor for name, tensor in weights.items()}  # of torch.compile
    weights = _leave_out(weights, {n: part for n in weights for part in n.split(".") if part in DROPPED}, path)
    while prefix := next((p for p in PREFIXES if _all_begin(weights, p)), None):
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def _used(weights: Tensors, path: Path) -> Tensors:
    """Weights by the names of the official classes, without those that JEM, JEM++ and TRADES hold but do not use."""
    if "class_output.weight" in weights:  # JEM keeps the features, f, and the head side by side
        weights = {name.removeprefix("f."): tensor for name, tensor in weights.items()}
    if "0.init_conv.weight" in weights:  # DM-AT keeps its net in an nn.Sequential of one
        weights = {name.removeprefix("0."): tensor for name, tensor in weights.items()}
    modules = {name: name.partition(".")[0] for name in weights}
    unused = {name: module for name, module in modules.items() if UNUSED.get(module) in weights}

    # Of JEM++'s second names, leave out those whose tensor has a first name.
    first = [tensor for name, tensor in weights.items() if modules[name] not in COPIES]
    for name, module in modules.items():
        if module in COPIES and any(_same(weights[name], tensor) for tensor in first):
            unused[name] = module
    return _leave_out(weights, unused, path)


def _same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def _leave_out(weights: Tensors, unused: Mapping[str, str], path: Path) -> Tensors:
    """Weights without the unused ones; tell the user their modules, which `unused` has by name."""
    if unused:
        _tell(
            f"{path}: the net does not use these tensors, which are left out: {', '.join(sorted({*unused.values()}))}."
        )
    return {name: tensor for name, tensor in weights.items() if name not in unused}


@lru_cache
def _tell(text: str) -> None:
    """Log a note to the user, once in each process."""
    log.warning(text)


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
