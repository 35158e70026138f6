"""The command edit writes a picture and the images, the same for the same seed, and refuses what it cannot do."""

import numpy as np
import pytest
from commandline import quick
from PIL import Image

import harness as api
from harness.runs.execute import train_stage
from harness.runs.progress import Watch


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose stages are trained, but which is not evaluated."""
    (run,) = api.plan(*quick("atjem", steps=4), f"runs={tmp_path_factory.mktemp('edit') / 'runs'}")
    run.freeze()
    for stage in run.stage_runs:
        train_stage(run, stage, Watch())
    mask = np.zeros((8, 8), np.uint8)
    mask[:2] = 255
    Image.fromarray(mask).save(run.root.parent / "mask.png")
    Image.fromarray(mask[:4]).save(run.root.parent / "small.png")
    return run


def edited(run, type_, *words):
    status, out, err = type_("edit", f"run={run.name}", "n=3", "steps=4", "out=edited", *words, folder=run.root.parent)
    assert status == 0, out + err
    assert "Written: edited/edit.png" in out
    with np.load(run.root.parent / "edited" / "edit.npz") as arrays:
        return arrays["arr_0"]


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (("by=inpaint", "hide=left"), 3),
        (("by=inpaint", "hide=mask.png", "classes=3"), 3),
        (("by=denoise", "noise=0.3"), 3),
        (("by=translate", "classes=3"), 3),
        (("by=interpolate",), 14),
        (("by=combine", "classes=3,8"), 3),
    ],
)
def test_each_edit_writes_images_that_repeat(run, type_, words, count):
    images = edited(run, type_, *words)
    assert images.shape == (count, 8, 8, 1) and images.dtype == np.uint8
    assert np.array_equal(edited(run, type_, *words), images)


def test_what_is_not_hidden_stays(run, type_):
    images = edited(run, type_, "by=inpaint", "hide=mask.png")
    given = run.data.tensors("test")[0][:3, 0]
    assert np.array_equal(images[:, 2:, :, 0], (given * 255).numpy().astype(np.uint8)[:, 2:])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("by=paint",), "by"),
        (("by=translate",), "classes=3,5"),
        (("by=interpolate", "n=1"), "two images"),
        (("by=inpaint", "hide=middle"), "left, right, top, bottom, centre"),
        (("by=inpaint", "hide=small.png"), "8x8 pixels"),
        (("by=denoise", "noise=0"), "noise above 0"),
    ],
)
def test_what_cannot_be_done_is_explained_and_nothing_is_written(run, type_, words, message):
    status, _, err = type_("edit", f"run={run.name}", "out=none", *words, folder=run.root.parent)
    assert status == 2 and message in err
    assert not (run.root.parent / "none").exists()
