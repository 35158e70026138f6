"""The processes that help a report end with it, even if it is killed, or fails before they get work."""

import subprocess
import sys
import time
from multiprocessing import active_children, get_context
from threading import Thread

import pytest

from harness.reports.workers import beside

CODE = """\
import time
from harness.reports.workers import beside
with beside(lambda number: time.sleep(1), 1):
    print("begun", flush=True)
    time.sleep(600)
"""


def test_they_end_when_it_is_killed():
    process = subprocess.Popen([sys.executable, "-c", CODE], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"begun\n"
    process.kill()
    process.communicate(timeout=60)  # waits for all that hold the pipe


def test_only_they_are_ended_where_the_report_fails():
    other = get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    try:
        with pytest.raises(ValueError, match="failed"), beside(lambda number: number, 1):
            raise ValueError("failed")
        assert other.is_alive()
        other.join(timeout=2)
        assert other.is_alive(), "a process of the caller was ended"
    finally:
        other.kill()
        other.join()


def test_they_end_where_no_thread_can_start_that_gives_them_work(monkeypatch):
    def fail(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", fail)
    with pytest.raises(RuntimeError), beside(lambda number: number, 1):
        pass
    for process in active_children():
        process.join(timeout=60)
    assert active_children() == []
