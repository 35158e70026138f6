"""A value has one spelling in configs, however it is typed, so a run and a protocol have one name."""

from pathlib import Path

import hydra
import pytest
import yaml
from commandline import harness as command
from omegaconf import OmegaConf

import harness
from harness.core.errors import UserError
from harness.core.registry import configs
from harness.runs.compose import compose
from harness.runs.config import Config, config_of
from harness.runs.run import Run


def name(*overrides: str) -> str:
    (run,) = harness.plan("method=atjem", *overrides)
    return run.name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("method.joint.training.lr=1", "method.joint.training.lr=1.0"),
        ("method.joint.training.lr=1e-3", "method.joint.training.lr=0.001"),
        ("method.joint.training.epochs=2", "method.joint.training.epochs=2.0"),
        ("seed=1000", "seed=1e3"),
        ("seed=3", "seed='3'"),
        ("seed=10", "seed=010"),
        ("protocol.metrics.robustness.eps=1", "protocol.metrics.robustness.eps=1.0"),
        ("protocol.metrics.counterfactuals.radii=[1,2]", "protocol.metrics.counterfactuals.radii=[1.0,2.0]"),
        ("+protocol.metrics.accuracy2={metric: accuracy, split: test}",) * 2,
        ("+protocol.metrics.robustness.count=10", "+protocol.metrics.robustness.count=10.0"),
        ("customary.eps=1", "customary.eps=1.0"),
        ("method.joint.contrast.walk.clamp=yes", "method.joint.contrast.walk.clamp=true"),
        ("method.robust.training={lr: 1}", "method.robust.training.lr=1.0"),
    ],
)
def test_two_ways_to_type_a_value_name_one_run(one: str, other: str) -> None:
    assert name(one) == name(other)


def test_a_value_that_is_the_recipes_names_the_recipes_run() -> None:
    (config,) = compose(["method=atjem"])
    rate = config.method["joint"]["training"]["lr"]
    assert name(f"method.joint.training.lr={rate:.6e}") == name()


@pytest.mark.parametrize(
    ("typed", "field", "value"),
    [
        ("compile=no", "compile", False),
        ("compile=on", "compile", True),
        ("compile=walk", "compile", "walk"),
        ("retry=no", "retry", False),
        ("recompute=on", "recompute", True),
        ("tracking_model=off", "tracking_model", False),
        ("threads=1.0", "threads", 1),
        ("seed=1e3", "seed", 1000),
        ("runs=5", "runs", "5"),
        ("tracking=off", "tracking", "off"),
        ("device=cpu", "device", "cpu"),
    ],
)
def test_what_is_checked_is_what_is_used(typed: str, field: str, value: object) -> None:
    found = getattr(compose([typed])[0], field)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("seed=true", "a number is expected"),
        ("seed=1.5", "seed"),
        ("threads=1.5", "threads"),
        ("threads=true", "threads"),
        ("compile=2", "compile=2: true, walk or false is expected here"),
        ("compile=maybe", "true, walk or false is expected"),
        ("retry=walk", "retry=walk: true or false is expected here"),
        ("seed=first", "seed"),
        ("evaluators=0", "evaluators: Input should be greater than or equal to 1"),
        ("method=5", "method is chosen by its name"),
        ("launcher=0.5", "launcher is chosen by its name"),
        ("study=1", "study is chosen by its name"),
    ],
)
def test_what_means_nothing_is_refused(typed: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        compose([typed])


def test_a_folder_that_a_number_names_is_found_by_its_page(tmp_path: Path) -> None:
    (run,) = harness.plan("method=at", "seed=1e3", f"runs={tmp_path}")
    assert "-s1000-" in run.name


def local(folder: Path, text: str) -> list[str]:
    """Write a local yaml with this text; return the flags that read it."""
    (folder / "local").mkdir()
    (folder / "local" / "default.yaml").write_text(f"# @package _global_\n{text}\n")
    return [f"--config-dir={folder}"]


def test_off_is_understood_in_a_local_yaml(tmp_path: Path) -> None:
    assert compose(local(tmp_path, "tracking: off"))[0].tracking == "off"


@pytest.mark.parametrize("text", ["seed: 010", "study: {a: 007}", "extractors: {inception: null}\nseed: -012"])
def test_a_leading_zero_in_yaml_is_not_silently_octal(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"default\.yaml, line \d: .* octal"):
        compose(local(tmp_path, text))


@pytest.mark.parametrize("text", ['notes: {a: "010"}', "study: {a: 0.10}", "seed: 0", "# seed: 010\nseed: 1"])
def test_other_zeros_are_taken(text: str, tmp_path: Path) -> None:
    compose(local(tmp_path, text))


def test_no_yaml_of_ours_has_a_leading_zero() -> None:
    for path in configs("").rglob("*.yaml"):
        for event in yaml.parse(path.read_text()):
            assert not (isinstance(event, yaml.ScalarEvent) and event.implicit[0] and event.value[:2].isdigit()) or (
                not event.value.startswith("0") or event.value == "0"
            ), (path, event.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=at"],
        ["method=jem", "data=cifar10", "model=wrn", "outliers=noise", "protocol=quick"],
        ["model.width=9", "~outliers.seed", "+outliers.extra=[a, b]", "++model.width=8", "method.joint.bce=0.5"],
        ["~protocol.metrics.ood", "+protocol.metrics.more={metric: accuracy, split: test}", "model={width: 7}"],
        ["experiment=digits_stability", "method=at", "study.rate=3.0"],
    ],
)
def test_values_are_put_where_hydra_itself_puts_them(overrides: list[str]) -> None:
    mine = compose(["-m", *overrides])[0] if "experiment" in overrides[0] else compose(overrides)[0]
    more = ["study.step=1", "seed=0"] if "experiment" in overrides[0] else []
    with hydra.initialize_config_dir(str(configs("")), version_base="1.3"):
        theirs = OmegaConf.to_container(hydra.compose("config", [*overrides, *more]), resolve=True)
    assert {key: value for key, value in mine.mapping().items() if key in theirs} == theirs


def test_the_defaults_of_the_class_are_those_of_the_contents_page() -> None:
    page = yaml.safe_load((configs("") / "config.yaml").read_text())
    for key in page.keys() - {"defaults", "customary", "extractors", "walk_precision"}:
        assert Config.__dataclass_fields__[key].default in (page[key],) or page[key] == {}, key


def test_an_old_run_that_was_spelled_otherwise_is_found_by_its_folder(tmp_path: Path) -> None:
    (run,) = harness.plan("method=at", "method.robust.training.lr=1", f"runs={tmp_path / 'runs'}")
    config = run.config.mapping()
    config["method"]["robust"]["training"]["lr"] = 1  # as an older harness froze it
    old = Run(config_of(config))
    assert old.name != run.name
    old.freeze()
    status, told, _ = command("status", "all=true", folder=tmp_path)
    assert status == 0 and old.name in told
    assert harness.results(f"runs={tmp_path / 'runs'}").name.tolist() == [old.name]
