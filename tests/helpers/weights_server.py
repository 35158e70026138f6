"""Servers of weights on the loopback: plain files, and a stand-in for a Hugging Face hub that takes commits."""

import hashlib
import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Server(ThreadingHTTPServer):
    """Serves `files` by their paths; a hub's are at /OWNER/NAME/resolve/COMMIT/FILE. asked: the requests so far."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.created: list[dict[str, object]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def put(self, path: str, content: bytes) -> str:
        """Serve a file; return its address with its sha256."""
        self.files[path] = content
        return f"{self.url}{path}@sha256:{hashlib.sha256(content).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path)
        self.server.asked.append(f"{self.command} {self.path}")
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        if "/resolve/" in self.path:
            self.send_header("X-Repo-Commit", self.path.split("/")[4])
            self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content or b"")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Answer as the hub's API does: make a repository, say how files are sent, take a commit."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(f"POST {self.path}")
        if self.path == "/api/repos/create":
            self.server.created.append(json.loads(body))
            made = self.server.created[-1]
            self._answer({"url": f"{self.server.url}/{made['organization']}/{made['name']}"})
        elif self.path == "/api/validate-yaml":  # of the card's head
            self._answer({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            sent = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self._answer({"files": [{**file, "shouldIgnore": False} for file in sent]})
        else:
            repo, commit = "/".join(self.path.split("/")[3:5]), hashlib.sha1(body).hexdigest()
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = b64decode(line["value"]["content"])
                    self.server.files[f"/{repo}/resolve/{commit}/{line['value']['path']}"] = content
            self._answer({"commitUrl": f"{self.server.url}/{repo}/commit/{commit}", "commitOid": commit})

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server during the body."""
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
