"""No name leaves the folder of runs, no config runs code, and no secret of the environment gets into a record."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from commandline import harness as command
from hypothesis import given
from hypothesis import strategies as st

import harness
from harness.core.errors import UserError
from harness.core.files import valid_name
from harness.core.registry import find
from harness.evaluation.evaluator import metrics
from harness.launch.preflight import check_all
from harness.runs.compose import compose
from harness.runs.run import Run, load

NASTY = st.one_of(
    st.sampled_from(
        ["..", ".", "../x", "/etc/x", "a/../../b", ".hidden", "a\\b", "", "a\n", "~", "a b", "$(x)", "a;b"]
    ),
    st.text(min_size=1).map(lambda text: f"../{text}"),
    st.text().map(lambda text: f"x/{text}"),
)


@given(st.one_of(NASTY, st.text()))
def test_a_name_that_is_let_through_stays_in_its_folder(name):
    try:
        path = Path("/runs") / valid_name(name)
    except UserError:
        return
    assert path.parent == Path("/runs") and os.path.normpath(path) == str(path) and not name.startswith((".", "-"))


@pytest.fixture(scope="session")
def config():
    return compose(["method=at", "threads=1"])[0]


@given(st.sampled_from(["method", "data", "model", "outliers"]), NASTY)
def test_names_of_parts_are_refused_before_anything_is_written(config, part, name):
    run = Run(replace(config, runs="/nowhere/runs", **{part: {**getattr(config, part), "name": name}}))
    with pytest.raises(UserError):
        check_all([run])
    assert not Path("/nowhere").exists()


@given(NASTY)
def test_entries_of_a_protocol_are_refused_too(config, name):
    entry = {**config.protocol["metrics"]["accuracy"], "metric": "accuracy"}
    with pytest.raises(UserError):
        metrics({**config.protocol, "metrics": {name: entry}})


@given(st.sampled_from(["method", "data", "seed"]), NASTY)
def test_a_frozen_config_of_somebody_else_cannot_choose_where_it_is_written(config, part, name):
    theirs = name if part == "seed" else {**getattr(config, part), "name": name}
    run = Run(replace(config, runs="/nowhere/runs", **{part: theirs}))
    try:
        folder = run.folder
    except UserError:
        return
    assert os.path.normpath(folder) == str(folder) and folder.parent == Path("/nowhere/runs")


@pytest.mark.parametrize("name", [3, None, True, ["at"], "at.AT", "__init__"])
def test_what_is_no_name_is_no_class(name):
    with pytest.raises(UserError, match="There is no method"):
        find("method", name)


@pytest.mark.parametrize(
    "where", ["", "method.", "method.robust.", "model.", "data.", "protocol.metrics.accuracy.", "launcher."]
)
def test_a_target_in_a_config_is_a_field_that_nothing_has(where, tmp_path):
    with pytest.raises(UserError, match="_target_"):
        harness.plan("method=at", f"+{where}_target_=os.mkdir", f"+{where}path={tmp_path / 'made'}", f"runs={tmp_path}")
    assert not (tmp_path / "made").exists()


def test_a_target_where_any_key_may_stand_does_nothing(tmp_path):
    places = ("extractors", "notes")
    targets = [f"+{place}._target_=os.mkdir" for place in places] + [f"+{p}.path={tmp_path / 'made'}" for p in places]
    harness.plan("method=at", *targets, f"runs={tmp_path}")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("key", ["+hydra.callbacks.x", "hydra.sweeper", "hydra.launcher", "++hydra.job_logging"])
def test_what_hydra_itself_would_run_is_refused(key, tmp_path):
    status, _, err = command("plan", f"{key}._target_=os.mkdir", f"{key}.path={tmp_path / 'made'}", folder=tmp_path)
    assert status == 2 and "Hydra only composes configs here" in err
    assert list(tmp_path.iterdir()) == []


def test_hydra_writes_no_folder_where_it_is_told_to(tmp_path):
    for override in (f"hydra.run.dir={tmp_path / 'made'}", "hydra.output_subdir=.hydra", "hydra/job_logging=default"):
        with pytest.raises(UserError, match="Hydra only composes configs here"):
            compose([override])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["tracking", "protocol.id", "+notes.a", "+extractors.a.b", "method.name"])
def test_a_secret_of_the_environment_is_refused_and_not_told(key, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(UserError) as error:
        compose([f"{key}='a ${{oc.env:SECRET}}'"])
    assert "hunter2" not in str(error.value) and "environment" in str(error.value)


ROUTES = [
    ["runs=${oc.env:SECRET}", "+notes.x=${runs}"],
    ["runs=${oc.env:SECRET}", "+notes.x=${customary.y}", "+customary.y=${runs}"],
    ["init=${oc.env:SECRET}", "notes=${extractors}", "extractors.dinov2=${init}"],
    ["data=cifar10", "data.root=${oc.env:SECRET}", "+notes.x=root ${data.root}"],
    ["data=cifar10", "data.root=${oc.env:SECRET}", "notes=${data}"],
    ["+notes.root=${oc.env:SECRET}"],
    ["+notes.a.root=${oc.env:SECRET}"],
    ["+method.root=${oc.env:SECRET}"],
    ["runs=${oc.env:SECRET}", "seed=${runs}"],
    ["runs=${oc.env:SECRET}", "tracking=${runs}"],
    ["runs=${oc.env:SECRET}", "protocol.id=${oc.decode:${runs}}"],
    ["runs=${oc.env:SECRET}", "protocol.id=${times:${runs},2}"],
    ["method=${oc.env:SECRET}"],
    ["launcher=${oc.env:SECRET}"],
]
"""Ways of an environment variable to keys that others read."""

BROKEN = ["${times:${oc.env:SECRET},2}", "${${oc.env:SECRET}}", "${oc.decode:'[${oc.env:SECRET}'}"]
"""What cannot be resolved, and would say with which value."""


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a_secret_is_refused_whatever_interpolation_it_comes_by(route, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(UserError) as error:
        compose([f"{key}='{value}'" for key, _, value in (word.partition("=") for word in route)])
    assert "hunter2" not in str(error.value) and "environment" in str(error.value)


@pytest.mark.parametrize("value", BROKEN)
def test_a_place_that_cannot_be_resolved_is_refused_without_its_value(value, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    with pytest.raises(UserError) as error:
        compose([f'runs="{value}"'])
    assert "hunter2" not in str(error.value) and "runs" in str(error.value)


def test_a_place_may_come_from_another_place(monkeypatch):
    monkeypatch.setenv("SCRATCH", "/scratch")
    typed = ["data=cifar10", "data.root=${oc.env:SCRATCH}/data", "outliers.root=${data.root}", "runs=${data.root}/runs"]
    (config,) = compose(typed)
    assert (config.data["root"], config.outliers["root"], config.runs) == (
        "/scratch/data",
        "/scratch/data",
        "/scratch/data/runs",
    )
    assert config.protocol["metrics"]["ood"]["sets"]["svhn"]["root"] == "/scratch/data"


def test_places_may_come_from_the_environment_and_overrides_are_kept_as_typed(monkeypatch, tmp_path):
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    weights = tmp_path / "w.safetensors"
    weights.touch()
    (config,) = compose(["runs=${oc.env:SCRATCH}/runs", "init=${oc.env:SCRATCH}/w.safetensors"])
    assert (config.runs, config.init) == (f"{tmp_path}/runs", str(weights))
    assert config.overrides == ["init=${oc.env:SCRATCH}/w.safetensors"]
    assert str(tmp_path) not in config.command


def test_a_variable_that_is_missing_is_said_to_be_so():
    with pytest.raises(UserError, match="NOT_SET_ANYWHERE"):
        compose(["runs=${oc.env:NOT_SET_ANYWHERE}"])
    assert compose(["runs=${oc.env:NOT_SET_ANYWHERE,elsewhere}"])[0].runs == "elsewhere"


def test_no_variable_of_the_environment_enters_a_frozen_config_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    (run,) = harness.plan("method=at", f"runs={tmp_path}")
    run.freeze()
    assert "hunter2" not in (run.folder / "config.yaml").read_text()
    assert load(run.folder).config == replace(run.config, runs=str(tmp_path))
