"""Whatever becomes of the server during a run, MLflow holds the run whole and once in the end. A real server, which
asks for a password, stands behind a gate."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from typing import Any

import pytest
from mlflow_server import Gate, mlflow_server
from test_tracking_mirror import finish, log, make, mirrored, robust

from harness import patience, spool, tracking
from harness.courier import Courier
from harness.runs import Run

AUTHENTICATION = """[mlflow]
default_permission = EDIT
database_uri = sqlite:///{}/users.db
admin_username = someone
admin_password = {}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""
PASSWORD = "a-long-password"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "auth.ini").write_text(AUTHENTICATION.format(folder, PASSWORD))
    secrets = {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"), "MLFLOW_FLASK_SERVER_SECRET_KEY": "x"}
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db", "--app-name", "basic-auth", **secrets) as url:
        yield url


@pytest.fixture
def gate(server: str, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate that lets everything through, until a test shuts it; the environment has the password."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "someone")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # the machine may be busy
    monkeypatch.setattr(patience, "PATIENCE", 0)
    return Gate(server)


def begun(root: Path, gate: Gate, seed: int) -> Run:
    """A run with curves, all of them in runs/ of a folder."""
    run = make(root, seed, tracking=gate.url)
    run.freeze()
    log(run, 5)
    return run


def whole(run: Run) -> dict[str, Any]:
    """What MLflow holds of a run, once it is seen to be whole and once."""
    there = mirrored(run)
    assert [step for step, *_ in there["curves"]["train/ce"]] == [32 * i for i in range(1, 6)]
    assert len(there["curves"]["robust_accuracy/l2_0.5"]) == 1 and there["info"]["status"] == "FINISHED"
    assert {"config.yaml", "record.json"} <= there["files"] and not spool.marks(run.root)
    return there


def test_without_the_password_a_run_stays_owed(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finish(begun(tmp_path, gate, 100), robust(40))
    spool.owe(run)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another")
    assert tracking.sync(run.root) == (0, 1) and spool.marks(run.root)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    assert tracking.sync(run.root) == (1, 0)
    whole(run)


def test_a_server_that_is_stopped_during_a_run_gets_it_when_it_is_back(gate: Gate, tmp_path: Path) -> None:
    run = begun(tmp_path, gate, 200)
    sweep = tracking.multirun("a sweep", [run])
    with Courier(run, sweep):
        gate.passes = 3
        finish(run, robust(40))
    assert spool.marks(run.root), "what was not sent is owed"
    gate.passes = inf
    assert tracking.sync(run.root) == (1, 0)
    assert whole(run)["tags"]["mlflow.parentRunId"]
    asked = gate.asked
    assert tracking.sync(run.root) == (0, 0) and gate.asked == asked, "what was sent is not sent again"


def test_a_server_may_die_at_any_request_of_a_push(gate: Gate, tmp_path: Path) -> None:
    run = finish(begun(tmp_path, gate, 300), robust(40))
    spool.owe(run, tracking.multirun("another sweep", [run]))
    for passes in range(100):
        gate.passes = passes
        if tracking.push(run, last=True):
            break
        assert spool.marks(run.root)
    assert passes > 5, "it had no occasion to die"
    gate.passes = inf
    assert whole(run)["tags"]["mlflow.parentRunId"]


def test_two_that_send_at_once_send_once(gate: Gate, tmp_path: Path) -> None:
    runs = [finish(begun(tmp_path, gate, 400 + seed), robust(40)) for seed in range(3)]
    for run in runs:
        spool.owe(run, tracking.multirun("one sweep", runs))
    with ThreadPoolExecutor(2) as pool:
        assert all(left == 0 for _, left in pool.map(lambda _: tracking.sync(runs[0].root), range(2)))
    assert len({whole(run)["tags"]["mlflow.parentRunId"] for run in runs}) == 1
