"""MLflow's own server for tests, and a proxy in front of it that can close, or lose an answer, at any request."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from pathlib import Path
from threading import Lock, Thread
from urllib.request import urlopen

LEAN = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


@contextmanager
def mlflow_server(folder: Path, database: str, *options: str, **environment: str) -> Iterator[str]:
    """The URL of a server on a database, with its files in a folder; one worker, to need only half a GB of memory."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--port", str(port)]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--workers", "1", *options],
            env={**os.environ, **LEAN, **environment},
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, folder / "server.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), urlopen(url):
            return
        time.sleep(0.2)
    raise RuntimeError(log.read_text())


class Gate:
    """A proxy in front of a server. passes: requests left; the next one reaches the server, but is never answered.

    delay: seconds by which each request is delayed.
    """

    def __init__(self, url: str, delay: float = 0) -> None:
        self.delay = delay
        self.host, self.passes, self.asked, self.lock = url.removeprefix("http://"), inf, 0, Lock()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gate.handle(self)

            do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def handle(self, request: BaseHTTPRequestHandler) -> None:
        """Forward a request and return the answer, as far as the gate is open."""
        with self.lock:
            self.passes, self.asked = self.passes - 1, self.asked + 1
            left = self.passes
        time.sleep(self.delay)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        request.close_connection = True
        if left < -1:
            return
        onward = HTTPConnection(self.host)
        onward.request(request.command, request.path, body, dict(request.headers))
        answer = onward.getresponse()
        content = answer.read()
        if left < 0:
            return
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        with suppress(OSError):  # the client may have given up
            request.wfile.write(content)
