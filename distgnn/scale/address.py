"""Addresses: of a Ray cluster, and of the rendezvous of processes."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import ray

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


def rendezvous() -> str:
    """Return tcp://HOST:PORT of this node with a free port, where processes of torch.distributed can meet."""
    host = ray.util.get_node_ip_address()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        free.bind(("", 0))
        return f"tcp://{f'[{host}]' if ':' in host else host}:{free.getsockname()[1]}"
