"""A model hub on 127.0.0.1: as much of the protocol as `huggingface_hub` needs to download.

Repositories are folders; each has one commit. Faults can be asked for by repository and file.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

Fault = Literal["truncated", "corrupted"]


@dataclass
class Repository:
    """One repository at one commit."""

    folder: Path
    commit: str
    faults: dict[str, Fault] = field(default_factory=dict)


@dataclass
class Hub:
    """What is served, and what was asked for."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    endpoint: str = ""


def etag(path: Path) -> str:
    """As the real hub: SHA-256 for large files, git's blob hash for small ones."""
    data = path.read_bytes()
    if path.suffix == ".safetensors":
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path)
        tree = re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)/?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        match = tree or info or file
        repository = self.hub.repositories.get(match[1]) if match else None
        if match is None or repository is None:
            return self._fail("RepoNotFound", "Repository Not Found")
        if match[2] not in (None, "main", repository.commit):
            return self._fail("RevisionNotFound", f"Invalid rev id: {match[2]}")
        if file:
            return self._file(repository, file[3], body)
        names = sorted(p.name for p in repository.folder.iterdir())
        if tree:
            sizes = {n: (repository.folder / n).stat().st_size for n in names}
            return self._json([{"type": "file", "path": n, "size": sizes[n], "oid": "0"} for n in names])
        siblings = [{"rfilename": name} for name in names]
        return self._json({"id": match[1], "sha": repository.commit, "siblings": siblings})

    def _file(self, repository: Repository, name: str, body: bool) -> None:
        path = repository.folder / name
        if not path.is_file():
            return self._fail("EntryNotFound", "Entry not found")
        data, fault = path.read_bytes(), repository.faults.get(name)
        self.send_response(200)
        self.send_header("X-Repo-Commit", repository.commit)
        self.send_header("ETag", f'"{etag(path)}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        if fault == "corrupted":
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        if fault == "truncated":
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        self.wfile.write(data)

    def _json(self, payload: object) -> None:
        data = json.dumps(payload).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _fail(self, code: str, message: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()


@contextmanager
def serve() -> Iterator[Hub]:
    """Run a hub on a free port of 127.0.0.1 until the context ends."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
