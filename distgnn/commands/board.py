"""The command ``distgnn board``."""

from __future__ import annotations

import ipaddress
import signal
import sys
import threading

from distgnn.api.board import serve_board
from distgnn.commands.output import Output
from distgnn.options import BoardOptions


def board(options: BoardOptions, output: Output) -> int:
    """Serve the page until Ctrl-C or SIGTERM."""
    over = threading.Event()
    previous = {number: signal.signal(number, lambda *_: over.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with serve_board(options.folder, options.host, options.port) as url:
            if not _is_local(options.host):
                sys.stderr.write("distgnn: other machines can read this page; it has no authentication\n")
            output.emit({"url": url, "folder": options.folder}, f"{url} follows {options.folder}; Ctrl-C ends it")
            over.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
