"""Local page that follows runs: ``distgnn.serve_board``."""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from distgnn.errors import RequestError
from distgnn.report.board import Board
from distgnn.storage.folder import open_folder

_SECONDS = 10
"""Longest wait for a request on an open connection."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_ASSETS = {
    "/": ("board.html", "text/html"),
    "/board.js": ("board.js", "text/javascript"),
    "/board.css": ("board.css", "text/css"),
    "/vega.min.js": ("vega.min.js", "text/javascript"),
}
_STATE = "/state.json"


class _Answer(NamedTuple):
    """An answer: status, media type and contents."""

    status: int
    media: str
    body: bytes


class _Server(ThreadingHTTPServer):
    """Server of one board."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], board: Board) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.board, self.name = board, address[0]
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: the browser has gone away."""

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server: an address, localhost, or the name it was told to listen at.

        A page of another site can point a name of its own at this machine (DNS rebinding), but not an address.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in ("localhost", self.name.lower()):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


class _Handler(BaseHTTPRequestHandler):
    """Answers GET for a few fixed paths."""

    server_version, sys_version, timeout = "distgnn", "", _SECONDS
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        """Answer a request."""
        self._send(self._answer())

    def _answer(self) -> _Answer:
        if not self.server.knows(self.headers.get("Host", "")):
            return _text(403, "the Host header does not name this server")
        path = urlsplit(self.path).path
        if path == _STATE:
            return _Answer(200, "application/json", json.dumps(self.server.board.state()).encode())
        if path in _ASSETS:
            name, media = _ASSETS[path]
            return _Answer(200, f"{media}; charset=utf-8", (files("distgnn.report") / "assets" / name).read_bytes())
        return _text(404, "no such page")

    def _refuse(self) -> None:
        self._send(_text(405, "only GET is answered"), {"Allow": "GET"})

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse  # noqa: N815

    def _send(self, answer: _Answer, more: dict[str, str] | None = None) -> None:
        self.send_response(answer.status)
        length = {"Content-Type": answer.media, "Content-Length": str(len(answer.body)), "Connection": "close"}
        for name, value in {**length, **_HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Log nothing."""


def _text(status: int, text: str) -> _Answer:
    return _Answer(status, "text/plain; charset=utf-8", f"{text}\n".encode())


@contextmanager
def serve_board(folder: str = "runs", host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Context manager that serves a page about the runs in a folder, which follows them live.

    The page reads what runs write, so they may run anywhere that writes to the folder. Nothing can be changed through it.

    Args:
        folder: Folder that holds the folders of runs, or one run; a path or URI.
        host: Address to listen at. The page has no authentication: leave this machine's own unless others may read it.
        port: Port to listen at; 0 = any free one.

    Yields:
        The address of the page.

    Raises:
        RequestError: The folder's URI is malformed, or the server cannot listen at the address.

    Example:
        >>> with distgnn.serve_board("runs") as url:
        ...     run = distgnn.pretrain(corpus="data/zinc")
    """
    board = Board(open_folder(folder))
    try:
        server = _Server((host, port), board)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RequestError(f"port={port}: cannot serve at {host} ({reason}); choose another port or host") from error
    thread = threading.Thread(target=server.serve_forever, name="distgnn-board", daemon=True)
    thread.start()
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
