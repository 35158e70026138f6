"""The number of sampler steps is chosen on statistics that are not reported, and the record names them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import harness
from harness.core.errors import UserError
from harness.core.registry import names
from harness.datasets.digits import Digits
from harness.evaluation.metric import Subject
from harness.evaluation.reference import frechet, reference
from harness.evaluation.samples import Samples, Sampling, eight_bits
from harness.evaluation.selection import Steps, with_chosen_steps
from harness.runs.compose import compose

CPU = torch.device("cpu")
HOW = Sampling(count=200, chunk=80, seed=0)
STEPS = Steps(count=100, against="validation", features="digits", factors=(0.5, 1, 2))


def test_candidates_are_multiples_and_differences_of_the_recipes_number():
    assert STEPS.candidates(7) == [4, 7, 14]
    assert Steps(count=9, against="train", features="digits", offsets=(-3, 0, 3)).candidates(2) == [1, 2, 5]
    assert replace(STEPS, offsets=(1,)).candidates(2) == [1, 2, 3, 4]
    assert STEPS.candidates(0) == [], "without sampler steps there is nothing to choose"
    assert replace(STEPS, factors=(1,)).candidates(5) == []


def test_the_choice_has_seeds_and_starts_of_its_own_unless_the_authors_protocol_asks_for_the_reported(tmp_path):
    reported = set(range(HOW.count))
    for fresh in (True, False):
        of = replace(STEPS, fresh=fresh).samples(tmp_path, HOW, 7)
        chosen = [i for chunk in range(len(of)) for i in of.indices(chunk)]
        assert len(chosen) == len(set(chosen)) == 100
        assert (not reported & set(chosen)) if fresh else (set(chosen) < reported)


@pytest.fixture
def candidates(digits, tmp_path):
    """Samples of three candidates: the second is closest to the validation split, the third to the training split."""
    noise = torch.randn(100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images = {
        4: digits.tensors("test")[0][:100] + 0.3 * noise,
        7: digits.tensors("validation")[0][:100] + 0.02 * noise,
        14: digits.tensors("train")[0][:100] + 0.02 * noise,
    }
    for steps, some in images.items():
        of = STEPS.samples(tmp_path, HOW, steps)
        for chunk in range(len(of)):
            first = of.indices(chunk)[0] - HOW.count
            of.write(chunk, some.clamp(0, 1)[first : first + len(of.indices(chunk))])
    return {steps: eight_bits(some.clamp(0, 1)) for steps, some in images.items()}


def test_the_nearest_to_the_validation_split_is_chosen_and_recorded(digits, candidates, tmp_path):
    subject = Subject(None, digits, CPU, None, tmp_path / "cache")
    STEPS.choose(subject, tmp_path, HOW, 7, {})
    found = json.loads((tmp_path / "selection.json").read_text())
    features = subject.features("digits")
    against = reference(features, digits, "validation", tmp_path / "cache").statistics
    by_hand = {str(steps): frechet(features(images)["features"], against) for steps, images in candidates.items()}
    assert found["distances"] == pytest.approx(by_hand)
    assert found["steps"] == 7 == int(min(by_hand, key=by_hand.get))
    assert not (tmp_path / "selection").exists(), "the candidates' samples must be removed"
    (what,) = STEPS.selection(tmp_path).items()
    assert what[0] == "sampler: number of steps"
    assert what[1].split == ["validation"]
    assert what[1].by == "FD (digits features) of 100 samples that are not reported: 7 of 4, 7, 14"


def test_what_was_chosen_once_is_kept(digits, tmp_path):
    (tmp_path / "selection.json").write_text(json.dumps({"steps": 14, "distances": {"14": 1.0}}))
    STEPS.choose(None, tmp_path, HOW, 7, {})
    (run,) = harness.plan("method=at")
    assert with_chosen_steps(run.method, tmp_path).sampler == replace(run.method.sampler, steps=14)
    assert with_chosen_steps(run.method, tmp_path / "elsewhere") == run.method


def test_a_choice_on_the_reported_reference_is_recorded_as_such(tmp_path):
    (tmp_path / "selection.json").write_text(json.dumps({"steps": 14, "distances": {"14": 1.0, "7": 2.0}}))
    how = Steps(count=100, against="test", features="digits", offsets=(0, 1), fresh=False)
    selection = how.selection(tmp_path)["sampler: number of steps"]
    assert selection.split == ["test"]
    assert "that are also reported" in selection.by


def test_no_protocol_but_the_authors_chooses_on_what_it_reports():
    for name in names("protocol"):
        data = "digits" if name == "explanation" else "cifar10"  # which has no customary radius for that
        (config,) = compose([f"data={data}", f"protocol={name}"])
        chosen = config.protocol.get("selection")
        if chosen and not name.startswith("dat-paper"):
            assert chosen["against"] == "validation", name
            assert chosen.get("fresh", True), name


@pytest.mark.parametrize(
    ("steps", "data", "reason"),
    [
        (STEPS, Digits(validation=60), "images of the validation split=60"),
        (replace(STEPS, count=64), Digits(), "protocol.selection.count=64"),
    ],
)
def test_too_few_images_to_choose_by_are_refused(steps, data, reason):
    with pytest.raises(UserError, match=reason):
        steps.ready(data, {})


def test_a_chunk_of_samples_is_stored_in_eight_bits_under_its_first_number(tmp_path):
    of = Samples(tmp_path, Sampling(count=7, chunk=3, seed=0), offset=10)
    images = torch.linspace(0, 1, 3 * 4).view(3, 1, 2, 2)
    of.write(0, images)
    assert of.path(0).name == "0000010.npy"
    assert [list(of.indices(chunk)) for chunk in range(len(of))] == [[10, 11, 12], [13, 14, 15], [16]]
    assert torch.equal(of[0], (images * 255).floor().to(torch.uint8))
    assert np.load(of.path(0)).dtype == np.uint8
    with pytest.raises(IndexError):
        of[3]
