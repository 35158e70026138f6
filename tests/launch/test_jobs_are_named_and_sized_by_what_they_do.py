"""A job's name says method, data and seed; its resources depend on method and stage, its time limit on a forecast."""

import re
from pathlib import Path

import pytest

from harness.core.errors import UserError
from harness.launch import queue as slurm
from harness.launch.jobs import Job
from harness.launch.launchers import launcher
from harness.launch.show import Show
from harness.launch.slurm import _title
from harness.runs import pace


def submit(runs):
    launcher(runs[0].config).run(runs, None, Show())


def option(script, name):
    return re.findall(rf"^#SBATCH --{name}=(.*)$", script, re.M)


def title(script):
    (name,) = option(script, "job-name")
    text, _, key = name.rpartition(f"-{slurm.NAMES}")
    assert re.fullmatch("[0-9a-f]{8}", key), name
    return text


@pytest.mark.parametrize(
    ("folders", "name"),
    [
        (["standard-digits-s-7-0123abcd"], "standard-digits-s-7"),
        (["at-digits-s0-0123abcd", "at-digits-s1-4567abcd", "jem-digits-s0-89abcdef"], "at+jem-digits-s0+s1"),
        ([f"at-cifar10-s{seed}-0123abcd" for seed in range(9)], "at-cifar10-s0+8more"),
        ([f"{'a' * 60}-{'b' * 60}-s0-0123abcd"], f"{'a' * 60}-{'b' * 39}"),
    ],
)
def test_a_name_says_method_data_and_seed(folders, name):
    assert _title([Job(None, Path("runs", folder), []) for folder in folders]) == name


def test_jobs_of_older_versions_are_known(cluster):
    cluster.queue(["harness-1ee43284|0|7_0|RUNNING|None", f"{100 * 'x'}-harness-1ee43284|0|8|RUNNING|None"])
    cluster.queue([*cluster.queued, "somebody-harness-1ee43284x|0|9|RUNNING|None", "other|harness-1ee43284|1|R|N|N"])
    assert {job.id for job in slurm.queue().values()} == {"7_0", "8"}


def test_resources_follow_method_and_stage(cluster, sweep):
    per_method, per_stage = "+launcher.per_method={jem: {gpus: 4}}", "+launcher.per_stage={robust: {minutes: 60}}"
    submit(sweep("method=at,atjem,jem", per_method, per_stage))
    asked = {title(script): [*option(script, "time"), *option(script, "gpus-per-node")] for script in cluster.scripts}
    assert asked == {
        "robust-digits-s0": ["60", "1"],
        "jem-digits-s0": ["1440", "4"],
        "at+atjem-digits-s0": ["1440", "1"],
    }


def test_a_run_counts_the_processes_of_its_method(sweep):
    at, jem = sweep("method=at,jem", "+launcher.per_method={jem: {gpus: 4}}")
    assert (launcher(at.config).size, launcher(jem.config).size) == (1, 4)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("{jam: {gpus: 4}}", "no method called 'jam'.*jem"),
        ("{at: {gpu: 4}}", r"launcher\.per_method\.at\.gpu: there is no such field"),
        ("{at: {gpus: -1}}", r"launcher\.per_method\.at\.gpus"),
        ("{at: 4}", r"launcher\.per_method\.at"),
    ],
)
def test_a_wrong_resource_is_explained(wrong, words, sweep):
    with pytest.raises(UserError, match=words):
        sweep("method=at", f"+launcher.per_method={wrong}")


def test_a_time_limit_is_a_multiple_of_the_forecast(cluster, sweep, tmp_path):
    runs = sweep("method=at,atjem,jem", "launcher.margin=2")

    def know(seconds, key, n=1):
        folder = tmp_path / "runs" / "stages" / f"of-{key}"
        took = {"seconds_per_step" if n > 1 else "seconds": seconds / n}
        pace.write_json(folder / "pace.json", {"key": key, "device": "a GPU", "processes": 1, **took})

    # The stage that at and atjem share takes 2 hours; at is then evaluated for 3. Of the others too little is known.
    at, _, jem = runs
    know(7200, pace.stage_key(at, at.stage_runs[0]), pace.steps_left(at, at.stage_runs[0]))
    know(10_800, pace.evaluation_key(at))
    know(60, pace.evaluation_key(jem))
    submit(runs)
    limits = {title(script): option(script, "time") for script in cluster.scripts}
    assert limits == {
        "robust-digits-s0": ["260"],  # 2 x 120, and 2 for the signal: 250, and 10
        "at-digits-s0": ["380"],
        "atjem-digits-s0": ["1440"],
        "jem-digits-s0": ["1440"],
    }
    cluster.queue([])
    submit(sweep("method=at", "launcher.margin=2", "launcher.minutes=300"))
    assert option(cluster.scripts[-1], "time") == ["300"]


def test_python_and_srun_are_those_of_the_yaml(cluster, sweep):
    python = "apptainer exec --nv /shared/harness.sif python"
    given = [f"launcher.python='{python}'", "launcher.srun=['--container-image=/shared/harness.sqsh']"]
    submit(sweep("method=standard", *given))
    (script,) = cluster.scripts
    (line,) = [line for line in script.splitlines() if line.startswith("srun")]
    assert " --container-image=/shared/harness.sqsh " in line
    assert f" {python} -u -m submitit.core._submit " in line
