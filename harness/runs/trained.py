"""A run's trained model, loaded from the folders of its stages."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from harness.core.device import full_precision
from harness.core.energy import EnergyModel
from harness.core.errors import UserError, near
from harness.core.method import Method
from harness.evaluation.counterfactual import STEPS, Ball, Explanation, counterfactuals
from harness.evaluation.pictures import short
from harness.evaluation.samples import draw_of
from harness.runs.build import last_stage, load_state, load_trained, outliers, require_trained
from harness.runs.run import Run


class Trained(EnergyModel):
    """The trained model of a run, in evaluation mode; it can draw the method's samples and explain images.

    UserError if the run is not trained.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        if not run.method.has_net:
            raise UserError(f"{run.name} has no model: method={run.config.method['name']} gives no logits.")
        require_trained(run, run.stage_runs[-1:])
        model = load_trained(run, last_stage(run), device)
        super().__init__(model.net, model.mean.flatten().tolist(), model.std.flatten().tolist())
        self.run, self.chunk = run, int(run.config.protocol["samples"]["chunk"])
        self.to(device).eval()

    def sample(self, n: int, classes: Sequence[int] | None = None, seed: int = 0, steps: int | None = None) -> Tensor:
        """Draw n images in [0, 1], on the CPU, in the same way as evaluations do.

        Image i is of class classes[i % len(classes)] (default: all classes in turn), and depends only on the seed and
        i. steps: sampler steps; None: the number that the run's evaluation chose, or else the recipe's.
        """
        return torch.cat(list(self.samples(n, classes, seed, steps)))

    def samples(self, n: int, classes: Sequence[int] | None, seed: int, steps: int | None) -> Iterator[Tensor]:
        """Yield the samples in chunks of the protocol's size; UserError if n or the classes are invalid."""
        everything = range(len(self.run.data.classes))
        classes = everything if classes is None else classes
        if n < 1 or not classes or not set(classes) <= set(everything):
            raise UserError(
                f"n must be 1 or more, and classes must be from 0 to {everything[-1]}, not {n} and {list(classes)}."
            )
        method, source, device = self.sampler(steps), outliers(self.run), self.mean.device
        source.ready()
        remembered = load_state(last_stage(self.run), device)
        for first in range(0, n, self.chunk):
            indices = range(first, min(first + self.chunk, n))
            labels = torch.tensor([classes[i % len(classes)] for i in indices], device=device)
            with full_precision():
                images = draw_of(method, self, remembered, source, labels, seed, indices)
            yield images.cpu()

    def sampler(self, steps: int | None) -> Method:
        """The run's method with `steps` sampler steps; None: the number that its evaluation chose."""
        from harness.evaluation.selection import with_chosen_steps, with_steps

        return (
            with_chosen_steps(self.run.method, self.run.folder) if steps is None else with_steps(self.run.method, steps)
        )

    def explain(
        self, images: Tensor, target: int | Tensor, eps: float, steps: int = STEPS, norm: Ball = "L2"
    ) -> Explanation:
        """Counterfactuals: change images by at most eps, in this norm, towards class `target` (one for all, or N)."""
        device = self.mean.device
        wanted = torch.as_tensor(target, device=device).expand(len(images))
        with full_precision():
            return counterfactuals(self, images.to(device), wanted, eps, steps, norm)

    def label(self, word: str) -> int:
        """Index of a class, given by its name or index; UserError with similar names if there is none."""
        names = self.run.data.classes
        for called in ([name.lower() for name in names], [short(name).lower() for name in names]):
            if word.lower() in called:
                return called.index(word.lower())
        if word.isdecimal() and int(word) < len(names):
            return int(word)
        close = near(word, names).partition("There are")[0]
        raise UserError(f"There is no class '{word}'. {close}They are numbered 0 … {len(names) - 1}.")
