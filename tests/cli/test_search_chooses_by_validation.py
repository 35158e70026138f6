"""A search tries values of its ranges in ordinary runs, chooses by validation images alone, and repeats itself."""

import shlex
from math import exp, log, log10
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from untrained import UNTRAINED

from harness.cli.search import passes
from harness.core.errors import UserError
from harness.core.registry import make, names
from harness.datasets.digits import Digits
from harness.evaluation.score import Score
from harness.runs import record
from harness.runs.compose import compose
from harness.runs.passes import network_passes
from harness.runs.run import Run
from harness.runs.search import Range, Search

POSITIVE = st.floats(1e-6, 1e6)
PART = st.floats(0, 1, exclude_max=True)
SMALL = (
    "search", "method=standard", "method.classify.training.epochs=30", "method.classify.training.batch=32",
    "budget=0.2", "data.test=20", "data.validation=70", "model.width=4", "outliers.count=200", "threads=1",
    "protocol.samples={count: 70, chunk: 35, seed: 0}", "protocol.metrics.fidelity.kid_subset=20",
    "protocol.metrics.robustness.count=10", "protocol.metrics.robustness.eps=3", "tracking=off",
)  # fmt: skip


@given(POSITIVE, st.floats(1.01, 100), PART)
def test_a_logarithmic_range_is_uniform_in_the_logarithm(low, ratio, u):
    value = Range(log=(low, low * ratio)).draw(u)
    assert log(value) == pytest.approx(log(low) + u * log(ratio), abs=0.006)  # three digits


@given(st.floats(-100, 100), st.floats(0.1, 100), PART)
def test_a_uniform_range_is_uniform(low, width, u):
    assert Range(uniform=(low, low + width)).draw(u) == pytest.approx(low + u * width, rel=0.006, abs=1e-6)


@given(POSITIVE, PART)
def test_multiples_are_those_of_the_recipes_value(own, u):
    assert Range(times=(0.5, 2)).draw(u, own) == pytest.approx(own * exp((2 * u - 1) * log(2)), rel=0.006)
    assert Range(times=(0.5, 2)).draw(u, 8) in range(4, 17)


@pytest.mark.parametrize("kind", ["log", "uniform"])
def test_whole_bounds_give_each_whole_number(kind):
    drawn = [Range(**{kind: (2, 5)}).draw(i / 1000) for i in range(1000)]
    assert set(drawn) == {2, 3, 4, 5} and all(isinstance(value, int) for value in drawn)
    assert kind == "log" or {drawn.count(value) for value in (2, 3, 4, 5)} == {250}


def test_a_choice_gives_each_of_its_values_as_often():
    drawn = [Range(choice=("a", False, 0.5)).draw(i / 300) for i in range(300)]
    assert [drawn.count(value) for value in ("a", False, 0.5)] == [100, 100, 100]


@pytest.mark.parametrize(
    "wrong",
    [{}, {"log": [1, 2], "choice": [1]}, {"log": [0, 1]}, {"times": [-1, 1]}, {"uniform": [2, 2]}, {"choice": []}],
)
def test_a_range_that_is_none_is_refused(wrong):
    with pytest.raises(UserError, match=r"x\.yaml\.fields"):
        make(Search, "x.yaml", {"fields": {"method.energy.sigma": wrong}})


@pytest.fixture(scope="module")
def jem():
    (config,) = compose(["method=jem"])
    return config


def test_a_value_is_given_by_its_seed_field_and_trial_alone(jem):
    ranges = {"method.energy.sigma": Range(uniform=(0.0, 1.0)), "method.energy.px": Range(uniform=(0.0, 1.0))}
    both, one = Search(ranges), Search({"method.energy.px": ranges["method.energy.px"]}, trials=9)
    values = [both.values(trial, jem) for trial in range(5)]
    assert values[0] == {}
    assert [value["method.energy.px"] for value in values[1:]] == [
        one.values(trial, jem)["method.energy.px"] for trial in range(1, 5)
    ]
    assert len({value for trial in values for value in trial.values()}) == 8
    assert Search(ranges, seed=1).values(1, jem) != values[1]


@pytest.mark.parametrize("key", ["method.energy.training.lrr", "outliers", "ablation"])
@pytest.mark.parametrize("trial", [0, 1])
def test_a_field_that_is_no_value_of_the_config_is_refused_before_any_training(jem, key, trial):
    with pytest.raises(UserError, match=rf"no single value {key}.*--cfg job"):
        Search({key: Range(choice=("noise",))}).values(trial, jem)


def test_there_are_no_multiples_of_zero(jem):
    with pytest.raises(UserError, match=r"method\.energy\.training\.weight_decay is 0"):
        Search({"method.energy.training.weight_decay": Range(times=(0.5, 2))}).values(1, jem)


def test_the_objective_is_percentages_and_decimal_logarithms():
    fields = {"n": 10, "title": "x"}
    scores = {
        "clean": Score(value=90, unit="%", better="higher", **fields),
        "fd": Score(value=5, better="lower", **fields),
        "is": Score(value=8, better="higher", **fields),
    }
    search = Search({"seed": Range(choice=(1,))}, {"accuracy": 0.5, "fidelity": 10, "inception": 2})
    keys = {"accuracy": "clean", "fidelity": "fd", "inception": "is"}
    expected = pytest.approx(45 - 10 * log10(5) + 2 * log10(8))
    assert search.objective_of(scores, keys) == expected
    # A net that draws random numbers is attacked otherwise, and its score is named so.
    scores["clean_rand"] = scores.pop("clean")
    assert search.objective_of(scores, keys) == expected


def test_every_method_that_trains_has_a_search():
    assert names("search").keys() == names("method").keys() - UNTRAINED


@pytest.mark.parametrize("data", ["digits", "cifar10"])
@pytest.mark.parametrize("name", names("search"))
def test_a_search_names_fields_of_its_method_and_values_that_it_takes(name, data):
    content = yaml.safe_load((Path(__file__).parents[2] / "configs" / "search" / f"{name}.yaml").read_text())
    search, words = make(Search, name, content), [f"method={name}", f"data={data}", "protocol=search"]
    (base,) = compose(words)
    drawn = [f"{key}={value}" for key, value in search.values(1, base).items()]
    (config,) = compose([*words, *drawn])
    assert Run(config).method.stages and config.overrides == drawn
    assert Run(config).series != Run(base).series


@pytest.mark.parametrize("protocol", ["quick", "digits"])
def test_a_protocol_of_test_images_is_refused(protocol, type_, tmp_path):
    status, _, err = type_("search", "method=standard", f"protocol={protocol}", f"runs={tmp_path / 'runs'}")
    assert status == 2 and "test images" in err and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["method=pretrained"], "search=FILE.yaml"),
        (["method=jem", "search=jme"], "Did you mean jem"),
        (["method=jem", "trials=0"], "trials must be 1 or more"),
        (["-m", "method=jem,at"], "takes no sweep"),
    ],
)
def test_bad_input_is_explained(words, hint, type_):
    status, _, err = type_("search", *words)
    assert status == 2 and hint in err


@pytest.fixture(scope="module")
def hidden():
    """Digits whose test images cannot be read."""
    with pytest.MonkeyPatch.context() as patch:
        view = Digits.view

        def validation_or_train(data, split, branch):
            assert split != "test", "a search must leave the test images alone"
            return view(data, split, branch)

        patch.setattr(Digits, "view", validation_or_train)
        patch.setattr("harness.runs.execute.data_digests", lambda *given: {})
        yield


def test_a_search_is_chosen_repeated_and_continued(hidden, type_, tmp_path):
    where = [f"runs={tmp_path / 'runs'}", f"reports={tmp_path / 'reports'}"]
    status, text, err = type_(*SMALL, *where, "trials=2")
    assert status == 0, err
    path = tmp_path / "reports" / "searches" / "standard_digits.yaml"
    first = path.read_text()
    log = yaml.safe_load(first)
    assert log["splits"] == ["train", "validation"] and log["budget"] == 0.2

    # The best is that of the highest objective, from the records and by hand.
    def by_hand(trial):
        scores = record.read(tmp_path / "runs" / trial["run"] / "record.json").scores
        fd = next(score.value for key, score in scores.items() if key.startswith("fd"))
        return scores["clean_accuracy"].value + scores["robust_accuracy/l2_3_apgd-ce"].value - 10 * log10(fd)

    worth = [by_hand(trial) for trial in log["trials"]]
    assert [trial["objective"] for trial in log["trials"]] == pytest.approx(worth, abs=1e-3)
    assert log["chosen"] == worth.index(max(worth))
    assert log["trials"][0]["values"]["method.classify.training.lr"] == 0.05  # the recipe's

    # The lines at the end are those of the best trial, and a recipe takes them.
    lines = yaml.safe_load(text[text.index("\nmethod:") :])
    assert (
        lines["method"]["classify"]["training"]["lr"]
        == (log["trials"][log["chosen"]]["values"]["method.classify.training.lr"])
    )
    (choice,) = lines["selection"].values()
    assert choice["split"] == ["train", "validation"] and "standard_digits.yaml" in choice["by"]

    # Again it trains nothing; with more trials it goes on from these.
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "stages").glob("*/done.json")}
    assert type_(*SMALL, *where, "trials=2")[0] == 0 and path.read_text() == first
    assert type_(*SMALL, *where, "trials=3")[0] == 0
    assert yaml.safe_load(path.read_text())["trials"][:2] == log["trials"]
    assert len(weights) == 2 and all(path.stat().st_mtime_ns == at for path, at in weights.items())


@pytest.mark.parametrize("method", ["jem", "jempp", "generative", "at"])
def test_the_epochs_that_it_names_make_as_many_passes_as_atjem(method):
    base = Run(compose([f"method={method}"])[0])
    _, line = passes(base, [f"method={method}", "data=digits"])
    words = shlex.split(line.removeprefix("For as many as atjem: "))
    longer, goal = (Run(compose([f"method={name}", *more])[0]) for name, more in ((method, words), ("atjem", [])))
    assert sum(network_passes(longer).values()) == pytest.approx(sum(network_passes(goal).values()), rel=0.01)
    # Milestones keep their places in the training, and are named only where the schedule has them.
    how, before = (list(run.method.stages.values())[-1].training for run in (longer, base))
    assert any("milestones" in word for word in words) is (method == "jempp")
    if method == "jempp":
        places = [milestone / before.epochs for milestone in before.milestones]
        assert [milestone / how.epochs for milestone in how.milestones] == pytest.approx(places, rel=0.01)


def test_a_method_that_is_atjem_has_nothing_to_match():
    assert len(list(passes(Run(compose(["method=atjem"])[0]), []))) == 1
