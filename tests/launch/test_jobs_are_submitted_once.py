"""The rest of a sweep is submitted only once, noted beforehand, after its stages, despite kills and repetition."""

import re
import subprocess
import sys

import pytest
from commandline import quick

import harness
from harness.cli.bars import Terminal
from harness.core.errors import UserError
from harness.launch import queue as slurm
from harness.launch.launchers import launcher


def submit(runs):
    launcher(runs[0].config).run(runs, None, Terminal())


def test_runs_are_one_array_noted_before_it_is_submitted(cluster, sweep):
    runs = sweep(*quick("standard"), "seed=0,1,2")
    submit(runs)
    (script,) = cluster.scripts
    assert "--array=0-2%3" in script and "--dependency" not in script
    assert cluster.noted(101) == sorted(run.folder.name for run in runs)
    queue = slurm.queue()
    assert [slurm.find(run.folder, queue).id for run in runs] == ["101_0", "101_1", "101_2"]


def test_shared_stages_are_jobs_that_their_runs_wait_for(cluster, sweep):
    submit(sweep("method=at,atjem,generative,jem", "seed=0,1"))
    first, *rest = cluster.scripts
    assert "--array=0-3" in first and "--dependency" not in first  # two shared stages, two runs of jem
    assert sorted(re.findall("dependency=(.*)", "".join(rest))) == ["afterany:101_0", "afterany:101_1"]
    assert all("--array=0-2" in script for script in rest)


def test_a_later_sweep_waits_for_a_stage_that_is_queued_already(cluster, sweep):
    submit(sweep("method=at,generative"))
    submit(sweep("method=atjem"))
    assert len(cluster.scripts) == 3
    assert "--dependency=afterany:101\n" in cluster.scripts[2]


def test_what_is_queued_runs_or_is_done_is_left_alone(cluster, sweep, capsys):
    runs = sweep(*quick("standard"), "seed=0,1")
    submit(runs)
    before = {run.name: (run.folder / "config.yaml").stat().st_mtime_ns for run in runs}
    cluster.queue(
        [line.replace("PENDING|Priority", "RUNNING|None") for line in cluster.queued[:1]] + cluster.queued[1:]
    )
    submit(runs)
    assert len(cluster.scripts) == 1
    assert {run.name: (run.folder / "config.yaml").stat().st_mtime_ns for run in runs} == before
    said = capsys.readouterr().out
    assert f"not submitted {runs[0].name}: running as 101_0" in said
    assert f"not submitted {runs[1].name}: pending as 101_1 (Priority)" in said
    assert "release" not in said


def test_a_job_that_slurm_holds_for_good_is_left_alone_with_the_way_out(cluster, sweep, capsys):
    runs = sweep(*quick("standard"))
    submit(runs)
    cluster.queue([re.sub("None$", slurm.HELD, line) for line in cluster.queued])
    submit(runs)
    said = capsys.readouterr().out
    assert f"pending as 101 ({slurm.HELD}); `scontrol release 101` releases it" in " ".join(said.split())


def test_a_run_whose_job_is_gone_is_submitted_again(cluster, sweep):
    runs = sweep(*quick("standard"), "seed=0,1")
    submit(runs)
    cluster.queue(cluster.queued[1:])
    submit(runs)
    assert len(cluster.scripts) == 2 and "--array" not in cluster.scripts[1]
    assert slurm.find(runs[0].folder, slurm.queue()).id == "102"
    assert slurm.find(runs[1].folder, slurm.queue()).id == "101_1"


def test_failed_runs_are_listed_and_retried_when_asked(cluster, sweep, capsys):
    runs = sweep(*quick("standard"))
    submit(runs)
    cluster.queue([])
    (runs[0].folder / "failure.md").write_text("# it failed\n\nwhy\n")
    submit(runs)
    assert len(cluster.scripts) == 1
    assert "failed" in (said := capsys.readouterr().out) and "retry=true" in said
    submit(sweep(*quick("standard"), "retry=true"))
    assert len(cluster.scripts) == 2


def test_nothing_is_written_while_slurm_does_not_answer(cluster, sweep):
    runs = sweep(*quick("standard"))
    cluster.put("down", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n")
    with pytest.raises(UserError, match="Unable to contact slurm controller"):
        submit(runs)
    assert runs[0].state == "new"


def test_what_slurm_refuses_is_told_in_its_words_and_submitted_once_mended(cluster, sweep):
    runs = sweep(*quick("standard"))
    cluster.put("refused", "sbatch: error: invalid partition specified: gpu\n")
    with pytest.raises(UserError, match="invalid partition specified: gpu"):
        submit(runs)
    (cluster.folder / "refused").unlink()
    submit(runs)
    assert len(cluster.scripts) == 1


@pytest.mark.parametrize("killed", ["killer", "killer_after"])
def test_a_command_killed_at_sbatch_is_typed_again(killed, cluster, sweep, tmp_path):
    cluster.put(killed)
    overrides = [*quick("standard"), "launcher=slurm", f"runs={tmp_path / 'runs'}"]
    code = (
        "import sys, harness; from harness.launch.launchers import launcher; from harness.launch.show import Show\n"
        "runs = harness.plan(*sys.argv[1:]); launcher(runs[0].config).run(runs, None, Show())"
    )
    command = [sys.executable, "-c", code, *overrides]
    assert subprocess.run(command, capture_output=True).returncode == -9
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert len(cluster.queued) == 1


def test_two_commands_at_once_submit_once(cluster, tmp_path):
    overrides = [*quick("standard"), "seed=0,1", "launcher=slurm", f"runs={tmp_path / 'runs'}"]
    command = [sys.executable, "-m", "harness", "-m", *overrides]
    cluster.put("meeting")
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=200)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len(cluster.scripts) == 1
    assert sorted(text.count("not submitted") for text in said) == [0, 2]


def test_the_fields_of_a_cluster_reach_sbatch(cluster, sweep):
    fields = {
        "partition": "gpu", "account": "lab", "qos": "long", "constraint": "a100", "nodes": "2", "gpus": "4",
        "cpus": "8", "memory_gb": "64", "minutes": "90", "signal_seconds": "30", "setup": "[module load cuda]",
    }  # fmt: skip
    given = [f"launcher.{key}={value}" for key, value in fields.items()]
    submit(sweep(*quick("standard"), *given, "+launcher.extra.exclude=n7"))
    (script,) = cluster.scripts
    for option in (
        "partition=gpu", "account=lab", "qos=long", "constraint=a100", "nodes=2", "gpus-per-node=4",
        "ntasks-per-node=4", "cpus-per-task=8", "mem=64GB", "time=90", "signal=USR2@30", "exclude=n7", "requeue",
    ):  # fmt: skip
        assert f"#SBATCH --{option}\n" in script, option
    assert script.index("module load cuda") < script.index("export PYTHONPATH=")


def test_a_wrong_field_is_explained(sweep):
    for wrong, words in (
        ("minutes=0", "launcher.minutes.*greater than or equal to 1"),
        ("nodes=1e6", "launcher.nodes.*100000"),
        ("gpus=1000000", "launcher.gpus.*1024"),
        ("processes=1000000", "launcher.processes.*1024"),
        ("cpus=1000000", "launcher.cpus.*10000"),
        ("memory_gb=1e12", "launcher.memory_gb.*1000000"),
        ("memory_gb=0", "launcher.memory_gb.*greater than 0"),
        ("minutes=1000000000", "launcher.minutes.*527040"),
        ("parallel=1000000", "launcher.parallel.*1000"),
        ("minutes=soon", "launcher.minutes"),
        ("signal_seconds=0", "limit"),
    ):
        with pytest.raises(UserError, match=words):
            sweep(*quick("standard"), f"launcher.{wrong}")


def test_a_cluster_of_ones_own_is_one_yaml(cluster, tmp_path):
    (tmp_path / "mine" / "launcher").mkdir(parents=True)
    (tmp_path / "mine" / "launcher" / "ours.yaml").write_text(
        "defaults: [slurm, _self_]\npartition: gpu\nminutes: 60\n"
    )
    runs = harness.plan(f"--config-dir={tmp_path / 'mine'}", "launcher=ours", f"runs={tmp_path / 'runs'}")
    submit(runs)
    assert "--partition=gpu\n" in cluster.scripts[0] and "--time=60\n" in cluster.scripts[0]


def test_without_slurm_the_way_out_is_told(sweep, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="launcher=local"):
        submit(sweep(*quick("standard")))
