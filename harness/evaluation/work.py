"""Count what a net does: its passes, and the floating-point operations of all that torch computes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class Work(TorchDispatchMode):
    """passes: of images through the net, each counted once with its gradient. flop: of convolutions and products.

    The formulas are torch's, where a multiplication with an addition is two operations. (Its own FlopCounterMode also
    follows modules, which fails where the gradient of an image is taken.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.passes = self.flop = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False: nothing is compiled here, and torch's compiler takes seconds to import."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401 - an operation of torch
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever it computes
        """Compute, and add what it takes."""
        named = kwargs or {}
        out = func(*args, **named)
        formula: Callable[..., int] | None = flop_registry.get(func._overloadpacket)
        if formula:
            self.flop += formula(*args, **named, out_val=out)
        # torch counts the gradient in the weights of a grouped convolution as if it were not grouped.
        if formula and func._overloadpacket is torch.ops.aten.convolution_backward and args[9] > 1 and args[10][1]:
            ungrouped = formula(*args[:10], [False, True, False], out_val=out)
            self.flop -= ungrouped - ungrouped // args[9]
        return out


@contextmanager
def counted(model: nn.Module) -> Iterator[Work]:
    """Count the work in the body, and the passes of `model` among it."""
    with Work() as work:

        def note(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
            work.passes += len(inputs[0])

        hook = model.register_forward_hook(note)
        try:
            yield work
        finally:
            hook.remove()
