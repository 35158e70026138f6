"""Whatever happens to the server during a run, MLflow has the complete run exactly once in the end."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow_server import Gate, mlflow_server
from recorded import finish, log, make, mirrored, robust

from harness import tracking
from harness.runs.run import Run
from harness.tracking import outbox, retry
from harness.tracking.sender import Sender

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
    """A real server that requires a password."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "auth.ini").write_text(AUTHENTICATION.format(folder, PASSWORD))
    secrets = {"MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"), "MLFLOW_FLASK_SERVER_SECRET_KEY": "x"}
    with mlflow_server(folder, f"sqlite:///{folder}/mlflow.db", "--app-name", "basic-auth", **secrets) as url:
        yield url


@pytest.fixture
def gate(server: str, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A gate that passes everything until a test closes it; the password is in the environment."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "someone")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # the machine may be busy
    monkeypatch.setattr(retry, "PATIENCE", 0)
    return Gate(server)


def begun(folder: Path, gate: Gate | None, seed: int) -> Run:
    """A frozen run with curves, in runs/ of a folder."""
    run = make(folder, seed, tracking=gate and gate.url)
    run.freeze()
    log(run, 5)
    return run


def whole(run: Run) -> dict[str, Any]:
    """Assert that MLflow has the complete run once; return what it has."""
    there = mirrored(run)
    assert [step for step, *_ in there["curves"]["train/ce"]] == [32 * i for i in range(1, 6)]
    assert len(there["curves"]["robust_accuracy/l2_0.5"]) == 1 and there["info"]["status"] == "FINISHED"
    assert {"config.yaml", "record.json"} <= there["files"] and not outbox.marks(run.root)
    return there


def test_without_the_password_a_run_stays_owed(gate: Gate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finish(begun(tmp_path, gate, 1), robust(40))
    outbox.enqueue(run)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another")
    assert tracking.sync(run.root) == (0, 1) and outbox.marks(run.root)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    assert tracking.sync(run.root) == (1, 0)
    whole(run)


def test_a_server_that_is_stopped_during_a_run_gets_it_when_it_is_back(gate: Gate, tmp_path: Path) -> None:
    run = begun(tmp_path, gate, 2)
    sweep = tracking.multirun("a sweep", [run])
    with Sender(run, sweep):
        gate.passes = 3
        finish(run, robust(40))
    assert outbox.marks(run.root), "what was not sent must stay pending"
    gate.passes = inf
    assert tracking.sync(run.root) == (1, 0)
    assert whole(run)["tags"]["sweep"]
    asked = gate.asked
    assert tracking.sync(run.root) == (0, 0) and gate.asked == asked, "what was sent may not be sent again"


def test_a_store_may_die_at_any_call_of_a_push(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, calls = finish(begun(root, None, 0), robust(40)), 0
    sweep = tracking.multirun("a sweep", [run])

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal calls
            answer, calls = real(*arguments, **named), calls - 1
            if calls < 0:
                raise ConnectionError("it arrived, but the answer is lost")
            return answer

        return call

    for name in ("search_runs", "create_run", "log_batch", "log_inputs", "log_artifact", "set_tag", "set_terminated"):
        monkeypatch.setattr(MlflowClient, name, dying(getattr(MlflowClient, name)))
    for attempt in range(200):
        calls = attempt // 8  # die several times at each count: finished work is not repeated
        outbox.enqueue(run, sweep)
        if tracking.push(run, last=True):
            break
        assert outbox.marks(run.root)
    assert attempt > 20, "it had too few chances to die"
    calls = 100
    assert whole(run)["tags"]["sweep"]


def test_two_that_send_at_once_send_once(root: Path) -> None:
    runs = [finish(begun(root, None, seed), robust(40)) for seed in range(3)]
    for run in runs:
        outbox.enqueue(run, tracking.multirun("a sweep", runs))
    with ThreadPoolExecutor(5) as pool:  # three threads for one run each, and two for all of them
        pushed = pool.map(tracking.push, runs)
        assert all(left == 0 for _, left in pool.map(lambda _: tracking.sync(runs[0].root), range(2)))
        assert all(pushed)
    assert len({whole(run)["tags"]["sweep"] for run in runs}) == 1
