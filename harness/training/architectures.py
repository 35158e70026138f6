"""Explain why a file's weights do not fit a model: list the differences, and guess the architecture in the file."""

from collections.abc import Mapping

from torch import Tensor

Weights = Mapping[str, Tensor]

RESNETS: dict[tuple[tuple[int, ...], int, bool], str] = {
    ((2, 2, 2, 2), 64, False): "model=timm model.name=resnet18",
    ((3, 4, 6, 3), 64, False): "model=timm model.name=resnet34",
    ((3, 4, 6, 3), 64, True): "model=resnet50",
    ((3, 4, 6, 3), 128, True): "model=timm model.name=wide_resnet50_2",
    ((3, 4, 6, 3), 256, True): "model=wrn50_4",
}
"""Overrides by blocks per group, inner width of the first block, and whether blocks are bottlenecks."""
CONVNEXTS = {96: "small", 128: "base", 192: "large"}
"""Model sizes by the width of the first stage."""
HEADS = ("fc", "class_output", "head.fc", "head", "classifier", "logits", "linear")


def mismatch(found: Weights, wanted: Weights) -> list[str]:
    """Lines that list how weights differ from those that a model needs, and suggest what to try; empty if they fit."""
    # Files of torch < 0.4.1 lack num_batches_tracked; torch then sets it itself.
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in found if name not in wanted]
    reshaped = [
        f"{name} ({_shape(found[name])}, not {_shape(tensor)})"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    wrong = {"Missing": missing, "Unexpected": unexpected, "Of another shape": reshaped}
    lines = [f"  {what}: {few(names)}" for what, names in wrong.items() if names]
    return lines and [*lines, *_hints(found, wanted)]


def model(weights: Weights) -> str | None:
    """Overrides that select the model with these weights; None if the architecture is not recognised."""
    if "block1.layer.0.conv1.weight" in weights:
        return _wrn(weights, "standard", "block1.layer.")
    if "init_conv.weight" in weights:
        depth, widen = 6 * _count(weights, "layer.0.block.") + 4, len(weights["layer.0.block.0.conv_0.weight"]) // 16
        return f"model=dm_wrn model.depth={depth} model.widen={widen}"
    if "layer1.0.conv1.weight" in weights and "layer4.0.conv1.weight" not in weights:
        return _wrn(weights, "jem", "layer1.")
    blocks = tuple(_count(weights, f"layer{i}.") for i in (1, 2, 3, 4))
    if (
        blocks == (2, 2, 2, 2)
        and "layer2.0.shortcut.0.weight" in weights
        and "layer2.0.shortcut.1.weight" not in weights
    ):
        return f"model=preactresnet18 model.head_norm={str('bn.weight' in weights).lower()}"
    if "layer4.0.conv1.weight" in weights:
        return RESNETS.get((blocks, len(weights["layer1.0.conv1.weight"]), "layer1.0.conv3.weight" in weights))
    if "stages.0.blocks.0.conv_dw.weight" in weights:
        size = CONVNEXTS.get(len(weights["stages.0.blocks.0.conv_dw.weight"]))
        return f"model=convnext_{size}" if size and "stem.stem.0.weight" in weights else None
    return None


def classes(weights: Weights) -> int | None:
    """Number of classes of the weights' head; None if no head is found."""
    return next((len(weights[f"{head}.weight"]) for head in HEADS if f"{head}.weight" in weights), None)


def _hints(found: Weights, wanted: Weights) -> list[str]:
    lines, theirs, ours = [], classes(found), classes(wanted)
    if (looks := model(found)) and looks != model(wanted):
        lines.append(f"The file looks like {looks}: try that.")
    if theirs and ours and theirs != ours:
        lines.append(f"The file's head has {theirs} classes, the model's {ours}: was it trained on other data?")
    return lines


def _wrn(weights: Weights, variant: str, group: str) -> str:
    depth, widen = 6 * _count(weights, group) + 4, len(weights[f"{group}0.conv1.weight"]) // 16
    norm = "batch" if "bn1.weight" in weights else "none"
    return f"model=wrn model.variant={variant} model.norm={norm} model.depth={depth} model.widen={widen}"


def _count(weights: Weights, group: str) -> int:
    """Number of blocks in a group, whose weights' names begin with `group` and a number."""
    return len({name.removeprefix(group).partition(".")[0] for name in weights if name.startswith(group)})


def few(names: list[str]) -> str:
    """The first three of some names, and how many there are."""
    return ", ".join(names[:3]) + (f", … ({len(names)} in all)" if len(names) > 3 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
