"""Predefined search spaces, in the syntax of :mod:`distgnn.search.domains`."""

PRESETS: dict[str, tuple[str, ...]] = {
    # L2P-GNN's adaptation: s and t to 3 (Lu et al., AAAI 2021, Fig. 3b), k and the sizes of a task, alpha, beta, order.
    "adaptation": (
        "pretrain.l2p.node_steps=0..3",
        "pretrain.l2p.graph_steps=0..3",
        "pretrain.l2p.children=1..3",
        "pretrain.l2p.support=2..20/2",
        "pretrain.l2p.query=1..10",
        "pretrain.l2p.node_lr=log(1e-4,1e-1)",
        "pretrain.l2p.graph_lr=log(1e-4,1e-1)",
        "pretrain.l2p.order={1,2}",
    ),
    # AUX-TS's weighting model: size, activation, rate, signals, normalisation, per task or sample, folds, look-ahead.
    "aux-ts": (
        "transfer.methods={auxts_one,auxts_all}",
        "transfer.weighting.similarity={whole,layer}",
        "transfer.weighting.hidden=log(32,2048)",
        "transfer.weighting.output={softplus,sigmoid}",
        "transfer.weighting.lr=log(1e-5,1e-2)",
        "transfer.weighting.normalise={true,false}",
        "transfer.weighting.granularity={task,sample}",
        "transfer.weighting.folds=1..4",
        "transfer.weighting.alpha=log(1e-4,1e-1)",
    ),
    "encoder": (
        "pretrain.encoder.kind={gin,gcn,sage,gat}",
        "pretrain.encoder.layers=2..6",
        "pretrain.encoder.width={32,64,128,300}",
        "pretrain.encoder.jumping_knowledge={last,sum,max,concat}",
        "pretrain.encoder.pooling={mean,sum,attention}",
    ),
    "finetune": (
        "finetune.lr=log(1e-4,1e-2)",
        "finetune.weight_decay=log(1e-6,1e-2)",
        "finetune.dropout=0.0..0.6",
        "finetune.batch={16,32,64,128}",
    ),
    # s x t, each 0..3 (Fig. 3b); searched as a grid.
    "fig3b": ("pretrain.l2p.node_steps=0..3", "pretrain.l2p.graph_steps=0..3"),
}
GRIDS = ("fig3b",)
"""Presets for which searcher=auto selects grid search."""
