"""The method printed in docs/adding-a-method.md is found, built and checked against the contract."""

import re
from pathlib import Path

import harness
import harness.methods
from harness.runs.contract import verdicts

PAGE = (Path(__file__).parents[2] / "docs" / "adding-a-method.md").read_text()


def block(language, containing):
    (found,) = (b for b in re.findall(rf"```{language}\n(.*?)```", PAGE, re.S) if containing in b)
    return found


def test_the_pages_method_keeps_the_contract(tmp_path, monkeypatch):
    (tmp_path / "method").mkdir()
    (tmp_path / "noisy.py").write_text(block("python", "class Noisy"))
    (tmp_path / "method" / "noisy.yaml").write_text(block("yaml", "name: noisy"))
    monkeypatch.setattr(harness.methods, "__path__", [*harness.methods.__path__, str(tmp_path)])
    (run,) = harness.plan(f"--config-dir={tmp_path}", "method=noisy", "model.width=4")
    assert [problem for _, problem in verdicts(run) if problem] == []
    assert list(run.method.stages) == ["noised"]
