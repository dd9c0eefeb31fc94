"""L2P-GNN: the objective, the child tasks it adapts on, and their batches."""
