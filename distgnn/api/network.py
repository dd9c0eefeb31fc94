"""Building networks: ``distgnn.build_network``."""

from __future__ import annotations

from typing import Any

from distgnn import register
from distgnn.api.arguments import build_config, import_named
from distgnn.config import NetworkBuildConfig
from distgnn.network.manifest import NetworkManifest
from distgnn.network.store import refuse_existing, save_network
from distgnn.storage.folder import open_folder
from distgnn.storage.lock import locked


def build_network(source: str, config: NetworkBuildConfig | None = None, **options: Any) -> NetworkManifest:
    """Build one large network from raw files, for :func:`distgnn.transfer`.

    Args:
        source: Name of a network source, such as ``"kgrec"`` or ``"hetero"``; see :mod:`distgnn.register`.
        config: Config of the source. Alternatively, its fields as keyword options.
        **options: Fields of the config, such as ``input`` and ``out``.

    Returns:
        Manifest of the network that was written to ``out``.

    Raises:
        RequestError: The source is unknown, an option is wrong, an input file cannot be read, or a network exists at ``out``.
    """
    import_named({"config": config, **options})
    entry = register.network_source.get(source, "source")
    chosen: NetworkBuildConfig = build_config(entry.config or NetworkBuildConfig, config, options)
    folder = open_folder(chosen.out)
    with locked(folder):
        if not chosen.overwrite:  # before hours of reading
            refuse_existing(folder)
        return save_network(entry.make(chosen), chosen.out, chosen.overwrite)
