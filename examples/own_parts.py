# %% [markdown]
# # Your own encoder and objective
#
# An encoder is a PyG module, an objective a class with a loss; a decorator registers each. In a notebook they are used at once; in files, name the module with
# `--imports` (docs/extending.md).

# %%
import os
from dataclasses import dataclass
from pathlib import Path

import torch
import torch_geometric.nn as pyg
from torch import nn

import distgnn as dg
from distgnn.objectives.base import Losses, Objective, no_extras

folder = Path(os.environ.get("DISTGNN_EXAMPLES", "build/examples")) / "own_parts"
dg.build_corpus("motifs", graphs=300, unit_rows=64, out=folder / "corpus", overwrite=True)


# %% [markdown]
# ## An encoder
#
# L2P-GNN adapts it to each graph without a change to its code.


# %%
class TwoLayers(nn.Module):
    """Two GCN layers with a normalisation between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second, self.norm = pyg.GCNConv(width, width), pyg.GCNConv(width, width), nn.BatchNorm1d(width)

    def forward(self, x, edge_index):
        """Return node embeddings."""
        return self.second(self.norm(self.first(x, edge_index)).relu(), edge_index)


@dg.register.encoder("two")
def two(schema, config):
    """Build the encoder."""
    return TwoLayers(config.width)


run = dg.pretrain(
    corpus=folder / "corpus", out=folder / "runs", encoder={"kind": "two", "width": 16}, train={"epochs": 2}
)
print(run.status, run.progress["metrics"]["loss"])


# %% [markdown]
# ## An objective
#
# Its options become options of the command line and of sweeps.


# %%
@dataclass(frozen=True)
class LengthConfig:
    """Keep graph embeddings near a length."""

    length: float = 1.0
    """The length."""


@dg.register.objective("length", LengthConfig)
class Length(Objective):
    """Squared distance of a graph embedding's length from the target."""

    metric_names = ()

    def __init__(self, config: LengthConfig, context) -> None:
        super().__init__()
        self.config, self.prepare = config, no_extras

    def losses(self, encoder, batch, seed, epoch) -> Losses:
        """Return the sum over graphs."""
        graphs = encoder.pool(encoder(batch), batch)
        total = (graphs.norm(dim=1) - self.config.length).square().sum()
        return Losses(total, torch.tensor(float(batch.num_graphs)), {})


run = dg.pretrain(
    corpus=folder / "corpus",
    out=folder / "runs",
    objective="length",
    length={"length": 2.0},
    encoder={"layers": 2, "width": 16},
    train={"epochs": 4},
)
print(run.status, run.progress["metrics"]["loss"])
