"""A proxy before an S3 server that counts requests by kind and makes faults: errors, resets, slow, cut off and damaged bodies.

Signatures stay valid through it: clients sign the Host they were given, and the proxy passes it on unchanged.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

ALL = ("500", "slowdown", "reset", "truncate", "lost", "slow", "flip")
"""500: InternalError. slowdown: 503. reset: no answer. truncate: half the body. lost: done, but the answer never comes.
slow: the body drips. flip: one byte of an object's body is another (not in JSON, which only TCP guards)."""

_CODES = {"500": (500, "InternalError"), "slowdown": (503, "SlowDown")}
_HOP = {"connection", "expect", "transfer-encoding", "keep-alive", "content-length"}


class Faulty(ThreadingHTTPServer):
    """counts: requests by kind (get, head, list, put, part, delete, post). injected: faults made, by name."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream).netloc
        self.counts: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.unsigned = 0
        self._lock = threading.Lock()
        self._faults: Sequence[str] = ()
        self._every, self._limit, self._turn = 1, 0, 0
        self._only: set[str] = set()
        self._gone_until = 0.0

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def inject(self, faults: Sequence[str], every: int = 1, limit: int = 1, only: Sequence[str] = ()) -> None:
        """From now on one of ``faults`` in turn at each ``every``-th request (of the kinds ``only``), ``limit`` times in all."""
        with self._lock:
            self._faults, self._every, self._limit, self._only = faults, every, limit, set(only)
            self._turn = 0
            self.injected.clear()

    def gone_for(self, seconds: float) -> None:
        """Reset every connection for a while."""
        self._gone_until = time.monotonic() + seconds

    def next_fault(self, kind: str) -> str:
        """Count a request and choose what happens to it; "" for nothing."""
        with self._lock:
            self.counts[kind] += 1
            if time.monotonic() < self._gone_until:
                self.injected["gone"] += 1
                return "reset"
            if not self._faults or (self._only and kind not in self._only):
                return ""
            self._turn += 1
            done = self.injected.total()
            if self._turn % self._every or done >= self._limit:
                return ""
            fault = self._faults[done % len(self._faults)]
            self.injected[fault] += 1
            return fault

    def shutdown_request(self, request: Any) -> None:
        """Close without a farewell, so that a reset is one."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may leave as they like."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Faulty

    def _serve(self) -> None:
        kind = _kind(self.command, self.path)
        self.server.unsigned += "Authorization" not in self.headers
        body, fault = self._body(), self.server.next_fault(kind)
        if fault in _CODES:
            self._refuse(*_CODES[fault])
        elif fault == "reset":
            self._reset()
        else:
            self._relay(body, kind, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - names of the standard library

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return data

    def _relay(self, body: bytes, kind: str, fault: str) -> None:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=30)
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in _HOP:
                connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if fault == "lost" or (fault == "truncate" and not data):
            self._reset()
            return
        length = answer.headers["Content-Length"] if self.command == "HEAD" else str(len(data))
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", length)
        self.end_headers()
        self._send(data, kind, fault)

    def _send(self, data: bytes, kind: str, fault: str) -> None:
        if fault == "truncate":
            self.wfile.write(data[: len(data) // 2])
            self._reset()
        elif fault == "slow":
            for start in range(0, len(data), max(1, len(data) // 5)):
                self.wfile.write(data[start : start + max(1, len(data) // 5)])
                time.sleep(0.02)
        elif fault == "flip" and kind == "get" and data and not self.path.endswith((".json", ".jsonl")):
            middle = len(data) // 2
            self.wfile.write(data[:middle] + bytes([data[middle] ^ 0x40]) + data[middle + 1 :])
        else:
            self.wfile.write(data)

    def _refuse(self, status: int, code: str) -> None:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made by the test</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("Content-Type", "application/xml")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - name of the standard library
        """Be quiet."""


def _kind(method: str, path: str) -> str:
    url = urlsplit(path)
    query = parse_qs(url.query, keep_blank_values=True)
    if method == "GET":
        return "list" if "list-type" in query or "/" not in url.path.strip("/") else "get"
    if method == "PUT" and "partNumber" in query:
        return "part"
    return "delete" if method == "DELETE" or "delete" in query else method.lower()


@contextmanager
def faulty(upstream: str) -> Iterator[Faulty]:
    """A proxy before the server at ``upstream``."""
    proxy = Faulty(upstream)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
