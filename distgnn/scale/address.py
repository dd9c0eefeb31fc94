"""Whether a Ray cluster answers at an address."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from distgnn.errors import RequestError

_SECONDS = 10.0


def check_address(address: str, name: str) -> None:
    """Raise RequestError where nobody listens at [scheme://]host:port, the value of ``name``; Ray would keep trying for minutes."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.port is not None:
            socket.create_connection((parts.hostname, parts.port), timeout=_SECONDS).close()
    except (OSError, ValueError) as error:
        raise RequestError(f"{name}={address}: no Ray answers there; start it, or mend or unset {name}") from error
