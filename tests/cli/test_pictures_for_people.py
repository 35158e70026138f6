"""The commands sample and explain write what was requested, and the same seeds give the same pixels."""

import json

import numpy as np
import pytest
import torch
from commandline import harness, quick
from PIL import Image

import harness as api
from harness.cli import explain, sample
from harness.core.errors import Diverged, UserError
from harness.evaluation.samples import eight_bits
from harness.runs.execute import train_stage
from harness.runs.progress import Watch


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose stages are trained, but which is not evaluated."""
    (run,) = api.plan(*quick("atjem", steps=4), f"runs={tmp_path_factory.mktemp('people') / 'runs'}")
    run.freeze()
    for stage in run.stage_runs:
        train_stage(run, stage, Watch())
    return run


@pytest.fixture(scope="module")
def model(run):
    return api.load(run.folder)


@pytest.fixture(scope="module")
def sampled(run):
    status, out, err = harness("sample", f"run={run.name}", "n=14", "classes=3,5", folder=run.root.parent)
    assert status == 0, out + err
    folder = run.root.parent / "reports" / "pictures" / run.name
    assert out == "".join(
        f"Written: reports/pictures/{run.name}/{path}\n" for path in ("samples.png", "trajectory.png", "samples.npz")
    )
    return folder


@pytest.fixture(scope="module")
def photographs(model, tmp_path_factory):
    """Five image files: of the model's size, larger, in colour; order by name is not order by date."""
    folder = tmp_path_factory.mktemp("photographs")
    images = eight_bits(model.run.data.tensors("train")[0][:5]).numpy()[:, 0]
    for name, image, size in zip("ecadb", images, (8, 8, 16, 8, 32), strict=True):
        picture = Image.fromarray(image).resize((size, size), Image.Resampling.NEAREST)
        picture.convert("RGB" if name == "c" else "L").save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_the_npz_has_the_layout_of_guided_diffusions_evaluator(sampled, model):
    with np.load(sampled / "samples.npz") as file:
        images, labels = file["arr_0"], file["arr_1"]
    assert (images.shape, images.dtype) == ((14, 8, 8, 3), np.uint8)
    assert (labels.tolist(), labels.dtype) == ([3, 5] * 7, np.int64)
    expected = eight_bits(model.sample(14, classes=[3, 5]))
    for channel in range(3):
        assert np.array_equal(images[..., channel], expected[:, 0].numpy()), "grey must be repeated in three channels"


def test_the_grid_has_a_column_for_each_class(sampled):
    grid = np.asarray(Image.open(sampled / "samples.png"))
    assert grid.shape == (7 * 50 + 2, 2 * 50 + 2, 3), "48 pixels per image and a border of two"
    with np.load(sampled / "samples.npz") as file:
        images = file["arr_0"]
    for i, image in enumerate(images):
        row, column = divmod(i, 2)
        shown = grid[2 + 50 * row :, 2 + 50 * column :][:48:6, :48:6]
        assert np.array_equal(shown, image)


def test_the_same_seed_gives_the_same_files(sampled, run, type_, tmp_path):
    arguments = (f"run={run.folder}", "n=14", "classes=[3,5]", f"out={tmp_path / 'again'}")
    status, out, err = type_("sample", *arguments)
    assert status == 0, out + err
    for file in ("samples.png", "trajectory.png"):
        assert (tmp_path / "again" / file).read_bytes() == (sampled / file).read_bytes()
    assert not (tmp_path / "reports").exists()


def test_the_strip_ends_in_the_samples_and_begins_at_their_starts(model):
    walked = sample.trajectory(model, 4, [3, 5], 0, None)
    whole = model.run.method.sampler.steps
    assert list(walked) == [0, 12, 24, 36, 48, whole] and whole == 60
    assert torch.equal(walked[whole], model.sample(4, classes=[3, 5]))
    step = model.run.method.sampler.step
    for fewer, more in zip(list(walked)[:-1], list(walked)[1:], strict=True):
        away = (walked[more] - walked[fewer]).flatten(1).norm(dim=1)
        assert (away > 0).all() and (away <= step * (more - fewer) * 1.001).all(), "no further than its steps"


def test_a_walk_of_two_steps_has_three_moments(model):
    assert list(sample.trajectory(model, 2, [0], 0, 2)) == [0, 1, 2]
    assert list(sample.trajectory(model, 2, [0], 0, 0)) == [0]


def test_a_checkpoint_is_sampled_too(run, type_, tmp_path):
    weights = run.stage_runs[-1].folder / "weights.safetensors"
    small = ("data.test=20", "data.validation=70", "model.width=4", "outliers.count=200")
    status, out, err = type_("sample", f"run={weights}", "n=3", "steps=2", *small)
    assert status == 0, out + err
    (folder,) = (tmp_path / "reports" / "pictures").iterdir()
    assert folder.name.startswith("pretrained-digits-s0-")
    with np.load(folder / "samples.npz") as file:
        assert np.array_equal(file["arr_0"][..., 0], eight_bits(api.load(weights, *small).sample(3, steps=2))[:, 0])
    assert [path.name for path in tmp_path.iterdir()] == ["reports"], "nothing else may be written"


def test_images_of_the_test_split_are_explained(run, model, type_, tmp_path):
    arguments = (f"run={run.folder}", "images=test", "target=3", "n=2", "eps=0.5,2", "steps=5", f"out={tmp_path}")
    status, out, err = type_("explain", *arguments)
    assert status == 0, out + err
    found = json.loads((tmp_path / "explain.json").read_text())
    assert (found["run"], found["target"], found["steps"], found["norm"]) == (run.name, "3", 5, "L2")
    images, _ = run.data.tensors("test")
    sure, predicted = model(images[:2]).detach().softmax(1).max(1)
    walked = {eps: model.explain(images[:2], 3, eps, 5) for eps in (0.5, 2.0)}
    for i, entry in enumerate(found["images"]):
        assert entry["image"] == f"test {i}" and entry["predicted"] == str(int(predicted[i]))
        assert entry["confidence"] == pytest.approx(float(sure[i]), rel=1e-4)
        for (eps, one), of in zip(walked.items(), entry["walks"], strict=True):
            assert of.pop("eps") == eps and of.pop("predicted") == str(int(one.predicted[i]))
            expected = {"before": one.before[i], "after": one.after[i], "distance": one.distance[i]}
            assert of == {name: pytest.approx(float(value), rel=1e-3) for name, value in expected.items()}
    width, height = Image.open(tmp_path / "explain.png").size
    assert (width, height) == (4 * 120, pytest.approx(2 * 0.8 * 150, rel=0.5)), (
        "two images at two radii, with their changes"
    )


def test_images_are_explained_in_a_ball_of_another_norm(run, model, type_, tmp_path):
    words = ("images=test", "target=3", "n=2", "eps=1.5", "steps=5", "norm=L1.5", f"out={tmp_path}")
    status, out, err = type_("explain", f"run={run.folder}", *words)
    assert status == 0, out + err
    found = json.loads((tmp_path / "explain.json").read_text())
    images = run.data.tensors("test")[0][:2]
    walked = model.explain(images, 3, 1.5, 5, norm="L1.5").images
    distances = (walked - images).abs().pow(1.5).flatten(1).sum(1).pow(1 / 1.5)
    assert found["norm"] == "L1.5" and distances.max() <= 1.5 * (1 + 1e-5)
    for entry, distance in zip(found["images"], distances, strict=True):
        assert entry["walks"][0]["distance"] == pytest.approx(float(distance), rel=1e-4)
    status, out, err = type_("explain", f"run={run.folder}", "images=test", "target=3", "norm=L3")
    assert status == 2 and "L1.5" in err


def test_files_are_read_in_the_order_of_their_names(photographs, model):
    data = model.run.data
    images, called, told = explain.pictures(str(photographs), 4, data)
    assert called == [str(photographs / f"{name}.png") for name in "abcd"]
    train = eight_bits(data.tensors("train")[0][:5]) / 255
    for image, index in zip(images, (2, 4, 1, 3), strict=True):
        torch.testing.assert_close(image, train[index], rtol=0, atol=0.15)
    assert told == ["2 of 4 images were shrunk to the size of the model's images."]


def test_a_folder_is_explained(run, photographs, type_, tmp_path):
    arguments = (f"run={run.folder}", f"images={photographs}", "target=7", "steps=3", f"out={tmp_path}")
    status, out, err = type_("explain", *arguments)
    assert status == 0, out + err
    assert "2 of 5 images were shrunk to the size of the model's images." in out
    found = json.loads((tmp_path / "explain.json").read_text())
    assert [len(entry["walks"]) for entry in found["images"]] == [3] * 5, "the default radii are 1, 2 and 4"


def ways_to_save(grey):
    """One grey picture, uint8, as it may come from elsewhere, by file name."""
    black, wide = np.zeros_like(grey), Image.fromarray(grey.astype(np.uint16) * 257)
    ink = Image.merge("RGBA", [Image.fromarray(channel) for channel in (black, black, black, 255 - grey)])
    floats = Image.fromarray(grey.astype(np.float32) / 255)
    plain = Image.fromarray(grey)
    return {"8.png": plain, "16.png": wide, "ink.png": ink, "8.tif": plain, "16.tif": wide, "floats.tif": floats}


def test_a_picture_is_explained_alike_in_whatever_way_it_was_saved(run, model, type_, tmp_path):
    digits = eight_bits(model.run.data.tensors("test")[0][:4]).numpy()[:, 0]
    for number, grey in enumerate(digits):
        for name, picture in ways_to_save(grey).items():
            picture.save(tmp_path / f"{number}_{name}")
    arguments = (f"images={tmp_path}", "n=24", "target=7", "eps=1", "steps=1", f"out={tmp_path / 'out'}")
    status, out, err = type_("explain", f"run={run.folder}", *arguments)
    assert status == 0, out + err
    found = json.loads((tmp_path / "out" / "explain.json").read_text())["images"]
    predicted = model(torch.from_numpy(digits)[:, None] / 255).argmax(1).tolist()
    assert [entry["predicted"] for entry in found] == [str(label) for label in predicted for _ in range(6)]
    for i, entry in enumerate(found):
        assert entry["confidence"] == pytest.approx(found[i - i % 6]["confidence"], rel=1e-5)


def test_hidden_files_are_not_explained_and_floats_of_another_range_are_refused(model, tmp_path):
    for name in ("._a.png", ".Trash/b.png", "__MACOSX/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8)).save(tmp_path / name)
    (tmp_path / "here").symlink_to(".")
    with pytest.raises(UserError, match="there is no image file in"):
        explain.pictures(str(tmp_path), 8, model.run.data)
    Image.fromarray(np.full((8, 8), 200, np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(UserError, match=r"f.tif cannot be read as an image .*floats must lie in \[0, 1\]"):
        explain.pictures(str(tmp_path), 8, model.run.data)


def test_images_that_are_too_small_or_unreadable_are_named(model, tmp_path):
    with pytest.raises(UserError, match=r"there is no image file in .*images=test"):
        explain.pictures(str(tmp_path), 8, model.run.data)
    Image.new("L", (8, 7)).save(tmp_path / "small.png")
    with pytest.raises(UserError, match=r"small.png has 8x7 pixels, fewer than .* 8x8"):
        explain.pictures(str(tmp_path), 8, model.run.data)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"broken.png cannot be read as an image"):
        explain.pictures(str(tmp_path), 8, model.run.data)


CASES = {
    "sample": ["sample needs run=…", "python -m harness sample run="],
    "sample run={name} n=many": ["n: ", "integer", "'many'"],
    "sample run={name} n=0": ["n must be 1 or more"],
    "sample run={name} steps=-1": ["steps 0 or more"],
    "sample run={name} classes=3,12": ["There is no class '12'", "0 … 9"],
    "sample run={name} data=cifar10": ["data=… cannot be changed in {name}"],
    "sample run={name} protocol=quick": ["protocol=… cannot be changed in {name}"],
    "sample run={name} out=runs/{name}/config.yaml": ["runs/{name}/config.yaml cannot be written", "out=FOLDER"],
    "sample run={name} class=3": ["There is no key 'class'"],
    "explain run={name} target=3": ["explain needs images=…", "images=test"],
    "explain run={name} images=test": ["explain needs target=…"],
    "explain run={name} images=test target=three": ["There is no class 'three'"],
    "explain run={name} images=test target=3 eps=0": ["every eps above 0"],
    "explain run={name} images=test target=3 eps=1,far": ["eps.1: ", "number", "'far'"],
    "explain run={name} images=nowhere target=3": ["images=nowhere", "no image file"],
}


@pytest.mark.parametrize("typed", CASES)
def test_what_cannot_be_shown_is_explained(typed, run, type_):
    before = sorted(run.root.parent.rglob("*"))
    status, _, err = type_(*typed.format(name=run.name).split(), folder=run.root.parent)
    assert status == 2
    for part in CASES[typed]:
        assert part.format(name=run.name) in err
    assert sorted(run.root.parent.rglob("*")) == before


def test_all_classes_take_turns_where_none_is_asked_for(model, tmp_path):
    sample.write(model, sample.Arguments(run="", n=12, steps=1), tmp_path)
    with np.load(tmp_path / "samples.npz") as file:
        assert file["arr_1"].tolist() == [*range(10), 0, 1]
    assert Image.open(tmp_path / "samples.png").width == 10 * 50 + 2


def test_samples_that_are_not_finite_are_no_traceback(run, type_, monkeypatch):
    def fail(*_):
        raise Diverged("the samples are not finite")

    monkeypatch.setattr(sample, "write", fail)
    status, _, err = type_("sample", f"run={run.name}", folder=run.root.parent)
    assert status == 2
    assert f"{run.name} has nothing to show: the samples are not finite" in err
