"""The commands ``distgnn network build``, ``stat`` and ``verify``."""

from __future__ import annotations

import json
import time

from distgnn.api.network import build_network
from distgnn.commands.output import Output
from distgnn.config import NetworkBuildConfig
from distgnn.corpus.account import Account
from distgnn.errors import RequestError
from distgnn.network.manifest import read_manifest, statistics
from distgnn.network.store import verify_network
from distgnn.options import NetworkUri
from distgnn.storage.folder import open_folder


def build(config: NetworkBuildConfig, source: str, output: Output) -> int:
    """Build a network with the named source, and print its size."""
    start = time.monotonic()
    manifest = build_network(source, config)
    facts = statistics(manifest, config.out) | {"seconds": time.monotonic() - start}
    accounts = [Account(**account) for account in manifest.meta.get("accounts", ())]
    inputs = "".join(f"{account.line()}\n" for account in accounts)
    counts = f"{facts['nodes']:,} nodes, {facts['messages']:,} messages, {facts['relations']} relations"
    output.emit(facts, f"{inputs}{config.out}: {counts}, {facts['bytes']:,} bytes, {facts['seconds']:.1f} s")
    return 0


def stat(options: NetworkUri, output: Output) -> int:
    """Print statistics of a network."""
    facts = statistics(read_manifest(open_folder(options.uri)), options.uri)
    output.emit(facts, json.dumps(facts, indent=1))
    return 0


def verify(options: NetworkUri, output: Output) -> int:
    """Verify every byte of a network and print the problems; raises RequestError with their number."""
    problems = verify_network(options.uri)
    for problem in problems:
        output.emit({"problem": problem}, problem)
    if problems:
        raise RequestError(f"{options.uri}: {len(problems)} problems found; restore the files or rebuild the network")
    output.emit({"network": options.uri, "ok": True}, f"{options.uri}: no problems")
    return 0
