"""Adversarial images of a run are kept exactly, and a matrix says how each run classifies those of each."""

import csv
from dataclasses import replace

import pytest
import torch
from commandline import bare

import harness
from harness.core.errors import UserError
from harness.core.tensors import load_tensors, save_tensors
from harness.evaluation.metrics.robustness import Robustness
from harness.runs import build
from harness.runs.transfer import FOLDER, Matrix, transfer

CPU = torch.device("cpu")
EASY = ("protocol.metrics.robustness.eps=0.45", "+protocol.metrics.robustness.attacks=[apgd-ce]")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def runs(folder):
    """Two runs, weakly and well trained, with their records."""
    made = [
        harness.plan(*bare(method, steps), *EASY, f"runs={folder}")[0]
        for method, steps in (("standard", 150), ("at", 60))
    ]
    for run in made:
        harness.run(run)
    return made


@pytest.fixture
def counted(monkeypatch):
    """The shards that are attacked, as they are."""
    attacked, whole = [], Robustness.attack

    def attack(self, subject, shard):
        attacked.append(shard)
        return whole(self, subject, shard)

    monkeypatch.setattr(Robustness, "attack", attack)
    return attacked


def quiet(_):
    pass


def test_each_run_judges_the_images_of_each_and_the_diagonal_is_its_record(runs):
    found = transfer(runs, None, 20, quiet)
    (key,) = [key for key in harness.run(runs[0]).scores if key.startswith("robust_accuracy")]
    for place, run in enumerate(runs):
        record = harness.run(run)
        own, clean = found.rows[place][place], record.scores["clean_accuracy"]
        assert (own.value, own.n, own.low) == (record.scores[key].value, 20, record.scores[key].low)
        assert (found.clean[place].value, found.clean[place].n) == (clean.value, 20)

    # Beside the diagonal: the kept images of one, classified by the other.
    (model, other), (attacked, _) = ((build.evaluation(run, CPU).subject for run in runs) for _ in range(2))
    kept = images_of(runs[0])
    clean, labels = attacked.images("test", range(20))
    assert 0.44 < (kept - clean).flatten(1).norm(dim=1).max() <= 0.4501
    right = (other.model(kept).argmax(1) == labels).float().mean()
    assert found.rows[0][1].value == pytest.approx(100 * float(right))
    assert (model.model(kept).argmax(1) == labels).float().mean() < right, "they are made against the first"


def images_of(run):
    """The images in a run's folder."""
    files = sorted((run.folder / FOLDER).glob("*/*.safetensors"))
    assert files
    return torch.cat([load_tensors(file, CPU)["images"] for file in files])


def test_the_second_call_attacks_nothing_and_a_damaged_file_is_made_again(runs, counted, caplog):
    first = transfer(runs, None, 20, quiet)
    del counted[:]
    assert transfer(runs, None, 20, quiet) == first and not counted
    one, two = sorted((runs[0].folder / FOLDER).glob("*/*.safetensors"))
    one.write_bytes(one.read_bytes()[:-1])
    save_tensors(two, {"images": torch.full((10, 1, 8, 8), 2.0)})
    assert transfer(runs, None, 20, quiet) == first and counted == [0, 1]
    assert "made again" in caplog.text


def test_other_weights_are_attacked_anew(runs, counted, monkeypatch):
    transfer(runs, None, 20, quiet)
    del counted[:]
    monkeypatch.setattr(type(runs[0].stage_runs[0]), "weights", "0" * 64)
    transfer(runs, None, 20, quiet)
    assert len(counted) == 4


def test_images_that_break_more_than_the_own_attack_are_a_sign_of_masked_gradients(runs):
    found = transfer(runs, None, 20, quiet)
    own = found.rows[1][1]
    lower, within = (own.model_copy(update={"value": own.low + shift}) for shift in (-0.1, 0.1))
    assert found.masked == []
    assert Matrix(**vars(found) | {"rows": [[found.rows[0][0], within], found.rows[1]]}).masked == []
    told = Matrix(**vars(found) | {"rows": [[found.rows[0][0], lower], found.rows[1]]})
    assert told.masked == [(runs[0].name, runs[1].name)] or own.low == 0


def test_the_command_prints_and_writes_the_matrix(runs, folder, type_, tmp_path):
    names = [run.name for run in runs]
    status, out, err = type_("transfer", *names, f"runs={folder}", "n=10", "out=matrix.csv")
    assert status == 0, err
    assert "APGD-CE, L2 0.45, 10 test images" in out and f"A: {names[0]}" in out and "Written: matrix.csv" in out
    lines = [*csv.DictReader((tmp_path / "matrix.csv").open())]
    assert [(line["attacked"], line["judged"]) for line in lines] == [(a, j) for a in ("", *names) for j in names]
    assert {line["n"] for line in lines} == {"10"} and float(lines[0]["low"]) < float(lines[0]["accuracy"])
    for refused, reason in (
        ((names[0],), "2 to 26 different runs"),
        ((*names, "attack=square"), "has no attack square"),
        ((*names, "n=0"), "n must be 1"),
    ):
        status, _, err = type_("transfer", *refused, f"runs={folder}")
        assert status == 2 and reason in err


def test_runs_with_other_attacks_or_data_or_none_are_refused(runs, folder):
    first, second = runs
    config = second.config
    entry = config.protocol["metrics"]["robustness"]
    other = {**config.protocol, "metrics": {"robustness": {**entry, "eps": 0.2}}}
    with pytest.raises(UserError, match="have different attacks: name runs of one dataset"):
        transfer([first, replace(second, config=replace(config, protocol=other))], None, 20, quiet)
    with pytest.raises(UserError, match="have different data"):
        transfer([first, replace(second, config=replace(config, data={**config.data, "pad": 0}))], None, 20, quiet)
    with pytest.raises(UserError, match="GiB, and 4 is the most"):
        transfer(runs, None, 10**8, quiet)
    (untrained,) = harness.plan(*bare("at", 61), *EASY, f"runs={folder}")
    with pytest.raises(UserError, match="is not trained yet"):
        transfer([first, untrained], None, 20, quiet)
