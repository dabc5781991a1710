"""A server that answers as the Hugging Face Hub does for one gated repository, and remembers what it was asked.

The Hub itself cannot be asked by a test; its client is the real one, pointed here by HF_ENDPOINT.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Where it listens, whom it lets in, and each request's path."""

    url: str
    repository: str
    token: str
    asked: list[str] = field(default_factory=list)


Reply = tuple[int, bytes, dict[str, str]]


def _reply(hub: Hub, files: Mapping[str, bytes], path: str, authorization: str | None) -> Reply:
    """Status, body and headers."""
    name = path.rpartition("/")[2]
    if authorization != f"Bearer {hub.token}":
        return 401, b"{}", {"X-Error-Code": "GatedRepo"}
    if path.startswith(f"/api/models/{hub.repository}/tree/"):
        return _json([{"type": "file", "path": name, **_facts(content)} for name, content in files.items()])
    if path.startswith(f"/api/models/{hub.repository}"):
        siblings = [{"rfilename": name} for name in files]
        return _json({"id": hub.repository, "sha": COMMIT, "siblings": siblings})
    if name in files:
        return 200, files[name], {"X-Repo-Commit": COMMIT, "ETag": f'"{_facts(files[name])["oid"]}"'}
    return 404, b"{}", {"X-Error-Code": "EntryNotFound"}


def _facts(content: bytes) -> dict[str, object]:
    return {"size": len(content), "oid": hashlib.sha1(content).hexdigest()}  # noqa: S324 - a name, no promise


def _json(value: object) -> Reply:
    return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}


@contextmanager
def serve(folder: Path, repository: str, token: str) -> Iterator[Hub]:
    """Offer the files of `folder` as `repository` to whoever sends `token`."""
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub = Hub("", repository, token)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append(path)
            status, content, headers = _reply(hub, files, path, self.headers.get("Authorization"))
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
