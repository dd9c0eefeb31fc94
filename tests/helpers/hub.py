"""The part of the Hugging Face Hub's HTTP API that its client uses for models, served on localhost."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class FakeHub:
    """Repositories as lists of commits; each commit has all files by name.

    Attributes:
        endpoint: URL of the server.
        repositories: Commits by repository, oldest first.
        requests: Method and path of each request.
        token: The only token that may write.
    """

    endpoint: str = ""
    repositories: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    token: str = "hf_test"

    def commit_of(self, name: str, revision: str) -> int:
        commits = self.repositories[name]
        return len(commits) - 1 if revision == "main" else int(revision, 16)


def _sha(number: int) -> str:
    return f"{number:040x}"


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: Any, status: int = 200) -> None:
        self.answer(status, json.dumps(value).encode(), Content_Type="application/json")

    def handle_any(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command == "POST" and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self.answer(401, X_Error_Message="Invalid username or password.")
        elif path == "/api/repos/create":
            asked = json.loads(sent)
            name = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
            known = name in self.hub.repositories
            self.hub.repositories.setdefault(name, [{".gitattributes": b""}])
            self.json({"url": f"{self.hub.endpoint}/{name}", "name": name}, 409 if known else 200)
        elif path.startswith("/api/models/"):
            owner, repo, *rest = path.removeprefix("/api/models/").split("/")
            self.models(f"{owner}/{repo}", rest, sent)
        elif path == "/api/validate-yaml":
            self.json({"errors": [], "warnings": []})
        elif path.startswith("/api/"):
            self.answer(404)
        else:
            self.resolve(path)

    do_GET = do_HEAD = do_POST = handle_any  # noqa: N815 - names of the standard library

    def models(self, name: str, rest: list[str], sent: bytes) -> None:
        if name not in self.hub.repositories:
            return self.answer(404, X_Error_Code="RepoNotFound")
        verb = rest[0] if rest else "revision"
        number = self.hub.commit_of(name, rest[1] if len(rest) > 1 else "main")
        files = self.hub.repositories[name][number]
        if verb == "revision":
            return self.json({"id": name, "sha": _sha(number), "siblings": [], "tags": [], "private": False})
        if verb == "tree":
            return self.json([_entry(path, data) for path, data in files.items()])
        if verb == "paths-info":
            asked = json.loads(sent)["paths"]
            return self.json([_entry(path, files[path]) for path in asked if path in files])
        if verb == "preupload":
            asked = json.loads(sent)["files"]
            one = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            return self.json({"files": [{"path": item["path"]} | one for item in asked]})
        return self.commit(name, [json.loads(text) for text in sent.splitlines()])

    def commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        commits = self.hub.repositories[name]
        header = next(item["value"] for item in lines if item["key"] == "header")
        if header.get("parentCommit") not in (None, _sha(len(commits) - 1)):
            return self.answer(412, X_Error_Message="A commit has happened since. Please refresh and try again.")
        added = [item["value"] for item in lines if item["key"] == "file"]
        commits.append(commits[-1] | {item["path"]: base64.b64decode(item["content"]) for item in added})
        oid = _sha(len(commits) - 1)
        return self.json({"commitUrl": f"{self.hub.endpoint}/{name}/commit/{oid}", "commitOid": oid, "success": True})

    def resolve(self, path: str) -> None:
        owner, repo, _, revision, *rest = path.strip("/").split("/")
        name, file = f"{owner}/{repo}", "/".join(rest)
        if name not in self.hub.repositories:
            return self.answer(404, X_Error_Code="RepoNotFound")
        number = self.hub.commit_of(name, revision)
        data = self.hub.repositories[name][number].get(file)
        if data is None:
            return self.answer(404, X_Error_Code="EntryNotFound")
        first, _, last = (self.headers.get("Range") or "").removeprefix("bytes=").partition("-")
        begin, end = int(first or 0), int(last or len(data) - 1) + 1
        known = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": _sha(number)}
        part = data[begin:end]
        ranged = {"Content-Range": f"bytes {begin}-{begin + len(part) - 1}/{len(data)}"} if first else {}
        return self.answer(206 if first else 200, part, **known, **ranged)


def _entry(path: str, data: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return {"type": "file", "oid": oid, "size": len(data), "path": path}


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Context manager that serves an empty Hub."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
