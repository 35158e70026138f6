"""List the available methods, datasets, nets, protocols, known weights, …"""

from harness.cli.request import CHOICES, Request
from harness.cli.tables import console
from harness.core.registry import names
from harness.runs.zoo import ZOO


def run(request: Request) -> None:
    """Print one line for each choice."""
    for group in CHOICES:
        if members := names(group):
            console.print(f"{group}=", style="bold")
            for name, line in members.items():
                console.print(f"  {name:<12} {line}", markup=False, soft_wrap=True)
    console.print("init=zoo:", style="bold")
    for name, entry in ZOO.items():
        console.print(f"  {name:<12} {entry}", markup=False, soft_wrap=True)
