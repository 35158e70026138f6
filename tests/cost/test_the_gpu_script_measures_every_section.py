"""benchmarks/gpu.py measures its sections apart, keeps what each found, and says why one did not run."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    sys.modules["gpu"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(folder, *words):
    """Start the script in a folder: exit status, output, and the sections of its file, if it wrote one."""
    done = subprocess.run([sys.executable, SCRIPT, *words], cwd=folder, text=True, capture_output=True)
    file = folder / "gpu.json"
    return done.returncode, done.stdout + done.stderr, json.loads(file.read_text())["sections"] if file.exists() else {}


def test_every_section_runs_without_a_gpu_or_says_that_it_needs_one(script, tmp_path):
    status, told, sections = start(tmp_path, "--tiny", "--device", "cpu")
    assert status == 0, told
    assert {name.split()[0] for name in sections} == set(script.SECTIONS)
    by_name = {name.split()[0]: section for name, section in sections.items()}
    for name, section in by_name.items():
        expected = ("skipped", "needs a GPU") if script.SECTIONS[name].gpu else ("ran", "")
        assert (section["ended"], section["reason"]) == expected, told
        assert section["figures"] or section["ended"] == "skipped"
        assert all(f"  {figure}: " in told for figure in section["figures"])
    found = {name: section["figures"] for name, section in by_name.items()}
    assert {"harness", "reference", "floor"} <= found["speed"].keys() & found["photographs"].keys()
    assert all(outcome == {"repeats": True, "resumes": True} for outcome in found["resume"].values())
    for net in ("wrn-10-1", "digits"):
        assert found["agreement"][f"{net} fp32"]["equal bytes of samples"] == 1
        assert 0.9 < found["agreement"][f"{net} bf16"]["cosine, mean"] < 0.99999
    assert found["run"]["equal outcomes"] == 1
    assert all(whole == killed for whole, killed in found["run"]["scores, whole and killed"].values())
    assert found["levers"]["bf16, CUDA graph, 2 images"] == "needs a GPU"


def test_a_section_that_takes_too_long_is_stopped_and_the_rest_is_told(tmp_path):
    status, told, sections = start(tmp_path, "machine", "agreement", "--limit", "0.2")
    assert status == 1 and "Written: gpu.json" in told
    assert sections["machine"]["ended"] == "stopped" and "0 s" in sections["machine"]["reason"]
    assert (sections["agreement"]["ended"], sections["agreement"]["reason"]) == ("skipped", "no time left")


def test_each_section_has_a_limit_of_its_own_and_all_together_have_ten_minutes(script, monkeypatch, tmp_path):
    """Each takes all the time that it is given, by the test's clock."""
    now, limits = [0.0], {}

    def measure(section, case, limit, options):
        limits[section, case] = limit
        now[0] += limit
        return script.Outcome("stopped")

    monkeypatch.setattr(script, "measure", measure)
    monkeypatch.setattr(script, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path / "gpu.json")])
    assert script.main() == 1
    # All but the last have a limit of their own; for it, or for those after it, too little time is left.
    own = {(section, case): limit for section, case, limit in script.units([], False)}
    *whole, last = limits
    assert [*whole, last] == list(own)[: len(limits)]
    assert all(limits[unit] == own[unit] for unit in whole) and 0 < limits[last] <= own[last]
    assert sum(limits.values()) < 600 and max(own.values()) <= 80
    sections = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    late = [f"{section} {case}".strip() for section, case in own.keys() - limits]
    assert len(sections) == len(own) and {sections[name]["reason"] for name in late} == {"no time left"}


def test_a_section_without_its_imports_is_skipped_by_name(script, monkeypatch, tmp_path):
    figures = tmp_path / "figures"
    monkeypatch.setitem(script.SECTIONS, "machine", script.Section("nothing", 9, ("torch", "nowhere", "neither")))
    assert script.work("machine", "", True, "cpu", figures) == script.SKIPPED
    assert json.loads(figures.read_text()) == {"reason": "needs nowhere, neither"}


def test_a_section_that_fails_is_told_with_what_it_had_found(script, monkeypatch, tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text(
        "import sys, json, pathlib\n"
        "file = pathlib.Path(sys.argv[sys.argv.index('--figures') + 1])\n"
        "file.write_text(json.dumps({'a': 1}) + '\\n' + json.dumps({'reason': 'ValueError: no'}) + '\\n' + '{\"half')\n"
        "sys.exit(1)\n"
    )
    monkeypatch.setattr(script, "__file__", str(broken))
    outcome = script.measure("machine", "", 60, [])
    assert (outcome.ended, outcome.reason, outcome.figures) == ("failed", "ValueError: no", {"a": 1})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sped",), "there is no section sped: choose some of machine,"),
        (("--out", "no/where.json"), "cannot be written"),
    ],
)
def test_what_cannot_be_measured_is_explained_at_once(words, said, tmp_path):
    status, told, sections = start(tmp_path, *words)
    assert status == 2 and said in told and "Traceback" not in told and not sections
