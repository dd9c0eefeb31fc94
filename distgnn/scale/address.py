"""Reachability check of a Ray cluster address."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from distgnn.errors import RequestError

_SECONDS = 10.0


def check_address(address: str, name: str) -> None:
    """Check that a server listens at an address; otherwise Ray would retry for minutes.

    Args:
        address: [scheme://]host:port; an address without a port is not checked.
        name: Name of the setting that holds it, for messages.

    Raises:
        RequestError: If the connection fails.
    """
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        if parts.port is not None:
            socket.create_connection((parts.hostname, parts.port), timeout=_SECONDS).close()
    except (OSError, ValueError) as error:
        raise RequestError(f"{name}={address}: no Ray answers there; start it, or correct or unset {name}") from error
