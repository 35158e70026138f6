"""Guesses, from names and shapes of weights, which model they belong to."""

from collections.abc import Mapping

from torch import Tensor

Weights = Mapping[str, Tensor]

RESNETS = {
    ((2, 2, 2, 2), 64, False): "model=timm model.name=resnet18",
    ((3, 4, 6, 3), 64, False): "model=timm model.name=resnet34",
    ((3, 4, 6, 3), 64, True): "model=resnet50",
    ((3, 4, 6, 3), 128, True): "model=timm model.name=wide_resnet50_2",
    ((3, 4, 6, 3), 256, True): "model=wrn50_4",
}
"""By the blocks of the four groups, the first inner width, and whether blocks are bottlenecks."""
CONVNEXTS = {96: "small", 128: "base", 192: "large"}
"""By the body's first width."""
HEADS = ("fc", "class_output", "head.fc", "head", "classifier")


def hints(found: Weights, wanted: Weights) -> list[str]:
    """What to try where the weights of a file are not those that a model wants: another model, other classes."""
    lines, theirs, ours = [], classes(found), classes(wanted)
    if (looks := model(found)) and looks != model(wanted):
        lines.append(f"The file looks like {looks}: try that.")
    if theirs and ours and theirs != ours:
        lines.append(f"The file's head has {theirs} classes, the model's {ours}: is it trained on other data?")
    return lines


def model(weights: Weights) -> str | None:
    """The overrides that choose the model with such weights; None if it is none that is known here."""
    if "block1.layer.0.conv1.weight" in weights:
        return _wrn(weights, "standard", "block1.layer.")
    if "layer1.0.conv1.weight" in weights and "layer4.0.conv1.weight" not in weights:
        return _wrn(weights, "jem", "layer1.")
    if "layer4.0.conv1.weight" in weights:
        blocks = tuple(_count(weights, f"layer{i}.") for i in (1, 2, 3, 4))
        return RESNETS.get((blocks, len(weights["layer1.0.conv1.weight"]), "layer1.0.conv3.weight" in weights))
    if "stages.0.blocks.0.conv_dw.weight" in weights:
        size = CONVNEXTS.get(len(weights["stages.0.blocks.0.conv_dw.weight"]))
        return f"model=convnext_{size}" if size and "stem.stem.0.weight" in weights else None
    return None


def classes(weights: Weights) -> int | None:
    """The number of classes of the weights' head, None if no head is found."""
    return next((len(weights[f"{head}.weight"]) for head in HEADS if f"{head}.weight" in weights), None)


def _wrn(weights: Weights, variant: str, group: str) -> str:
    depth, widen = 6 * _count(weights, group) + 4, len(weights[f"{group}0.conv1.weight"]) // 16
    norm = "batch" if "bn1.weight" in weights else "none"
    return f"model=wrn model.variant={variant} model.norm={norm} model.depth={depth} model.widen={widen}"


def _count(weights: Weights, group: str) -> int:
    """How many blocks a group has, its names beginning with `group` and a number."""
    return len({name.removeprefix(group).partition(".")[0] for name in weights if name.startswith(group)})
