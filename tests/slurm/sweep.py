"""A scenario with twelve runs and several faults."""

from pathlib import Path

from cluster import Cluster, until
from commandline import QUICK, STAGES, harness, without
from desk import Desk, power_cut

from harness.launch import queue
from harness.reports.titles import title

METHODS = ("atjem", "jem", "at", "generative")
STEPS = 150


def sweep(folder: Path, cluster: Cluster) -> str:
    """Twelve runs; the command, then the controller killed with -9, and a node lost; the same command typed again."""
    settings = folder.with_name("settings")
    _study(settings)
    quick = [override for override in QUICK if not override.startswith("checkpoint_seconds")]
    what = [f"--config-dir={settings}", f"method={','.join(METHODS)}", "seed=0,1,2", "experiment=tiny"]
    desk = Desk(folder, *what, *quick, *without(), "checkpoint_seconds=1")
    first = desk.begin()
    until(lambda: any((run.folder / "job.json").exists() for run in desk.runs), "the first jobs are noted", 120)
    first.kill()
    first.communicate()
    desk.type()
    until(lambda: "running" in desk.states and begun(desk) > 2, "a run is going on, and not the first", 900)
    cluster.kill("slurmctld")
    desk.type(status=2)
    cluster.controller()
    power_cut(cluster, "n1")
    desk.type()
    cluster.node("n1")
    until(lambda: not any(queue.find(run.folder, queue.queue()) for run in desk.runs), "no job is left", 900)
    desk.type()
    desk.done(600)
    status, out, err = harness("report", folder=folder)
    assert status == 0, out + err
    board = (folder / "reports" / "LEADERBOARD.md").read_text(encoding="utf-8")
    missing = [method for method in METHODS if f"| {title(method)}" not in board]
    assert not missing, f"not on the leaderboard: {missing}"
    assert len(list(folder.glob("runs/*/record.json"))) == 12
    return "12 records, one leaderboard with the 4 methods"


def begun(desk: Desk) -> int:
    """The number of its runs that have started."""
    return sum((run.folder / "started").exists() for run in desk.runs)


def _study(folder: Path) -> None:
    """Write an experiment that makes every method's stages small."""
    (folder / "experiment").mkdir(parents=True)
    (folder / "study").mkdir()
    (folder / "experiment" / "tiny.yaml").write_text("# @package _global_\n# Tiny runs.\n")
    for method in METHODS:
        training = f"{{training: {{batch: 16, epochs: {STEPS * 16 / 1707}}}}}"
        stages = "".join(f"  {stage}: {training}\n" for stage in STAGES[method])
        (folder / "study" / f"tiny_{method}.yaml").write_text(f"# @package _global_\nmethod:\n{stages}")
