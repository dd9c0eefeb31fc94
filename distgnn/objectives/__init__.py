"""Pre-training losses, one file each; see :data:`distgnn.register.objective`."""
