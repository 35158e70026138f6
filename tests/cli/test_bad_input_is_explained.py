"""Bad input gives one clear message with what to type next, exit status 2, no traceback, and writes nothing."""

import shlex
import tracemalloc

import pytest
from commandline import METRICS, harness

from harness.core.errors import UserError
from harness.runs.compose import compose

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
    "threads=0": ["threads", "greater than or equal to 1"],
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
    # Choices that are no names, and parts that are gone.
    "method=5": ["method=5", "chosen by its name"],
    "data=1.5": ["data=1.5", "chosen by its name"],
    "launcher=0.5": ["launcher=0.5", "chosen by its name"],
    "method=null": ["method=null"],
    "~protocol": ["protocol", "missing"],
    "~method": ["method"],
    "~method.name": ["method", "name"],
    "~launcher.name": ["launcher", "name"],
    "~protocol.id": ["protocol.id", "missing"],
    "~protocol.metrics": ["protocol.metrics", "missing"],
    # Values where fields are expected, and the other way round.
    "protocol.metrics.ood=x": ["protocol.metrics.ood", "'x'"],
    "protocol.metrics.ood.sets.noise=5": ["protocol.metrics.ood.sets.noise", "5"],
    "protocol.samples=yes": ["protocol.samples", "'yes'"],
    "~method.joint.training.betas.0": ["method.joint.training.betas", "list"],
    "protocol.selection=5": ["protocol.selection", "5"],
    "model.name=[a]": ["model", "name", "text"],
    "method.joint=5": ["method.joint", "5"],
    "init=2": ["init", "string"],
    "runs=[/bold]": ["runs", "string"],
    # Numbers that are none, or too large for anything.
    f"seed={'9' * 5000}": ["seed=999", "digits"],
    "seed=1e30": ["seed", "64-bit number"],
    "-m seed=range(0,10,0)": ["seed=range(0,10,0)", "zero"],
    "-m seed=range(0,1e9)": ["more than 10,000 runs"],
    "threads=99999999999": ["threads", "1024"],
    "workers=1000000": ["workers", "1024"],
    "evaluators=1000000": ["evaluators", "1024"],
    "launcher=processes launcher.parallel=1000000": ["launcher", "parallel", "1,024"],
    "data.split_seed=-1": ["data.split_seed", "-1"],
    "protocol.metrics.fidelity.seed=-1": ["protocol.metrics.fidelity.seed", "-1"],
    "model.width=1000000000": ["model", "1000000000"],
    "model.width=200000": ["memory", "model"],
    "data.pad=1000": ["data", "pad", "1000"],
    "outliers.count=1e12": ["outliers", "count"],
    "outliers.grid=1e9": ["outliers", "grid"],
    "protocol.metrics.calibration.bins=1e9": ["bins=1000000000", "360 images"],
    "protocol.metrics.ood.pgd.steps=1e12": ["protocol.metrics.ood.pgd", "1,000,000"],
    "protocol.selection.factors=[1,1e9]": ["protocol.selection", "1,000,000"],
    "protocol.metrics.fidelity.kid_subset=1e20": ["kid_subset", "64-bit number"],
    "method.joint.training.real_batch=1e9": ["real_batch=1000000000", "1257 images"],
    "method.joint.training.epochs=1e300": ["method.joint.training", "epochs"],
    "method.joint.attack.steps=1e12": ["method.joint.attack", "steps"],
    # Numbers that are not finite, or out of their range.
    "method.joint.training.epochs=inf": ["method.joint.training.epochs", "finite", "inf"],
    "method.joint.training.lr=inf": ["method.joint.training.lr", "finite"],
    "method.joint.training.weight_decay=nan": ["method.joint.training.weight_decay", "finite"],
    "method.joint.training.momentum=-1": ["method.joint.training", "momentum"],
    "method.joint.training.betas=[2,-1]": ["method.joint.training", "betas"],
    "method.joint.training.gamma=-1": ["method.joint.training", "gamma"],
    "method.joint.r1=-1": ["method.joint.r1", "greater than or equal to 0"],
    "method.joint.attack.eps=inf": ["method.joint.attack.eps", "finite"],
    "model.mean=[nan]": ["model.mean.0", "finite"],
    "model.std=[1e-30]": ["model", "std"],
    "+study.a=nan": ["study.a", "finite"],
    "+expected.x=[1,inf]": ["expected.x.1", "finite"],
    "checkpoint_seconds=nan": ["checkpoint_seconds", "finite"],
    # Empty texts, and devices and places that cannot be.
    "runs=": ["runs", "at least 1 character"],
    "reports=": ["reports", "at least 1 character"],
    "init=": ["init", "at least 1 character"],
    "device=meta": ["device=meta", "device=cpu"],
    "device=cpu:7": ["device=cpu:7", "one device", "device=cpu"],
    " ".join(f"~protocol.metrics.{metric}" for metric in ("accuracy", "robustness", *METRICS)): [
        "nothing would be evaluated"
    ],
    "runs=/dev/null": ["runs=/dev/null", "is not a folder", "runs=FOLDER"],
    f"runs={'k' * 5000}": ["runs", "this path is too long"],
    f"init={'k' * 300}": ["init", "this path is too long"],
    f"device={'k' * 100_000}": ["device=kkk", "device=cpu"],
    f"logs {'k' * 5000}": ["long"],
    # Hydra's own, and keys that nobody has.
    "--hydra-help": ["--hydra-help", "flags are"],
    "--cfg all": ["--cfg", "job"],
    "hydra.run.dir=x": ["hydra.run.dir=x", "launcher="],
    f"{'k' * 100_000}=1": ["100,000 letters"],
    f"method={'k' * 100_000}": ["method=kkk"],
    f"method={'[' * 300}": ["method=[["],
    "+init_digest=abc": ["init=PATH"],
    # bench looks at the same.
    "bench method.joint.training.lr=inf": ["method.joint.training.lr", "finite"],
    "bench protocol.metrics.calibration.bins=0": ["bins must be 1 or more"],
    "bench evaluators=0": ["evaluators"],
    "bench ~protocol.id": ["protocol.id", "missing"],
    "bench rounds=inf": ["rounds"],
}


@pytest.mark.parametrize("arguments", CASES, ids=lambda arguments: arguments[:60])
def test_the_message_says_what_is_wrong_and_what_to_type(arguments, type_, tmp_path):
    status, _, err = type_(*arguments.split())
    assert len(err) < 2000
    assert status == 2
    for part in CASES[arguments]:
        assert part in err
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_is_too_large_is_not_made_to_be_counted():
    tracemalloc.start()
    with pytest.raises(UserError, match="more than 10,000 runs"):
        compose(["-m", "seed=shuffle(range(0,2000000))"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
    assert len(compose(["-m", "seed=shuffle(range(0,7))"])) == 7


def test_processes_that_cannot_share_memory_are_refused_before_training(type_, tmp_path, monkeypatch):
    def fail():
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multiprocessing.Semaphore", fail)
    status, _, err = type_("method=standard", "workers=2")
    assert status == 2 and list(tmp_path.iterdir()) == []
    for part in ("/dev/shm", "No space left", "workers=N", "workers=0"):
        assert part in err


def test_a_value_that_must_be_quoted_is_shown_so(type_, tmp_path):
    status, _, err = type_("init=epoch=3-val_acc=0.93.safetensors")
    assert status == 2 and err.endswith("""'init="epoch=3-val_acc=0.93.safetensors"'\n""")
    # Pasted as it is shown, it is understood: only the file is missing.
    pasted = shlex.split(err.split()[-1])
    status, _, err = type_(*pasted)
    assert status == 2 and "init=epoch=3-val_acc=0.93.safetensors: there is no such file" in err


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
