"""L2P-GNN: the objective, the sampling of its child tasks, and their batches."""
