"""Write counterfactuals: how a trained run or a checkpoint changes images to see another class in them."""

from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from harness.cli.request import Request
from harness.cli.sample import show
from harness.core.dataset import Dataset, gather
from harness.core.errors import UserError
from harness.core.files import write_json
from harness.core.settings import settings
from harness.datasets.pictures import images_below, open_rgb
from harness.evaluation.counterfactual import Ball, Explanation
from harness.evaluation.pictures import Cell, difference, short, table
from harness.runs.reopen import UNSAID
from harness.runs.trained import Trained

EXAMPLE = "run=atjem-digits-s0-c1a31312 images=test target=3"
PARTS = UNSAID


@settings
class Arguments:
    """Walk the first n images of a folder, or of the test split, towards a target class in balls of radii eps.

    norm: of the balls; in L1.5, and still more in L1, fewer pixels change.
    """

    run: str
    images: str
    target: str
    n: int = 8
    eps: tuple[float, ...] = (1.0, 2.0, 4.0)
    steps: int = 50
    norm: Ball = "L2"
    out: str | None = None

    def __post_init__(self) -> None:
        if self.n < 1 or self.steps < 1 or not self.eps or min(self.eps) <= 0:
            raise ValueError("n and steps must be 1 or more, and every eps above 0")


def run(request: Request) -> None:
    """Write the counterfactuals."""
    show(request, write)


def write(model: Trained, asked: Arguments, folder: Path) -> list[str]:
    """Write explain.png and explain.json; return the lines to print."""
    target, names = model.label(asked.target), [short(name) for name in model.run.data.classes]
    images, image_names, lines = pictures(asked.images, asked.n, model.run.data)
    with torch.no_grad():
        confidence, predicted = (values.tolist() for values in model(images.to(model.mean.device)).softmax(1).max(1))
    explanations = {eps: model.explain(images, target, eps, asked.steps, asked.norm) for eps in asked.eps}
    # Make one row of the picture and one entry of the JSON file for each image.
    rows: list[list[Cell]] = []
    entries: list[dict[str, object]] = []
    for i, image in enumerate(images):
        cells = [
            Cell(explanation.images[i].cpu(), f"ε {eps:g}: {100 * explanation.after[i]:.0f} %")
            for eps, explanation in explanations.items()
        ]
        change = Cell(difference(image, cells[-1].image), f"change to {names[target]}")
        rows.append([Cell(image, f"{names[predicted[i]]}: {100 * confidence[i]:.0f} %"), *cells, change])
        walks = [_entry(eps, explanation, i, names) for eps, explanation in explanations.items()]
        entries.append(
            {"image": image_names[i], "predicted": names[predicted[i]], "confidence": confidence[i], "walks": walks}
        )
    picture, content = folder / "explain.png", folder / "explain.json"
    table(picture, rows)
    made = {"run": model.run.name, "target": names[target], "steps": asked.steps, "norm": asked.norm}
    write_json(content, made | {"images": entries})
    return [*lines, f"Written: {picture}", f"Written: {content}"]


def pictures(source: str, n: int, data: Dataset) -> tuple[Tensor, list[str], list[str]]:
    """Return the first n images of the test split or of a folder, their names, and the lines to print."""
    if source == "test":
        data.ready()
        indices = range(min(n, data.length("test")))
        images, _ = gather(data.view("test", "plain"), [(index, 0) for index in indices])
        return images, [f"test {index}" for index in indices], []
    folder = Path(source)
    names = sorted(images_below(folder))[:n] if folder.is_dir() else []
    paths = [folder / name for name in names]
    if not paths:
        raise UserError(
            f"images={source}: there is no image file in {folder.absolute()}. Name another folder, or set images=test."
        )
    prepared, resized = zip(*(_prepare(path, data) for path in paths), strict=True)
    lines = (
        [f"{sum(resized)} of {len(paths)} images were shrunk to the size of the model's images."]
        if any(resized)
        else []
    )
    return torch.stack(prepared), [str(path) for path in paths], lines


def _prepare(path: Path, data: Dataset) -> tuple[Tensor, bool]:
    """Return a file as an image of the data's size, and whether it was shrunk; UserError if it is too small."""
    picture, (channels, height, width) = open_rgb(path), data.shape
    if picture.size == (width, height):
        return to_tensor(picture.convert("L" if channels == 1 else "RGB")), False
    if picture.width < width or picture.height < height:
        raise UserError(
            f"{path} has {picture.width}x{picture.height} pixels, fewer than the model's images, {width}x{height}: "
            "replace it with a larger image, or remove it."
        )
    return data.prepare(picture, "plain", 0), True


def _entry(eps: float, one: Explanation, i: int, names: list[str]) -> dict[str, object]:
    """Return the entry of one walk: before and after are confidences in the target, the distance is in the norm."""
    figures = {"before": one.before, "after": one.after, "distance": one.distance}
    numbers = {name: float(values[i]) for name, values in figures.items()}
    return {"eps": eps, "predicted": names[int(one.predicted[i])], **numbers}
