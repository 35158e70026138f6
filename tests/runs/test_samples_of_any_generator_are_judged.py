"""Images of an outside generator are judged under the same protocol; what it cannot give is n/a and never ranked."""

import numpy as np
import pandas as pd
import pytest
from commandline import harness
from PIL import Image

import harness as api
from harness.core.errors import UserError
from harness.core.files import read_json
from harness.launch.preflight import check_all, ready_to_judge
from harness.runs import record
from harness.runs.build import outliers

UNDER = ("protocol=quick", "protocol.metrics.robustness.eps=3")
SMALL = ("data.test=20", "data.validation=70", "outliers.count=200", "threads=1", "tracking=off")
FEW = ("protocol.samples={count: 70, chunk: 35, seed: 0}", "protocol.metrics.fidelity.kid_subset=20")
"""A protocol of 70 samples."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folder of a run that is judged, and the run."""
    folder = tmp_path_factory.mktemp("samples")
    short = ("method.robust.training.batch=16", "method.robust.training.epochs=0.1", "model.width=4")
    (run,) = api.plan("method=at", *short, *UNDER, *FEW, *SMALL, f"runs={folder / 'runs'}")
    api.run(run)
    return folder, run


@pytest.fixture(scope="module")
def judged(world):
    """The run's samples, written by `sample` and judged as those of any generator: the file and the new record."""
    folder, run = world
    status, out, err = harness("sample", f"run={run.folder}", "n=70", "out=drawn", folder=folder)
    assert status == 0, out + err
    return folder / "drawn" / "samples.npz", evaluate(harness, folder, "drawn/samples.npz")


def evaluate(type_, folder, source, *more):
    """The record of the samples in a file or folder, judged by the command."""
    before = set((folder / "runs").glob("samples-*"))
    status, out, err = type_(
        "evaluate",
        f"samples={source}",
        "data=digits",
        *UNDER,
        *FEW,
        *SMALL,
        "runs=runs",
        *more,
        folder=folder,
    )
    assert status == 0, out + err
    (made,) = set((folder / "runs").glob("samples-*")) - before
    return record.read(made / "record.json")


def digits(n=70, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)


def planned(folder, *more):
    return api.plan("method=samples", "protocol=quick", *FEW, *SMALL, f"runs={folder / 'runs'}", *more)


def refused(folder, *more):
    """The message that refuses a run before anything is written."""
    with pytest.raises(UserError) as error:
        ready_to_judge(check_all(planned(folder, *more)))
    assert not (folder / "runs").exists()
    return str(error.value)


def test_what_sample_writes_has_the_scores_of_the_run_that_drew_it(world, judged):
    _, run = world
    own, (_, given) = record.read(run.folder / "record.json").scores, judged
    assert {"fd_digits", "kid_digits", "precision_digits"} <= given.scores.keys()
    assert given.scores == {key: own[key] for key in given.scores}


def test_the_record_says_what_a_generator_does_not_give(judged):
    _, given = judged
    assert (given.method, given.model, given.parameters, given.cost.stages) == ("samples", "", 0, [])
    assert "clean_accuracy" in given.not_given and not set(given.not_given) & given.scores.keys()
    assert given.canaries == {} or all("accuracy" not in name for name in given.canaries)


def test_class_folders_are_the_same_as_a_file_with_labels(world, judged, type_):
    folder, _ = world
    file, given = judged
    with np.load(file) as arrays:
        for i, (image, label) in enumerate(zip(arrays["arr_0"], arrays["arr_1"], strict=True)):
            place = folder / "classes" / f"{label}"
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(place / f"{i:03}.png")
    assert evaluate(type_, folder, "classes").scores == given.scores


def test_a_run_of_samples_depends_on_its_images_and_not_on_their_place_the_net_or_outliers(tmp_path):
    np.savez(tmp_path / "a.npz", arr_0=digits())
    np.savez(tmp_path / "copy.npz", arr_0=digits())
    np.savez(tmp_path / "b.npz", arr_0=digits(seed=1))
    np.savez(tmp_path / "labelled.npz", arr_0=digits(), arr_1=np.arange(70) % 10)
    names = {
        name: planned(tmp_path, f"method.source={tmp_path / name}.npz", *more)[0].fingerprint
        for name, more in {"a": [], "copy": ["model.width=3", "outliers=noise"], "b": [], "labelled": []}.items()
    }
    assert names["a"] == names["copy"] and len(set(names.values())) == 3


def test_images_of_each_class_are_taken_in_turn(tmp_path):
    images, labels = digits(20), np.repeat(np.arange(10), 2)
    np.savez(tmp_path / "sorted.npz", arr_0=images, arr_1=labels)
    (run,) = planned(tmp_path, f"method.source={tmp_path / 'sorted.npz'}")
    starts = outliers(run)
    expected = [*range(0, 20, 2), *range(1, 20, 2)]
    assert starts.different_starts == 20
    assert np.array_equal((starts.starts(range(20)) * 255).numpy().round()[:, 0], images[expected][..., 0])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"arr_0": digits(69)}, "compares 70 samples"),
        ({"arr_0": digits(), "arr_1": np.zeros(70)}, "gives 1:"),
        ({"arr_0": digits().astype(np.float32)}, "in float32"),
        ({"arr_0": digits()[:, :7]}, "8 x 8 x 1"),
        ({"arr_0": digits().repeat(3, 3) + np.arange(3, dtype=np.uint8)}, "8 x 8 x 1"),
        ({"arr_0": digits(), "arr_1": np.full(70, 10)}, "a label of 0 … 9"),
        ({"arr_0": digits(), "arr_1": np.full(70, 0.5)}, "arr_1 should be labels"),
        ({"images": digits()}, "images as arr_0"),
    ],
)
def test_images_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, arrays, message):
    np.savez(tmp_path / "given.npz", **arrays)
    assert message in refused(tmp_path, f"method.source={tmp_path / 'given.npz'}")


def test_a_source_that_is_missing_or_no_images_is_explained(tmp_path):
    (tmp_path / "text.npz").write_text("no images")
    (tmp_path / "empty").mkdir()
    (tmp_path / "cats" / "cat").mkdir(parents=True)
    (tmp_path / "loose" / "3").mkdir(parents=True)
    for name in ("loose/3/a.png", "loose/b.png", "sizes/a.png", "sizes/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 9 if name == "sizes/b.png" else 8)).save(tmp_path / name)
    assert "method.source=PATH" in refused(tmp_path)
    for name, message in {
        "nowhere": "There is no file or folder",
        "text.npz": "does not hold samples",
        "empty": "holds no pictures",
        "cats": "is no class of the data",
        "loose": "class folders and beside them b.png",
        "sizes": "pictures of several sizes",
    }.items():
        assert message in refused(tmp_path, f"method.source={tmp_path / name}")


def test_a_protocol_without_metrics_of_samples_is_refused(tmp_path):
    np.savez(tmp_path / "given.npz", arr_0=digits())
    message = refused(tmp_path, f"method.source={tmp_path / 'given.npz'}", "~protocol.metrics.fidelity")
    assert "method=samples can only generate" in message


def test_images_that_changed_since_the_run_was_begun_are_refused(tmp_path):
    np.savez(tmp_path / "given.npz", arr_0=digits())
    (run,) = planned(tmp_path, f"method.source={tmp_path / 'given.npz'}")
    np.savez(tmp_path / "given.npz", arr_0=digits(seed=1))
    with pytest.raises(UserError, match="have changed since this run was begun"):
        ready_to_judge([run])


@pytest.mark.parametrize("verb", ["sample", "explain"])
def test_verbs_that_need_a_model_say_that_there_is_none(world, judged, verb, type_):
    folder, _ = world
    name = next((folder / "runs").glob("samples-*")).name
    more = ["images=test", "target=3"] if verb == "explain" else []
    status, _, err = type_(verb, f"run={name}", "runs=runs", *more, folder=folder)
    assert status == 2 and "method=samples gives no logits" in err


def test_cells_that_cannot_be_filled_are_na_and_neither_front_nor_bold_counts_their_rows(world, judged, type_):
    folder, run = world
    # A classifier alone, beside the generator alone and the run that is both.
    weights = run.stage_runs[-1].folder / "weights.safetensors"
    net = [f"model.{key}={value}" for key, value in run.config.model.items() if key in ("width", "norm", "activation")]
    alone = ("method=pretrained", f"init={weights}", "method.only=classify", "init_accuracy=0", *net)
    status, out, err = type_(*alone, *UNDER, *FEW, *SMALL, "runs=runs", folder=folder)
    assert status == 0, out + err
    status, out, err = type_("report", "runs=runs", "reports=reports", folder=folder)
    assert status == 0, out + err
    (table,) = [
        frame for frame in tables(folder / "reports" / "LEADERBOARD.md") if "method" in frame and len(frame) > 2
    ]
    cells = {name.split(" (")[0].rstrip(" ◆"): dict(row) for name, row in table.set_index("method").iterrows()}
    accuracy, distance = (next(c for c in table.columns if c.startswith(start)) for start in ("Clean", "FD"))
    assert (cells["Samples"][accuracy], cells["Pretrained"][distance]) == ("n/a", "n/a")
    assert "n/a" not in (cells["Samples"][distance], cells["Pretrained"][accuracy], *cells["AT"].values())
    rows = (folder / "reports" / "LEADERBOARD.md").read_text().splitlines()
    assert [row.split(" |")[0] for row in rows if "◆" in row and row.startswith("| ")] == [
        next(row.split(" |")[0] for row in rows if row.startswith("| AT"))
    ], "the front is that of methods that both classify and generate"
    assert read_json(run.folder / "record.json")["not_given"] == []


def tables(path):
    """The tables of a page in markdown."""
    blocks = path.read_text().split("\n\n")
    for lines in (block.splitlines() for block in blocks if block.startswith("|")):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        yield pd.DataFrame(rows[2:], columns=rows[0])
