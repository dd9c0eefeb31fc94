"""distgnn network build, stat and verify."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from distgnn.commands.output import Output
from distgnn.config import NetworkBuildConfig
from distgnn.errors import RequestError
from distgnn.network.manifest import NAME, read_manifest, statistics
from distgnn.network.network import Network
from distgnn.network.store import save_network, verify_network
from distgnn.options import NetworkUri
from distgnn.storage.folder import open_folder


def build(config: NetworkBuildConfig, source: Callable[[Any], Network], output: Output) -> int:
    """Build a network with the function of its kind."""
    start = time.monotonic()
    if not config.overwrite and open_folder(config.out).size(NAME) is not None:  # before hours of reading
        raise RequestError(f"{config.out}: a network lies here already; use another place or --overwrite")
    manifest = save_network(source(config), config.out, config.overwrite)
    facts = statistics(manifest, config.out) | {"seconds": time.monotonic() - start}
    counts = f"{facts['nodes']:,} nodes, {facts['messages']:,} messages, {facts['relations']} relations"
    output.emit(facts, f"{config.out}: {counts}, {facts['bytes']:,} bytes, {facts['seconds']:.1f} s")
    return 0


def stat(options: NetworkUri, output: Output) -> int:
    """What a network holds."""
    facts = statistics(read_manifest(open_folder(options.uri)), options.uri)
    output.emit(facts, json.dumps(facts, indent=1))
    return 0


def verify(options: NetworkUri, output: Output) -> int:
    """Check a network byte by byte; RequestError with how much is wrong, the problems on stdout."""
    problems = verify_network(options.uri)
    for problem in problems:
        output.emit({"problem": problem}, problem)
    if problems:
        raise RequestError(f"{options.uri}: {len(problems)} problems found; restore the files or rebuild the network")
    output.emit({"network": options.uri, "ok": True}, f"{options.uri}: all well")
    return 0
