"""budget=0.1 trains a tenth as long: epochs, milestones and warm-up of every stage, as part of a run's identity."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import harness
from harness.cli.tables import runs_table
from harness.core.errors import UserError
from harness.core.optim import Training, scaled
from harness.core.registry import names
from harness.reports.series import label
from harness.runs.compose import compose
from harness.runs.row import row_of
from harness.runs.run import Run, load

RECIPES = [recipe.partition("_") for recipe in names("recipe")]


def trainings(run: Run) -> dict[str, Training]:
    return {name: stage.training for name, stage in run.method.stages.items()}


@pytest.mark.parametrize(("method", "_", "data"), RECIPES)
def test_every_stage_of_every_recipe_is_a_tenth_as_long(method: str, _: str, data: str) -> None:
    whole, cut = map(Run, compose(["-m", f"method={method}", f"data={data}", "budget=1,0.1"]))
    assert trainings(whole).keys() == trainings(cut).keys() != set()
    for long, short in zip(trainings(whole).values(), trainings(cut).values(), strict=True):
        assert short.epochs == pytest.approx(long.epochs / 10)
        assert short.milestones == pytest.approx([milestone / 10 for milestone in long.milestones])
        assert abs(short.warmup - long.warmup / 10) <= 0.5
        rest = ("epochs", "milestones", "warmup")
        assert {key: value for key, value in vars(short).items() if key not in rest} == {
            key: value for key, value in vars(long).items() if key not in rest
        }


@given(st.floats(1e-6, 100), st.floats(0.1, 0.9), st.floats(1, 300), st.integers(1, 10_000))
def test_the_rate_falls_at_the_same_share_of_a_training(
    budget: float, share: float, epochs: float, images: int
) -> None:
    milestones = (share * epochs,)
    how = Training(epochs, 32, "sgd", 1.0, schedule="step", milestones=milestones, gamma=0.5, warmup=0)
    cut = scaled(how, budget)
    steps = cut.steps(images)
    assert steps >= 1
    rates = [cut.rate(step, steps) for step in (0, steps - 1)]
    at = share * steps
    assert rates[0] == 1.0
    assert abs(at - (steps - 1)) < 1e-6 or rates[1] == (0.5 if steps - 1 > at else 1.0)


def test_a_budget_is_part_of_the_identity_and_one_is_none() -> None:
    whole, one, cut = (Run(compose(["method=jem", *more])[0]) for more in ([], ["budget=1.0"], ["budget=0.1"]))
    assert whole.name == one.name != cut.name and whole.series != cut.series
    assert "budget" not in whole.identity and cut.identity["budget"] == 0.1
    assert whole.stage_runs[0].fingerprint != cut.stage_runs[0].fingerprint


def test_methods_of_one_budget_share_their_first_stage() -> None:
    first = {harness.plan(f"method={method}", "budget=0.1")[0].stage_runs[0].folder for method in ("at", "atjem")}
    assert len(first) == 1


@pytest.mark.parametrize("value", ["0", "-0.1", "100.5", "1e-400", "nan", "true", "long"])
def test_what_is_no_budget_is_refused(value: str) -> None:
    with pytest.raises(UserError, match="budget"):
        harness.plan("method=at", f"budget={value}")


def test_a_training_that_would_be_too_long_is_refused() -> None:
    with pytest.raises(UserError, match="budget=100: epochs must be at most"):
        harness.plan("method=at", "budget=100", "method.robust.training.epochs=20000")


def test_a_budget_of_an_experiment_is_shown_too(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "short.yaml").write_text("# @package _global_\nbudget: 0.25\n")
    (config,) = compose(["method=at", "experiment=short", f"--config-dir={tmp_path}"])
    assert config.budget == 0.25 and config.overrides == ["budget=0.25"]


def test_plan_status_and_tables_show_it(tmp_path: Path, type_) -> None:
    typed = ("method=standard", "budget=0.001", "threads=1", "tracking=off", f"runs={tmp_path}")
    small = ("protocol=digits_stability", "method.classify.training.epochs=1000")
    (run,) = harness.plan(*typed, *small)
    assert "standard, budget 0.001" in [str(cell) for cell in runs_table([run]).columns[1].cells]
    record = harness.run(run)
    assert record.cost is not None and [stage.steps for stage in record.cost.stages] == [round(1257 / 128)]
    assert label(row_of(run.folder)) == f"Standard ({small[1]} budget=0.001)"
    status, told, _ = type_("status", f"runs={tmp_path}", "all=true")
    assert status == 0 and "budget=0.001" in told
    assert load(run.folder).config.budget == 0.001 and load(run.folder).name == run.name
