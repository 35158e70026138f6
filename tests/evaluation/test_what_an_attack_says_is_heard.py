"""What a metric says of its work reaches whoever listens, from this process and from others."""

from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.evaluation import workers
from harness.evaluation.evaluator import Piece

ATTACKS = ("apgd-ce: 4 of 4 stand", "apgd-t: 3 of 4 stand")


@pytest.fixture
def evaluation(tmp_path):
    """An evaluation of two pieces, whose attacks are told."""
    found = SimpleNamespace(
        folder=tmp_path,
        tell=lambda text: None,
        summary=lambda name: "75.0 % robust so far",
        finish=lambda phase: None,
        subject=SimpleNamespace(device=SimpleNamespace(type="cpu")),
    )

    def attack(path: Path) -> None:
        for text in ATTACKS:
            found.tell(text)
        path.touch()

    paths = [tmp_path / name for name in ("0", "1")]
    pieces = [Piece("robustness", path, lambda path=path: attack(path)) for path in paths]
    found.pieces = lambda phase: pieces if phase == "metrics" else []
    return found


def test_each_attack_is_heard_in_this_process(evaluation):
    heard: list[tuple] = []
    workers.run_pieces(evaluation, 1, lambda rank: evaluation, lambda *said: heard.append(said))
    so_far = ("robustness", 0, 2, "75.0 % robust so far")
    assert heard[:3] == [so_far, *(("robustness", 0, 2, text) for text in ATTACKS)]
    assert heard[-1] == ("robustness", 2, 2, "75.0 % robust so far")


def test_the_last_attack_is_heard_from_processes_of_an_evaluation(evaluation, monkeypatch):
    """The pieces are done here, as the processes would do them; only their start is left out."""
    heard: list[tuple] = []

    class Context:
        processes = ()

        def __init__(self, work, arguments, processes, **how) -> None:
            self.left = [lambda rank=rank: work(rank, *arguments) for rank in range(processes)]

        def join(self, timeout: float) -> bool:
            return not self.left or self.left.pop(0)() or False

    monkeypatch.setattr(workers, "start_processes", Context)
    monkeypatch.setattr(workers, "detach", lambda: None)
    workers.run_pieces(evaluation, 2, lambda rank: evaluation, lambda *said: heard.append(said))
    assert heard == [("robustness", done, 2, ATTACKS[-1]) for done in (1, 2)]


def test_what_is_said_goes_between_processes():
    said = get_context("spawn").SimpleQueue()
    workers._say(said, "robustness", "square: 2 of 4 stand")
    assert said.get() == ("robustness", "square: 2 of 4 stand")
