"""Peak memory of some work, in tensors."""

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def peak(work: Callable[[], object], device: torch.device) -> int:
    """Return the peak bytes of the work, beyond what was allocated before it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # On a CPU, add up the allocations that the profiler recorded.
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recording:
        work()
    assert recording.profiler is not None and recording.profiler.kineto_results is not None
    allocated = highest = 0
    events: list[Any] = [event for event in recording.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        highest = max(highest, allocated)
    return highest
