"""Builders of networks, one file each; see :data:`distgnn.register.network_source`."""
