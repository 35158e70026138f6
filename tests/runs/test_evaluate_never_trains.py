"""The command `evaluate` evaluates trained weights under another protocol and never trains anything."""

import json
import shutil

import pytest
import yaml
from commandline import quick

import harness as api
from harness.evaluation.score import Selection
from harness.launch.preflight import check_all
from harness.runs import record
from harness.runs.compose import compose
from harness.runs.execute import train_stage
from harness.runs.progress import Watch
from harness.runs.reopen import reopen
from harness.runs.run import Run, load

TINY = (
    "protocol=quick",
    "~protocol.metrics.ood",
    "~protocol.metrics.counterfactuals",
    "~protocol.metrics.robustness",
    "protocol.metrics.fidelity.kid_subset=20",
    "protocol.samples.count=70",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose stages are trained, but which is not evaluated."""
    (run,) = api.plan(*quick("atjem", steps=4), f"runs={tmp_path_factory.mktemp('evaluate') / 'runs'}")
    run.freeze()
    for stage in run.stage_runs:
        train_stage(run, stage, Watch())
    return run


def dates(run):
    stages = run.root / "stages"
    return {path: path.stat().st_mtime_ns for path in stages.rglob("*") if path.name != "lock"}


def test_a_run_is_judged_under_another_protocol(run, type_):
    before = dates(run)
    status, out, err = type_("evaluate", f"run={run.folder}", *TINY, "threads=1", folder=run.root.parent)
    assert status == 0, out + err
    assert dates(run) == before, "no stage may be changed"
    (new,) = {path.parent for path in run.root.glob("*/record.json")}
    assert new != run.folder and new.parent == run.root
    found, frozen = record.read(new / "record.json"), load(new).config
    assert (found.protocol.id, found.protocol.label) == ("quick-2", "for trying out")
    bins = json.loads((new / "reliability.json").read_text())
    assert sum(one["count"] for one in bins) == found.scores["ece"].n
    assert found.scores["fd_digits"].n == 70 and "robust_accuracy/l2_0.5" not in found.scores
    same = ("method", "data", "model", "outliers", "seed", "overrides", "selection", "notes")
    assert all(getattr(frozen, key) == getattr(run.config, key) for key in same)
    assert frozen.command.startswith(f"python -m harness evaluate run={run.folder} protocol=quick")
    assert [one.fingerprint for one in load(new).stage_runs] == [one.fingerprint for one in run.stage_runs]


def test_a_run_is_found_by_its_name_and_a_checkpoint_by_its_path(run, type_):
    weights = run.stage_runs[-1].folder / "weights.safetensors"
    small = ("data.test=20", "data.validation=70", "model.width=4", "outliers.count=200", "init_accuracy=0")
    fewer = (*TINY, "~protocol.metrics.fidelity", "runs=other")
    status, out, err = type_("evaluate", f"run={weights}", *fewer, *small, folder=run.root.parent)
    assert status == 0, out + err
    (folder,) = {path.parent for path in (run.root.parent / "other").glob("*/record.json")}
    assert record.read(folder / "record.json").method == "pretrained"
    assert not (run.root.parent / "other" / "stages").exists()
    status, out, err = type_("evaluate", f"run={folder.name}", *fewer, folder=run.root.parent)
    assert status == 0 and folder.name in out, out + err
    assert len(list((run.root.parent / "other").glob("*/record.json"))) == 1, "the same protocol must give the same run"


@pytest.mark.parametrize("stage", [0, 1])
def test_an_untrained_stage_is_named_with_the_command_that_trains_it(run, stage, type_, tmp_path):
    shutil.copytree(run.root, tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs" / "stages" / run.stage_runs[stage].folder.name)
    before = sorted(tmp_path.rglob("*"))
    status, _, err = type_("evaluate", f"run={run.name}", *TINY)
    assert status == 2
    assert "is not trained yet" in err and f"stage {run.stage_runs[stage].name}" in err
    assert run.config.command in err and "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before, "nothing may be written"


CASES = {
    "evaluate": ["evaluate needs run=… or samples=…", "python -m harness evaluate run="],
    "evaluate run=nothing protocol=quick": ["There is no run 'nothing'", "python -m harness status"],
    "evaluate run={name}": ["Choose a protocol", "quick"],
    "evaluate run={typo} protocol=quick": ["Did you mean {name}"],
    "evaluate run={name} protocol=quikc": ["Did you mean quick"],
    "evaluate run={name} protocol=quick seed=3": ["seed=… cannot be changed in {name}", "frozen"],
    "evaluate run={name} protocol=quick method.sampler.steps=3": ["method=… cannot be changed in {name}"],
    "evaluate run={name} protocol=quick experiment=cifar10_at": ["experiment=… cannot be changed"],
    "evaluate run={name} protocol=quick device=tpu": ["device=tpu"],
    "evaluate run={weights} protocol=quick method=at": ["method=at would continue training from"],
    "evaluate run={weights}": ["does not fit"],
    "evaluate -m run={name} protocol=quick,digits": ["leave out -m"],
}


@pytest.mark.parametrize("typed", CASES)
def test_what_cannot_be_judged_is_explained(typed, run, type_):
    weights = run.stage_runs[-1].folder / "weights.safetensors"
    names = {"name": run.name, "typo": run.name[:-2], "weights": weights}
    before = sorted(run.root.rglob("*"))
    status, _, err = type_(*typed.format(**names).split(), folder=run.root.parent)
    assert status == 2
    for part in CASES[typed]:
        assert part.format(**names) in err
    assert sorted(run.root.rglob("*")) == before


def test_a_run_frozen_by_an_older_harness_is_judged_too(run, tmp_path):
    shutil.copytree(run.root, tmp_path / "runs")
    path = tmp_path / "runs" / run.name / "config.yaml"
    old = yaml.safe_load(path.read_text())
    for key in ("microbatch", "evaluators", "extractors", "customary"):
        del old[key]
    path.write_text(yaml.safe_dump({**old, "gone": 1}))
    found = reopen(str(path.parent), TINY, besides=["protocol"])
    assert found.config.customary["features"] == "digits"
    assert [stage.fingerprint for stage in found.stage_runs] == [stage.fingerprint for stage in run.stage_runs]


@pytest.mark.parametrize(
    ("data", "protocol", "place"),
    [
        ("data=cifar100", "dat-paper", ("metrics", "ood", "sets", "svhn", "root")),
        ("data=imagenet256 data.size=224", "quick", ("metrics", "robustness", "eps")),
    ],
)
def test_a_protocol_that_refers_to_the_data_means_those_of_the_run(data, protocol, place, tmp_path):
    (config,) = compose([*data.split(), "init=null", "data.root=/elsewhere", f"runs={tmp_path}"])
    Run(config).freeze()
    found = reopen(Run(config).name, [f"protocol={protocol}", f"runs={tmp_path}"], besides=["protocol"]).config
    assert found.data == config.data
    value = found.protocol
    for key in place:
        value = value[key]
    assert value == ("/elsewhere" if data == "data=cifar100" else 3.0)


def test_selections_that_an_older_harness_froze_as_texts_are_read(tmp_path):
    (old,) = api.plan("method=at", f"runs={tmp_path}")
    old.freeze()
    path = old.folder / "config.yaml"
    content = yaml.safe_load(path.read_text()) | {"selection": {"lr": "accuracies on validation"}}
    path.write_text(yaml.safe_dump(content))
    found = load(old.folder)
    assert found.config.selection == {"lr": Selection(by="accuracies on validation", split=["validation"])}
    assert found.fingerprint == old.fingerprint
    assert check_all([found]) == [found]
