"""Check at a tiny size that a method keeps the contract on a dataset and a device; exit status 1 if it does not."""

from harness.cli.request import Request
from harness.cli.tables import console
from harness.launch.preflight import check_all
from harness.runs.contract import verdicts
from harness.runs.run import Run


def run(request: Request) -> int:
    """Check each run against each promise of the contract; return 1 if one is broken."""
    failed = 0
    for run in check_all([Run(config) for config in request.configs]):
        console.print(f"{run.config.method['name']} on {run.config.data['name']}", style="bold")
        for promise, problem in verdicts(run):
            failed += problem is not None
            console.print(f"  {'ok  ' if problem is None else 'FAIL'} {promise}", markup=False, soft_wrap=True)
            if problem is not None:
                console.print(f"       {problem}", markup=False, soft_wrap=True)
    return 1 if failed else 0
