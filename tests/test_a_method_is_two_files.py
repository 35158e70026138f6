"""The README's method of one's own, as printed: found, built and held to the contract without touching another file."""

import re
from pathlib import Path

import harness
import harness.methods
from harness.contract import verdicts

README = (Path(__file__).parent.parent / "README.md").read_text()


def block(language, containing):
    (found,) = (b for b in re.findall(rf"```{language}\n(.*?)```", README, re.S) if containing in b)
    return found


def test_the_readmes_method_keeps_the_contract(tmp_path, monkeypatch):
    (tmp_path / "method").mkdir()
    (tmp_path / "standard.py").write_text(block("python", "class Standard"))
    (tmp_path / "method" / "standard.yaml").write_text(block("yaml", "name: standard"))
    monkeypatch.setattr(harness.methods, "__path__", [*harness.methods.__path__, str(tmp_path)])
    (run,) = harness.plan(f"--config-dir={tmp_path}", "method=standard", "model.width=4")
    assert [problem for _, problem in verdicts(run) if problem] == []
    assert list(run.method.stages) == ["classify"]
