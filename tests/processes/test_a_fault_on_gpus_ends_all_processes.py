"""In a world on GPUs, a process that fails or leaves ends all others, as closing NCCL's connections alone would hang.

No GPU and no NCCL: two CPU processes, in which gloo stands in for NCCL (helpers/pretended_nccl.py).
"""

import pytest
from commandline import bare
from test_several_processes_give_the_results_of_one import SMALL, together


def arguments(*more):
    return [*bare("at", 6), *SMALL, "device=cpu", *more]


@pytest.mark.parametrize(("fault", "status", "failures"), [("memory", 1, 1), ("term", 143, 0)])
def test_all_processes_end(fault, status, failures, tmp_path):
    done = together(tmp_path, f"{fault} on GPUs", *arguments())
    assert done.returncode != 0 and f"exitcode  : {status} " in done.stderr, done.stderr
    assert len(list(tmp_path.glob("*/failure.md"))) == failures
    if failures:
        assert "7 bytes" in done.stderr, "what was wrong must be printed, too"


def test_processes_that_are_done_close_their_connections(tmp_path):
    done = together(tmp_path, "none on GPUs", *arguments())
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*/record.json"))) == 1
