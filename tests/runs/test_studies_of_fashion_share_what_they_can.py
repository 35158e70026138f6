"""The studies of Fashion-MNIST hold every method once, and share first stages wherever nothing before them differs."""

from untrained import UNTRAINED

from harness.core.registry import names
from harness.runs.compose import compose
from harness.runs.passes import network_passes
from harness.runs.run import Run


def runs(study):
    """The runs of a study, under a protocol that any checkout has."""
    return [Run(config) for config in compose([f"experiment={study}", "protocol=quick"])]


def test_core_all_and_newer_hold_every_method_that_trains():
    core, rest = runs("fashion_core"), [*runs("fashion_all"), *runs("fashion_newer")]
    methods = [run.config.method["name"] for run in (*core, *rest) if run.config.seed == 0]
    assert sorted(methods) == sorted(names("method").keys() - UNTRAINED)
    assert len({run.fingerprint for run in core}) == len(core) == 12 and len(rest) == 12
    shared = {run.stage_runs[0].fingerprint for run in core if run.config.method["name"] in ("atjem", "generative")}
    assert len(shared) == 3, "one first stage for each seed"


def test_the_ablation_exchanges_parts_from_the_same_start():
    study = runs("fashion_ablation")
    assert len({run.fingerprint for run in study}) == 20 and {run.config.budget for run in study} == {0.25}
    labels = [run.config.overrides[0].removeprefix("ablation=") for run in study if run.config.seed == 0]
    assert sorted(labels) == sorted({*names("ablation"), "budget=0.25"} - {"none", "scratch"})
    starts = {run.stage_runs[0].fingerprint for run in study if run.config.seed == 0}
    assert len(starts) == 2, "only other augmentation needs another first stage"


def test_all_rows_of_the_matched_table_make_as_many_passes():
    settings = ["data=fashion_mnist", "protocol=quick", "budget=0.25"]
    choices = (["experiment=fashion_matched", "protocol=quick"], ["method=jem", *settings], ["method=atjem", *settings])
    made = [sum(network_passes(Run(config)).values()) for choice in choices for config in compose(choice)]
    assert len(made) == 4 + 2
    assert min(made) > 0.95 * max(made)


def test_from_scratch_there_is_one_stage_and_the_budget_that_is_given():
    first, _ = [
        Run(c) for c in compose(["experiment=fashion_ablation", "protocol=quick", "ablation=scratch", "budget=1"])
    ]
    assert list(first.method.stages) == ["joint"] and first.config.overrides == ["ablation=scratch"]
    assert not first.method.stages["joint"].training.freeze_norm
