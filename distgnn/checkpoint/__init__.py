"""Format, loading and copying of checkpoints."""
