"""The command line as a user types it, in a separate process, with runs small enough for a test."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

QUICK = (
    "data.test=20",
    "data.validation=70",
    "model.width=4",
    "outliers.count=200",
    "protocol.samples.count=70",
    "protocol.samples.chunk=35",
    "protocol.selection.factors=[1,2]",
    "protocol.selection.count=70",
    "protocol.metrics.robustness.chunk=10",
    "protocol.metrics.robustness.eps=3",
    "protocol.metrics.fidelity.kid_subset=20",
    "protocol.metrics.ood.count=10",
    "protocol.metrics.ood.chunk=5",
    "protocol.metrics.ood.apgd.steps=5",
    "protocol.metrics.ood.apgd.restarts=1",
    "+protocol.metrics.counterfactuals.count=20",
    "protocol.metrics.counterfactuals.chunk=10",
    "protocol.metrics.counterfactuals.radii=[1]",
    "protocol.metrics.counterfactuals.features=null",
    "checkpoint_seconds=0.1",
    "threads=1",
    "tracking=off",
)
"""Small settings; at this radius the first attack breaks every image, so the attacks end soon."""

MORE = (
    "+protocol.metrics.fidelity.density=3",
    "+protocol.metrics.memorisation={features:digits,against:test}",
    "+protocol.metrics.likelihood={split:test,fit:validation,bins:4}",
    "+protocol.metrics.infinity={features:digits,least:66,seed:0,points:2}",
    "+protocol.metrics.corruptions={split:test,corruptions:[contrast,fog],constants:cifar,seed:0}",
    "+protocol.metrics.suites={split:test,sets:{mixed:{name:midpoints},grains:{name:noise}},near:[mixed],far:[grains],"
    "scores:[energy,knn,mahalanobis],count:20,chunk:10,neighbours:3,fitted:400}",
    "+protocol.metrics.long_chains={factors:[1,3],count:70,chunk:35,features:digits,against:test}",
    "+protocol.metrics.masking={split:test,norm:L2,eps:0.1,large:3,steps:5,restarts:2,count:20,chunk:10,seed:0}",
    "+protocol.metrics.explanations={split:train,norm:L1.5,eps:2,steps:3,features:digits,noise:0.5,starts:2,"
    "chunk:100,seed:0,count:200}",
)
"""The metrics that the digits' protocol leaves out, as small."""

METRICS = ("fidelity", "calibration", "ood", "counterfactuals")
"""The metrics of a run, except accuracy and robustness."""

STAGES = {
    "at": ("robust",),
    "atjem": ("robust", "joint"),
    "generative": ("robust", "generate"),
    "jem": ("energy",),
    "standard": ("classify",),
    "trades": ("tradeoff",),
    "ratio": ("inout",),
    "jempp": ("energy",),
    "sadajem": ("energy",),
    "ebjdat": ("joint",),
    "weat": ("weighted",),
    "atebm": ("binary",),
    "mart": ("aware",),
    "robustjem": ("energy",),
    "energyood": ("classify", "tune"),
    "hdge": ("hybrid",),
}


def quick(method: str, steps: int = 40) -> list[str]:
    """Overrides for a small run of a method; each stage takes `steps` steps of 16 images."""
    epochs = steps * 16 / 1707
    stages = [f"method.{s}.training.{field}" for s in STAGES[method] for field in ("batch=16", f"epochs={epochs}")]
    return [f"method={method}", *stages, *QUICK]


def bare(method: str, steps: int = 40, keep: tuple[str, ...] = ()) -> list[str]:
    """As `quick`, for tests that are not about evaluation: of the metrics, only accuracy, robustness and `keep`."""
    return [*quick(method, steps), *without(metric for metric in METRICS if metric not in keep)]


def without(metrics: Iterable[str] = METRICS) -> list[str]:
    """Overrides that remove these metrics and the selection of sampler steps (so the recipe sets the steps)."""
    return [*(f"~protocol.metrics.{metric}" for metric in metrics), "~protocol.selection"]


def start(*arguments: str, folder: Path) -> subprocess.Popen[str]:
    """Start `python -m harness …` in a folder."""
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def harness(*arguments: str, folder: Path) -> tuple[int, str, str]:
    """Run `python -m harness …` in a folder: exit status, standard output, standard error."""
    process = start(*arguments, folder=folder)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err
