"""A method gives `condition` exactly if its samples depend on the class that they are drawn for."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from commandline import STAGES, quick
from PIL import Image

import harness
from harness.core.errors import UserError
from harness.core.random import generator
from harness.evaluation.evaluator import metrics
from harness.evaluation.samples import draw_of
from harness.evaluation.selection import with_steps
from harness.runs.build import outliers, untrained
from harness.runs.run import Run, load

CPU = torch.device("cpu")
CLASSWISE = "+protocol.metrics.classwise={features: digits}"


@pytest.mark.parametrize("method", STAGES)
def test_samples_depend_on_their_class_exactly_if_the_method_says_so(method):
    (run,) = harness.plan(*quick(method, 1))
    model, state = untrained(run).eval(), run.stage_runs[-1].stage.state(run.data, generator(CPU, "state"))

    def drawn(label):
        labels = torch.full((4,), label)
        return draw_of(with_steps(run.method, 2), model, state, outliers(run), labels, 0, range(4))

    assert torch.equal(drawn(3), drawn(3))
    assert ("condition" in run.gives) == (not torch.equal(drawn(3), drawn(5)))


def planned(source, *more):
    (run,) = harness.plan("method=samples", f"method.source={source}", "protocol=quick", CLASSWISE, *more)
    return run


def test_given_samples_have_a_class_if_they_come_with_labels(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8)
    np.savez(tmp_path / "plain.npz", arr_0=images)
    np.savez(tmp_path / "labelled.npz", arr_0=images, arr_1=np.arange(20) % 10)
    for label in range(10):
        (tmp_path / "folders" / str(label)).mkdir(parents=True)
        Image.fromarray(images[label, ..., 0]).save(tmp_path / "folders" / str(label) / "a.png")
    (tmp_path / "folder").mkdir()
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "folder" / "a.png")
    for name, labelled in {"plain.npz": False, "labelled.npz": True, "folders": True, "folder": False}.items():
        run = planned(tmp_path / name, f"runs={tmp_path / 'runs'}")
        assert ("condition" in run.gives) == labelled
        assert ("classwise" in metrics(run.config.protocol, run.gives)) == labelled
        # It is noted for whoever lacks the file, and no part of the run's name, as the digest covers it.
        run.freeze()
        assert load(run.folder).gives == run.gives
        assert Run(replace(run.config, labelled=not labelled)).fingerprint == run.fingerprint


def test_nobody_says_by_hand_that_samples_have_labels():
    with pytest.raises(UserError, match="notes this itself"):
        harness.plan("+labelled=true")
