"""A folder whose reserved images are training outliers under other names is refused before training."""

import shutil

import on_disk
import pytest

import harness
from harness.core.errors import UserError
from harness.datasets import copies
from harness.datasets.copies import HEAD, groups_of_copies
from harness.datasets.digits import Digits
from harness.datasets.imagenet import ImageNet
from harness.datasets.outliers.folder import Folder
from harness.evaluation.metrics.ood import OOD
from harness.evaluation.samples import Sampling


@pytest.fixture
def root(tmp_path):
    return on_disk.openimages(tmp_path / "photographs", 40)


def folder(root, data=None, **fields):
    return Folder(data or ImageNet(root="nowhere", size=16), str(root), exclude_classes=False, reserve=10, **fields)


def copied(root, count, **fields):
    """The folder after the first reserved images took the place of as many training outliers, and these pairs."""
    chosen = folder(root, **fields)._chosen.tolist()
    pairs = [(root / chosen[i], root / chosen[10 + i]) for i in range(count)]
    for start, other in pairs:
        shutil.copy(start, other)
    return pairs


def test_copies_are_refused_with_their_names_and_the_way_on(root):
    pairs = copied(root, 7)
    with pytest.raises(UserError) as told:
        folder(root).require_apart()
    message = str(told.value)
    assert message.startswith("7 of the 10 images that outliers.reserve keeps")
    assert sum(f"{start} = {other}" in message for start, other in pairs) == 3, "some examples are enough"
    for part in (f"fdupes -r {root}", "choose other outliers", "data.check=false"):
        assert part in message
    folder(root, ImageNet(root="nowhere", size=16, check=False)).require_apart()


def test_a_run_with_such_outliers_is_refused_before_training(root):
    copied(root, 1)
    source = ("outliers=folder", f"outliers.root={root}", "outliers.reserve=10", "outliers.exclude_classes=false")
    with pytest.raises(UserError, match="1 of the 10 images"):
        harness.plan("method=at", "tracking=off", *source)


def test_a_set_of_ood_detection_may_have_copies_as_nothing_of_it_is_trained_on(root):
    copied(root, 1)
    fields = {"name": "folder", "root": str(root), "reserve": 10}
    detection = OOD("test", {"photographs": fields}, ("energy",), count=10, chunk=5, seed=0)
    detection.ready(Digits(), Sampling(count=4, chunk=4, seed=0), {})


def test_nothing_is_offered_that_the_data_do_not_have(root):
    copied(root, 1)
    with pytest.raises(UserError, match="1 of the 10 images") as told:
        folder(root, Digits()).require_apart()
    assert "data.check" not in str(told.value)


def test_copies_within_a_part_and_beyond_the_cap_are_accepted(root):
    chosen = folder(root)._chosen.tolist()
    shutil.copy(root / chosen[0], root / chosen[1])
    shutil.copy(root / chosen[10], root / chosen[11])
    shutil.copy(root / chosen[2], root / chosen[39])
    folder(root, cap=29).require_apart()
    with pytest.raises(UserError, match="1 of the 10 images"):
        folder(root, cap=30).require_apart()


def test_files_that_are_empty_or_missing_are_no_copies(root):
    chosen = folder(root)._chosen.tolist()
    for place in (0, 1, 20, 21):
        (root / chosen[place]).write_bytes(b"")
    (root / chosen[22]).unlink()
    (root / chosen[22]).symlink_to("nowhere")
    folder(root).require_apart()


def test_few_files_are_read_and_hardly_any_whole(tmp_path, monkeypatch):
    """Sizes tell most files apart, and first bytes most others."""
    same, begins_alike = b"a" * 9000, b"a" * HEAD + b"b" * (9000 - HEAD)
    contents = {"1": same, "2": same, "3": begins_alike, "4": b"c" * 9000, "5": b"d" * 8000, "6": b"", "7": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    read = {"_head": [], "sha256": []}
    for name, files in read.items():
        original = getattr(copies, name)
        monkeypatch.setattr(copies, name, lambda file, f=original, to=files: (to.append(file.name), f(file))[1])
    files = [tmp_path / name for name in sorted(contents)]
    assert groups_of_copies(files, lambda group: len(group) > 1) == [[tmp_path / "1", tmp_path / "2"]]
    assert read == {"_head": ["1", "2", "3", "4"], "sha256": ["1", "2", "3"]}
    read["_head"].clear()
    assert groups_of_copies(files, lambda group: tmp_path / "5" in group and len(group) > 1) == []
    assert read["_head"] == [], "files of one size are not read where none of them matters"
