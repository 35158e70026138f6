"""A store that is down, silent, broken or locked for a whole run costs it one line of warning and little time."""

import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from commandline import harness, quick
from recorded import database

import harness as api
from harness import tracking
from harness.core.errors import UserError
from harness.reports.rows import rows
from harness.runs import record
from harness.tracking import retry, store

ARGUMENTS = [*quick("at", steps=8), "threads=1", "~protocol.selection"]
FEWER = [f"~protocol.metrics.{name}" for name in ("fidelity", "calibration", "ood", "counterfactuals")]


class Broken(BaseHTTPRequestHandler):
    """A handler that answers 500 and counts the requests."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_error(500)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def away(_: Path) -> Iterator[str]:
    """The URL of a port where nothing listens."""
    yield "http://127.0.0.1:9"


@contextmanager
def silent(_: Path) -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def broken(_: Path) -> Iterator[str]:
    """The URL of a server that answers 500 to every request."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def locked(folder: Path) -> Iterator[str]:
    """The URI of a database that another connection has locked."""
    with closing(sqlite3.connect(folder / "locked.db")) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield f"sqlite:///{folder}/locked.db"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> record.Record:
    """The record of a run without any fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    status, out, err = harness(*ARGUMENTS, *FEWER, folder=folder)
    assert status == 0, out + err
    (path,) = folder.glob("runs/*/record.json")
    return record.read(path)


@pytest.mark.parametrize("store", [away, silent, broken, locked])
def test_the_record_is_that_of_an_undisturbed_run_and_the_store_gets_the_run_later(
    store, undisturbed, type_, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with store(tmp_path) as uri:
        status, out, err = harness(*ARGUMENTS, *FEWER, f"tracking={uri}", folder=tmp_path)
    assert status == 0, out + err
    (path,) = tmp_path.glob("runs/*/record.json")
    assert record.read(path).result() == undisturbed.result()
    assert len(err.splitlines()) == 1 and f"{uri} cannot be reached" in err

    (tmp_path / "later.db").write_bytes(database())
    later = f"tracking=sqlite:///{tmp_path}/later.db"
    status, _, err = type_(*ARGUMENTS, *FEWER, later)
    assert (status, err) == (0, "")
    (row,) = api.results(later, source="mlflow").to_dict("records")
    assert (row["state"], row["fingerprint"]) == ("done", undisturbed.fingerprint)


def test_a_store_that_failed_is_left_alone_for_a_while_and_tried_at_the_end_of_a_run(tmp_path, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with broken(tmp_path) as uri:
        (run,) = api.plan(*ARGUMENTS, f"runs={tmp_path}", f"tracking={uri}")
        run.freeze()
        tracking.prepare(run.config)
        first = Broken.asked
        assert first
        assert not any(tracking.push(run) for _ in range(5))
        assert Broken.asked == first
        assert not tracking.push(run, last=True)
        assert (second := Broken.asked) > first
        now += retry.PATIENCE + 1
        assert not tracking.push(run)
        assert Broken.asked > second


def test_a_silent_store_is_waited_for_seconds_not_minutes():
    waits = float(store.LIMITS["MLFLOW_HTTP_REQUEST_TIMEOUT"])
    tries = 1 + int(store.LIMITS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
    assert 2 * tries * waits <= 20  # once before the run and once at its end


def test_reading_from_a_store_that_is_away_says_what_to_do(tmp_path):
    (run,) = api.plan(*ARGUMENTS, f"runs={tmp_path}", "tracking=http://127.0.0.1:9")
    with pytest.raises(UserError, match="does not answer"):
        rows(run.config, "mlflow")
