"""Let gloo stand in for NCCL in a world of CPU processes, with the one property that matters here: closing waits.

Tensors of real numbers pass for tensors on a GPU. `ncclCommDestroy` returns when all ranks have called it; so does the
stand-in, by a barrier. Nothing else of NCCL is pretended: not its timeouts, and not that it does not notice a rank that
dies.
"""

from unittest.mock import patch

import torch.distributed as dist
from torch import Tensor

from harness.core import distributed


def pretend() -> None:
    """Join the world as on a machine with GPUs."""
    init, destroy = dist.init_process_group, dist.destroy_process_group

    def destroy_together(group: dist.ProcessGroup | None = None) -> None:
        if group is None:
            dist.barrier()
        destroy(group)

    def init_gloo(backend: str, **options: object) -> None:
        assert backend == "nccl"
        init("gloo", **options)  # pyright: ignore[reportArgumentType] - the options are those of init

    def group_of(x: Tensor) -> object:
        return None if x.is_floating_point() else distributed._cpu_group()

    distributed._group = group_of
    dist.destroy_process_group = destroy_together
    dist.get_backend = lambda group=None: dist.Backend("nccl")
    with patch.object(dist, "init_process_group", init_gloo), patch("torch.cuda.is_available", lambda: True):
        distributed.join()
