"""docs/protocols.md describes each protocol as its yaml does."""

from documents import ROOT
from published import PUBLISHED

from harness.core.registry import names
from harness.evaluation.evaluator import metrics
from harness.evaluation.metrics.robustness import Robustness
from harness.runs.compose import compose
from harness.runs.run import Run

APGD = ("apgd-ce", "apgd-t")
PAGE = (ROOT / "docs" / "protocols.md").read_text()


def row(protocol, data):
    """The row that the table of the page should have."""
    (run,) = map(Run, compose([f"protocol={protocol}", f"data={data}"]))
    found, config, entries = run.protocol, run.config.protocol, run.config.protocol["metrics"]
    attacks = [entry for entry in metrics(config).values() if isinstance(entry, Robustness)]
    features = [entry["features"] for name, entry in entries.items() if "fidelity" in (name, entry.get("metric"))]
    cells = [
        f"`{protocol}`",
        f"`{data}`",
        f"{found.id} `{found.hash}`",
        ", ".join(f"{attack.norm} {attack._radius}{' APGD' * (attack.attacks == APGD)}" for attack in attacks) or "–",
        ", ".join(dict.fromkeys(f"{attack.count or 'all'}" for attack in attacks)) or "–",
        f"{config['samples']['count']:,}" if features else "–",
        ", ".join(features) or "–",
        ", ".join(entries.get("ood", {}).get("sets", ())) or "–",
        f"{config['selection']['against']}" if "selection" in config else "–",
    ]
    return f"| {' | '.join(cells)} |"


def test_the_table_is_what_the_protocols_are():
    rows = [row(protocol, data) for protocol, data in PUBLISHED]
    shown = [line for line in PAGE.splitlines() if line.startswith("| `") and "=" not in line]
    assert shown == rows, "\n".join(rows)


def test_every_protocol_has_its_paragraph():
    for name in names("protocol"):
        assert f"\n**`{name}`**" in PAGE, name
