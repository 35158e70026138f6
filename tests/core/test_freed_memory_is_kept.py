"""On a CPU freed memory is used again: giving it back and fetching it took up to half of a small net's time."""

import os
import platform
import subprocess
import sys

import pytest

PASSES = """
import resource, torch
from harness.core.device import keep_freed_memory

def passes(times):
    '''Page faults of some passes, whose tensors are as large as those of a small net.'''
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        tensors = [torch.zeros(5 << 18) for _ in range(6)]  # 5 MB each
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{call}
passes(20)  # until what is kept suffices
print(passes(20))
"""


GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""glibc's first thresholds, fixed. Otherwise it raises them, and what it keeps differs from process to process."""


def faults(call: str) -> int:
    command = [sys.executable, "-c", PASSES.format(call=call)]
    done = subprocess.run(command, env=os.environ | GIVING_BACK, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_process_fetches_no_memory_twice() -> None:
    """30 MB a pass are some 7,000 pages, which are fetched again in each pass unless they are kept."""
    assert faults("keep_freed_memory()") < faults("") / 20
