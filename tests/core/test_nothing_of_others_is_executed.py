"""Configs, records, samples and parts from others are data; no source file calls what would run code or a shell."""

import ast
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.core.errors import Damaged, UserError
from harness.evaluation.parts import read_part, write_part
from harness.evaluation.samples import Samples, Sampling
from harness.runs import run as runs

ROOT = Path(harness.__file__).parents[1]
SOURCES = sorted(path for room in ("harness", "methods", "datasets", "reports") for path in (ROOT / room).rglob("*.py"))

NEVER = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "subprocess.getoutput",
    "subprocess.getstatusoutput", "pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "dill.loads",
    "cloudpickle.load", "cloudpickle.loads", "joblib.load", "marshal.loads", "shelve.open", "torch.hub.load",
    "torch.jit.load", "yaml.unsafe_load", "yaml.full_load", "hydra.utils.instantiate", "hydra.utils.call",
    "instantiate",
}  # fmt: skip
"""Calls that execute their input."""

TRUSTED = {("weights.py", "torch.load")}
"""The one place where a user may declare a file as trusted, with a command of its own."""


class Touches:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


def wrong(call: ast.Call) -> bool:
    """Whether a call may execute what it reads, or passes a string to a shell."""
    name, options = ast.unparse(call.func), {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in ("torch.load", "torch.hub.load_state_dict_from_url", "load_state_dict_from_url"):
        return options.get("weights_only") != "True"
    if name in ("np.load", "numpy.load"):
        return options.get("allow_pickle", "False") != "False"
    if name == "yaml.load":
        loaders = [ast.unparse(argument) for argument in call.args[1:]] + [options.get("Loader", "")]
        return not any(loader == "YAML" or "SafeLoader" in loader for loader in loaders)
    return name in NEVER or options.get("shell", "False") != "False"


def calls(source: str) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_calls_what_would_execute_what_it_reads(path):
    found = [call for call in calls(path.read_text(encoding="utf-8")) if wrong(call)]
    where = [f"line {call.lineno}: {ast.unparse(call)}" for call in found]
    if (path.name, "torch.load") in TRUSTED:
        assert len(found) == 1 and "weights_only=False" in where[0]
    else:
        assert not where


@pytest.mark.parametrize(
    "source",
    [
        "subprocess.run('ls ' + name, shell=True)", "os.system(x)", "pickle.load(file)", "torch.load(path)",
        "torch.load(path, weights_only=False)", "yaml.load(text)", "yaml.load(text, yaml.Loader)", "eval(text)",
        "exec(text)", "hydra.utils.instantiate(config)", "np.load(path, allow_pickle=True)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_looks_for(source):
    assert any(wrong(call) for call in calls(source))


def test_a_config_is_data(tmp_path):
    folder, marker = tmp_path / "at-digits-s0-00000000", tmp_path / "marker"
    folder.mkdir()
    (folder / "config.yaml").write_text(f"seed: !!python/object/apply:os.mkdir ['{marker}']\n")
    with pytest.raises(UserError, match="is not a run folder"):
        runs.load(folder)
    assert not marker.exists()


def test_samples_and_parts_are_data(tmp_path):
    marker = tmp_path / "marker"
    trap = np.array([Touches(marker)], dtype=object)
    samples = Samples(tmp_path, Sampling(count=4, chunk=4, seed=0))
    np.save(samples.path(0), trap, allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        samples[0]
    write_part(tmp_path / "0.json", {"seconds": 1.0, "scores": np.zeros(3)}, {})
    np.savez(tmp_path / "0.npz", scores=trap, allow_pickle=True)
    with pytest.raises(Damaged, match="sha256"):
        read_part(tmp_path / "0.json")
    (tmp_path / "0.json").write_text('{"seconds": 1.0}')  # of an older version, without digests
    with pytest.raises(ValueError, match="allow_pickle=False"):
        read_part(tmp_path / "0.json")
    assert not marker.exists()
    np.load(samples.path(0), allow_pickle=True)
    assert marker.exists(), "the trap itself must work"
