"""Long chains are the run's own samples, drawn by the same method with more steps."""

import json
from dataclasses import dataclass, replace

import pytest
import torch

from harness.core.energy import EnergyModel
from harness.core.errors import UserError
from harness.core.method import Method
from harness.core.walk import Walk
from harness.datasets.outliers.noise import Noise
from harness.evaluation.evaluator import Evaluation
from harness.evaluation.metric import Subject
from harness.evaluation.metrics.long_chains import LongChains
from harness.evaluation.reference import frechet, reference
from harness.evaluation.samples import Samples, Sampling, draw, eight_bits
from harness.evaluation.selection import with_steps
from harness.methods.jem import JEM

CPU = torch.device("cpu")
COUNT, FACTORS = 70, (1, 3, 10)
ENTRY = {"factors": FACTORS, "count": COUNT, "chunk": 35, "features": "digits", "against": "test"}


@dataclass(frozen=True)
class Ascent(Method):
    """A method with the default sampler."""

    sampler: Walk


WALKS = Ascent(Walk(steps=2, step=0.3))
CHAINS = JEM(energy=None, sampler=Walk(steps=2, step=0.3, direction="raw", noise=0.05))
"""Its samples continue chains of a buffer, with noise."""
BUFFER = {"buffer": torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(8))}


@pytest.fixture
def evaluated(digits, digits_net, tmp_path):
    """A function that evaluates a method under an entry of long chains: the evaluation and its result."""

    def evaluate(method=WALKS, state=BUFFER, folder="run", net=None, **changes):
        samples = {"count": COUNT, "chunk": 40, "seed": 3}
        protocol = {"metrics": {"long_chains": {**ENTRY, **changes}}, "samples": samples}
        model = (net or digits_net()).eval().requires_grad_(False)
        run = tmp_path / folder
        subject = Subject(model, digits, CPU, Samples(run / "samples", Sampling(**samples)), tmp_path / "cache")
        evaluation = Evaluation(subject, method, state, Noise(digits), protocol, run)
        for phase in ("selection", "samples", "metrics"):
            for piece in evaluation.pieces(phase):
                piece.do()
            evaluation.finish(phase)
        return evaluation, evaluation.merge()[0]

    return evaluate


def values(result):
    return {key: score.value for key, score in result.scores.items()}


@pytest.mark.parametrize("method", [WALKS, CHAINS])
def test_the_figures_are_those_of_samples_drawn_with_more_steps(evaluated, method):
    evaluation, result = evaluated(method, chunk=COUNT)
    subject = evaluation.subject
    extractor, data = subject.features("digits"), subject.data
    against = reference(extractor, data, "train", subject.cache).statistics
    with torch.no_grad():
        real = subject.model.energy(data.tensors("test")[0]).double().numpy()
    for factor in FACTORS:
        longer = with_steps(method, 2 * factor)
        drawn = draw(longer, subject.model, BUFFER, Noise(data), 10, 3, range(COUNT), CPU)
        stored = eight_bits(drawn)
        if factor == 1:
            reported = torch.cat([*subject.samples])  # of other chunks, so a level may be rounded otherwise
            assert (stored.int() - reported.int()).abs().max() <= 1, "factor 1 must be the reported samples"
        with torch.no_grad():
            energy = subject.model.energy(stored / 255).double().numpy()
        fd = frechet(extractor(stored)["features"], against)
        assert values(result)[f"long_chains/fd_digits/x{factor}"] == pytest.approx(fd, rel=1e-4)
        off = abs(energy.mean() - real.mean()) / real.std(ddof=1)
        assert values(result)[f"long_chains/energy/x{factor}"] == pytest.approx(off, abs=1e-3)  # their sd is small


def test_the_chosen_number_of_steps_is_multiplied(evaluated, tmp_path):
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen" / "selection.json").write_text('{"steps": 5, "distances": {"5": 1.0}}')
    _, chosen = evaluated(folder="chosen", factors=[2])
    _, recipe = evaluated(replace(WALKS, sampler=replace(WALKS.sampler, steps=5)), folder="recipe", factors=[2])
    assert values(chosen) == values(recipe)


def test_chunks_change_no_score(evaluated):
    whole, parts = (values(evaluated(CHAINS, folder=f"{chunk}", chunk=chunk)[1]) for chunk in (70, 9))
    assert parts == pytest.approx(whole, rel=1e-2)


def test_a_factor_is_divided_into_pieces_so_that_a_kill_costs_one(evaluated, tmp_path):
    evaluation, before = evaluated(chunk=20)
    marks = [piece.path for piece in evaluation.pieces("metrics")]
    assert len(marks) == 3 * 4
    marks[-1].unlink()
    times = [mark.stat().st_mtime_ns for mark in marks[:-1]]
    for piece in evaluation.pieces("metrics"):
        if not piece.path.exists():
            piece.do()
    assert times == [mark.stat().st_mtime_ns for mark in marks[:-1]]
    assert values(evaluation.merge()[0]) == values(before)


class Steep(torch.nn.Module):
    """A net whose logits are the brightness cubed: raw steps up them run away."""

    def forward(self, x):
        brightness = x.flatten(1).sum(1, keepdim=True)
        return brightness**3 * torch.linspace(1, 2, 10)


def test_chains_that_diverge_when_long_are_a_dagger_and_not_the_end_of_the_run(evaluated, tmp_path):
    method = Ascent(Walk(steps=1, step=0.01, direction="raw", clamp=False))
    evaluation, result = evaluated(method, net=EnergyModel(Steep(), [0.0], [1.0]), factors=[1, 20])
    assert sorted(values(result)) == ["long_chains/energy/x1", "long_chains/fd_digits/x1"]
    assert set(values(result)) < set(evaluation.metrics["long_chains"].keys(evaluation.subject.data))
    for score in result.scores.values():
        assert score.warnings == ["the chains of 20 times the steps diverged"]
    assert (tmp_path / "run" / "long_chains.png").exists()


def test_the_distance_of_the_longest_chains_stands_in_the_main_table_and_all_are_drawn(evaluated, tmp_path):
    _, result = evaluated()
    assert [key for key, score in result.scores.items() if not score.table] == ["long_chains/fd_digits/x10"]
    title = result.scores["long_chains/fd_digits/x10"].title
    assert title == "FD (digits features) of 70, 10 × steps", "a distance of so few is no match for the run's own"
    assert (tmp_path / "run" / "long_chains.png").exists()
    lines = json.loads((tmp_path / "run" / "long_chains.json").read_text())
    assert [line["factor"] for line in lines] == [1, 3, 10]
    assert len({line["energy"] for line in lines}) == 3 and len({line["energy_real"] for line in lines}) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"factors": (10, 1)}, "rise"), ({"factors": (0, 1)}, "between 1"), ({"count": 5}, "count 20 or more")],
)
def test_an_entry_that_cannot_be_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        LongChains(**{**ENTRY, **changes})


def test_too_few_samples_for_a_distance_are_refused_before_training(digits):
    with pytest.raises(UserError, match="count=30"):
        LongChains(**{**ENTRY, "count": 30}).ready(digits, Sampling(count=80, chunk=40, seed=0), {})
