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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_report_does_not_wait_for_a_thread_that_memory_ended(monkeypatch):
    def fail(self, item):
        raise MemoryError

    monkeypatch.setattr("concurrent.futures.process._ExecutorManagerThread.process_result_item", fail)
    with pytest.raises(MemoryError, match="copies"), beside(lambda number: number, 1):
        pass
    for process in active_children():
        process.join(timeout=60)
    assert active_children() == []


def test_results_are_in_order_however_many_there_are():
    for count in (0, 1, 16, 35):
        with beside(lambda number: number * number, count) as results:
            pass
        assert results == [number * number for number in range(count)]
