"""List methods, datasets, nets, protocols, metrics, known weights, …, and where those of others come from."""

from harness.cli.request import CHOICES, Request
from harness.cli.tables import console
from harness.core.providers import providers
from harness.core.registry import WITHOUT_YAML, described
from harness.runs.zoo import ZOO


def run(request: Request) -> None:
    """Print one line for each choice."""
    harness, *others = providers(request.folder)
    for group in (*CHOICES, *WITHOUT_YAML):
        lines = described(harness, group)
        for other in others:
            lines |= {name: f"{line} ({other.title})" for name, line in described(other, group).items()}
        if lines:
            console.print(f"{group}{'' if group in WITHOUT_YAML else '='}", style="bold")
        for name, line in lines.items():
            console.print(f"  {name:<12} {line}", markup=False, soft_wrap=True)
    console.print("init=zoo:", style="bold")
    for name, entry in ZOO.items():
        console.print(f"  {name:<12} {entry}", markup=False, soft_wrap=True)
