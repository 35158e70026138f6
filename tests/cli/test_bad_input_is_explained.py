"""Bad input gives one clear message with what to type next, exit status 2, no traceback, and writes nothing."""

import pytest
from commandline import harness

CASES = {
    "method=atjm": ["Did you mean atjem", "There are: at,"],
    "data=digit": ["no data called 'digit'", "Did you mean digits"],
    "method.joint.atack.eps=1": ["method.joint.atack", "method.joint.attack.eps"],
    "method.joint.attack.eps=-1": ["method.joint.attack", "eps must be above 0"],
    "method.joint.attack.steps=-1": ["method.joint.attack", "steps must be 0 or more"],
    "method.joint.training.batch=5000": ["batch=5000", "1257 images", "smaller"],
    "method.joint.training.lr=fast": ["method.joint.training.lr", "number", "'fast'"],
    "+method.joint.lr=1": ["method.joint.lr", "~method.joint.lr"],
    "model.norm=group": ["model.norm", "'batch' or 'none'"],
    "seed=first": ["seed", "integer", "'first'"],
    "threads=0": ["threads must be 1 or more"],
    "+colour=blue": ["colour", "~colour"],
    "model.mean=[0.5,0.5]": ["mean and std need one value per channel"],
    "~model.std": ["model.std", "missing"],
    "launcher=processes launcher.parallel=0": ["launcher", "parallel must be 1 or more"],
    "launcher.name=slrum": ["no launcher called 'slrum'"],
    "device=tpu": ["device=tpu", "device=cpu"],
    "hydra/launcher=submitit_slurm": ["launcher="],
    "stats": ["Did you mean status"],
    "-m seed=range(0,0)": ["sweep is empty", "seed=0,1,2"],
    "plan method=[": ["method=[", "key=value"],
    "status runs=nowhere": ["no folder of runs", "runs=FOLDER"],
    "cancel": ["no folder of runs", "runs=FOLDER"],
    "logs": ["logs RUN"],
    "logs at-digits": ["no run 'at-digits'"],
    "report runs=nowhere": ["runs=FOLDER"],
    "report -m seed=0,1": ["leave out -m"],
}


@pytest.mark.parametrize("arguments", CASES)
def test_the_message_says_what_is_wrong_and_what_to_type(arguments, type_, tmp_path):
    status, _, err = type_(*arguments.split())
    assert status == 2
    for part in CASES[arguments]:
        assert part in err
    assert list(tmp_path.iterdir()) == []


def test_a_process_ends_with_the_message_alone(tmp_path):
    status, out, err = harness("method=atjm", folder=tmp_path)
    assert (status, out) == (2, "") and err.startswith("There is no method called 'atjm'. Did you mean atjem")


def test_a_damaged_record_is_named(type_, tmp_path):
    folder = tmp_path / "runs" / "at-digits-s0-00000000"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "record.json").write_text('{"method": "at"')
    status, _, err = type_("sample", f"run={folder}")
    assert status == 2
    assert "record.json is not a readable record" in err
