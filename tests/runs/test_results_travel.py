"""An archive made in one folder is imported, verified and reported in another; an altered outcome is found."""

import hashlib
import json
import shutil
import zipfile

import pytest
import torch
import yaml
from commandline import quick, without
from recorded import finish, make

import harness as api
from harness.core.errors import UserError
from harness.evaluation.evaluator import sampling
from harness.evaluation.samples import Samples
from harness.launch.snapshot import snapshot
from harness.runs import archive, record, trust
from harness.runs.row import row_of
from harness.runs.run import load


@pytest.fixture(scope="module")
def sender(tmp_path_factory):
    """A run with accuracy, robustness and fidelity, and its archives: with nothing, and with all."""
    folder = tmp_path_factory.mktemp("sender")
    words = [*quick("at", steps=4), *without(("calibration", "ood", "counterfactuals"))]
    (run,) = api.plan(*words, "extractors.inception=theirs.pth", f"runs={folder / 'runs'}")
    api.run(run)
    code = snapshot(folder)
    archive.write(folder / "light.zip", [run], code)
    archive.write(folder / "whole.zip", [run], code, weights=True, samples=True)
    return run, folder


def altered(path, new, change):
    """Write an archive in which `change` altered the record, and whose list of digests fits it."""
    with zipfile.ZipFile(path) as source:
        files = {name: source.read(name) for name in source.namelist()}
    name = next(name for name in files if name.endswith("/record.json"))
    content, listed = json.loads(files[name]), json.loads(files[archive.LIST])
    change(content)
    files[name] = json.dumps(content).encode()
    listed["files"][name] = hashlib.sha256(files[name]).hexdigest()
    with zipfile.ZipFile(new, "w") as target:
        for name, text in (files | {archive.LIST: json.dumps(listed).encode()}).items():
            target.writestr(name, text)
    return new


def flip(outcomes, key, place):
    text = outcomes[key]
    outcomes[key] = text[:place] + ("1" if text[place] == "0" else "0") + text[place + 1 :]


def test_a_run_is_imported_verified_and_reported_in_another_folder(sender, tmp_path, type_):
    run, folder = sender
    status, out, err = type_("import", str(folder / "whole.zip"), "tracking=off", "runs=mine")
    assert status == 0 and "not verified" in out, out + err
    there = tmp_path / "mine" / run.name
    found = load(there)
    assert (found.fingerprint, found.series) == (run.fingerprint, run.series)
    assert record.read(there / "record.json") == record.read(run.folder / "record.json")

    # It is shown as imported, then as verified; the reader's file says by which code, and on what.
    assert row_of(there).provenance == "done (imported, not verified)" and row_of(run.folder).provenance == "done"
    status, out, err = type_("verify", run.name, "runs=mine")
    assert status == 0 and "Verified" in out, out + err
    note = trust.verified(there)
    results = {one.what: (one.result, one.over) for one in note.comparisons}
    assert results["accuracy"] == ("same", "20 of 20 images") == results["robustness"]
    assert results["samples"] == ("same", "70 of 70 images")
    assert {results[what][0] for what in ("config", "data", "weights", "canaries", "fidelity", "extractors")} == {
        "same"
    }
    assert note.code.startswith("harness ") and note.passed
    status, out, _ = type_("report", "runs=mine", "reports=pages")
    assert status == 0 and "done (imported, verified)" in out
    page = (tmp_path / "pages" / "runs" / f"{run.name}.html").read_text()
    assert "imported, verified" in page and "accuracy (20 of 20 images)" in page
    (details,) = (tmp_path / "pages" / "pages").glob("*.md")
    assert "verified on " in details.read_text()

    # What was verified was this record: another one is not.
    (there / "record.json").write_text((there / "record.json").read_text() + " ")
    assert row_of(there).provenance == "done (imported, not verified)"


@pytest.mark.parametrize(("key", "place", "metric"), [("clean", 3, "accuracy"), ("l2_3/square", 19, "robustness")])
def test_one_altered_outcome_is_found_and_named(sender, tmp_path, type_, key, place, metric):
    _, folder = sender
    path = altered(folder / "whole.zip", tmp_path / "a.zip", lambda content: flip(content["outcomes"], key, place))
    status, out, err = type_("verify", str(path), "runs=mine")
    assert status == 1 and f"Different: {metric} " in out, out + err
    assert f"{key} of its image {place}:" in out


def test_an_altered_outcome_of_a_shard_that_is_not_computed_contradicts_the_score(sender, tmp_path, type_):
    _, folder = sender
    path = altered(
        folder / "whole.zip", tmp_path / "a.zip", lambda content: flip(content["outcomes"], "l2_3/square", 19)
    )
    for choice in range(4):  # one of them chooses the first shard
        status, out, _ = type_("verify", str(path), "runs=mine", "shards=1", f"choice={choice}")
        assert status == 1 and "robust_accuracy/l2_3: " in out
        if "image 19" not in out:
            return
    raise AssertionError("no choice left the shard out")


def test_altered_scores_planted_ones_and_too_many_outcomes_are_found(sender, tmp_path, type_):
    _, folder = sender

    def change(content):
        content["scores"]["fd_digits"]["value"] *= 0.9
        content["scores"]["fd_best"] = content["scores"]["fd_digits"]
        content["outcomes"] = {key: 2 * text for key, text in content["outcomes"].items()}

    status, out, _ = type_("verify", str(altered(folder / "whole.zip", tmp_path / "a.zip", change)), "runs=mine")
    assert status == 1 and "Different: keys of scores, accuracy, robustness, fidelity " in out
    assert "no metric of the protocol gives fd_best" in out
    assert "clean has 40 outcomes" in out and "square has 40 outcomes" in out
    assert list((tmp_path / "mine").glob("*.zip")) == []


def test_a_sample_that_the_weights_do_not_draw_is_found(sender, tmp_path, type_):
    run, folder = sender
    assert type_("import", str(folder / "whole.zip"), "runs=mine")[0] == 0
    stored = Samples(tmp_path / "mine" / run.name / "samples", sampling(run.config.protocol))
    images = stored[1].clone()
    images[4] = 255 - images[4]
    stored.write(1, images / 255 + 1e-4)
    status, out, _ = type_("verify", run.name, "runs=mine")
    assert status == 1 and "samples differs: sample 39\n" in out
    (doubt,) = row_of(tmp_path / "mine" / run.name).doubts
    assert doubt == "its verification failed: samples sample 39"


def test_the_config_of_an_import_has_the_readers_own_places(sender, tmp_path, type_):
    run, folder = sender
    places = ("runs=mine", "tracking=off", "launcher=processes", "extractors.inception=mine.pth", "device=cpu")
    status, _, err = type_("import", str(folder / "light.zip"), *places)
    assert status == 0, err
    config = load(tmp_path / "mine" / run.name).config
    assert config.launcher["name"] == "processes" and config.extractors["inception"] == "mine.pth"
    text = (tmp_path / "mine" / run.name / "config.yaml").read_text()
    assert str(run.root) not in text and "theirs.pth" not in text
    assert yaml.safe_load(text)["command"].startswith("python -m harness import ")
    status, _, err = type_("import", str(folder / "light.zip"), "seed=1", "runs=other")
    assert status == 2 and "seed=… cannot be changed in" in err and not (tmp_path / "other" / run.name).exists()


def test_without_weights_nothing_is_verified_and_with_samples_alone_only_they_are(sender, tmp_path, type_):
    run, folder = sender
    assert "neither weights nor samples" in type_("verify", str(folder / "light.zip"), "runs=mine")[2]
    archive.write(tmp_path / "samples.zip", [run], snapshot(tmp_path), samples=True)
    status, out, err = type_("verify", str(tmp_path / "samples.zip"), "runs=mine")
    assert status == 0, out + err
    lines = {line.split("│")[1].strip(): line for line in out.splitlines() if line.count("│") > 3}
    assert " same " in lines["fidelity"] and "robustness not compared: its weights are not here" in out
    assert " not compared " in lines["accuracy"] and " not compared " in lines["samples"]


def test_no_run_of_the_readers_is_built_on_imported_weights(sender, tmp_path, type_):
    run, folder = sender
    assert type_("import", str(folder / "whole.zip"), "runs=mine")[0] == 0
    imported = load(tmp_path / "mine" / run.name)
    assert all(stage.folder.is_relative_to(imported.folder) and stage.done for stage in imported.stage_runs)
    assert not (tmp_path / "mine" / "stages").exists()
    status, _, err = type_("evaluate", f"run={run.name}", "protocol=quick", "runs=mine")
    assert status == 2 and "no run may build on its weights" in err
    model = api.load(imported.folder)
    own = api.load(run.folder)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), own.parameters(), strict=True))


def test_what_export_writes_is_what_a_report_needs(sender, tmp_path, type_):
    run, folder = sender
    with zipfile.ZipFile(folder / "light.zip") as light:
        names = [name for name in light.namelist() if name.startswith(run.name)]
        light.extractall(tmp_path / "committed", names)
    about = {"config.yaml", "record.json", "metrics.jsonl", "samples.png"}
    assert {name.partition("/")[2] for name in names} - {"uncommitted.diff"} == about
    status, out, err = type_("report", "runs=committed", "reports=pages")
    assert status == 0 and "Not readable" not in out, out + err
    assert row_of(tmp_path / "committed" / run.name) == row_of(run.folder)
    page = (tmp_path / "pages" / "runs" / f"{run.name}.html").read_text()
    assert "data:image/png" in page and "<h2>Training</h2>" in page and "The whole config" in page


def test_the_archive_says_by_which_code_and_packages_it_was_made(sender):
    run, folder = sender
    with zipfile.ZipFile(folder / "light.zip") as light:
        contents = json.loads(light.read(archive.LIST))
        assert f"torch=={torch.__version__}" in light.read(archive.ENVIRONMENT).decode()
        with light.open(archive.CODE) as stream, zipfile.ZipFile(stream) as code:
            assert "harness/runs/archive.py" in code.namelist()
    assert contents["runs"] == {run.name: []} and len(contents["code"]) == 12


def test_what_is_not_there_is_not_exported(sender, tmp_path):
    run, folder = sender
    copy = tmp_path / "runs" / run.name
    shutil.copytree(run.folder, copy, ignore=shutil.ignore_patterns("samples", "parts"))
    with pytest.raises(UserError, match="has no weights of its stage robust"):
        archive.write(tmp_path / "a.zip", [load(copy)], folder, weights=True)
    with pytest.raises(UserError, match="has no samples to export"):
        archive.write(tmp_path / "a.zip", [load(copy)], folder, samples=True)
    (copy / "record.json").unlink()
    with pytest.raises(UserError, match="has no record yet"):
        archive.write(tmp_path / "a.zip", [load(copy)], folder)
    with pytest.raises(UserError, match="exists already"):
        archive.write(folder / "light.zip", [run], folder)
    assert not (tmp_path / "a.zip").exists()


def test_a_run_of_an_archive_is_trained_again_and_compared(sender, tmp_path, type_):
    run, folder = sender
    altered(folder / "light.zip", tmp_path / "a.zip", lambda content: flip(content["outcomes"], "clean", 3))
    status, out, err = type_("rerun", "a.zip", "tracking=off", "runs=again")
    assert status == 0, out + err
    again = load(tmp_path / "again" / run.name)
    before, now = (record.read(one.folder / "record.json") for one in (run, again))
    assert now.cost.stages[0].weights == before.cost.stages[0].weights and now.outcomes == before.outcomes
    assert again.config.command.startswith("python -m harness rerun a.zip")
    # One outcome was altered, of 20 images.
    assert "weights are identical" in out
    (row,) = [line for line in out.splitlines() if "Clean accuracy" in line and "5.00" in line]
    assert "-5.00" in row or "+5.00" in row

    # The second time, nothing is left to run. An import is not taken for a run of one's own.
    trained = (again.folder / "record.json").stat().st_mtime_ns
    assert type_("rerun", "a.zip", "tracking=off", "runs=again")[0] == 0
    assert (again.folder / "record.json").stat().st_mtime_ns == trained
    assert type_("import", "a.zip", "tracking=off", "runs=mine")[0] == 0
    status, _, err = type_("rerun", "a.zip", "tracking=off", "runs=mine")
    assert status == 2 and "was imported" in err and "Traceback" not in err


def test_a_run_without_scores_is_not_trained_again(tmp_path, type_):
    run = finish(make(tmp_path), {}, state="diverged")
    (tmp_path / "code").mkdir()
    archive.write(tmp_path / "a.zip", [run], tmp_path / "code")
    status, _, err = type_("rerun", "a.zip", "runs=again")
    assert status == 2 and "its state is diverged" in err
    assert not (tmp_path / "again").exists()
