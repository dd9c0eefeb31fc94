"""EdgePred or AttrMasking with PyTorch Geometric alone, after pretrain-gnns: what a user writes without distgnn.

python pyg_pretrain.py OBJECTIVE CORPUS STEPS WORKERS. Checkpoints, resuming, validation and reproducible draws are not in it.
"""

import json
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINEConv
from torch_geometric.utils import negative_sampling

import distgnn as dg

OBJECTIVE, CORPUS, STEPS, WORKERS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
LAYERS, WIDTH, BATCH, RATE = 3, 64, 64, 0.15


class GIN(nn.Module):
    def __init__(self, node_sizes, edge_sizes):
        super().__init__()
        self.nodes = nn.ModuleList(nn.Embedding(size + 1, WIDTH) for size in node_sizes)  # the last one: masked
        self.edges = nn.ModuleList(
            nn.ModuleList(nn.Embedding(size, WIDTH) for size in edge_sizes) for _ in range(LAYERS)
        )
        self.layers = nn.ModuleList(GINEConv(self.mlp()) for _ in range(LAYERS))

    @staticmethod
    def mlp():
        lift, project = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        return nn.Sequential(lift, nn.BatchNorm1d(2 * WIDTH), nn.ReLU(), project)

    def forward(self, data):
        x = sum(table(data.x[:, at]) for at, table in enumerate(self.nodes))
        for number, (layer, tables) in enumerate(zip(self.layers, self.edges)):
            attributes = sum(table(data.edge_attr[:, at]) for at, table in enumerate(tables))
            x = layer(x, data.edge_index, attributes)
            x = x.relu() if number + 1 < LAYERS else x
        return x


def draw_negatives(data):
    data = data.clone()
    data.negative_edge_index = negative_sampling(data.edge_index, data.num_nodes, data.num_edges // 2)
    return data


def mask_nodes(data):
    data = data.clone()
    count = max(1, int(data.num_nodes * RATE))
    data.masked = torch.zeros(data.num_nodes, dtype=torch.bool)
    data.masked[torch.randperm(data.num_nodes)[:count]] = True
    data.truth = data.x.clone()
    data.x = torch.where(data.masked[:, None], NODE_SIZES, data.x)
    return data


def edge_loss(nodes, data):
    u, v = data.edge_index[:, data.edge_index[0] < data.edge_index[1]]
    positive = (nodes[u] * nodes[v]).sum(1)
    u, v = data.negative_edge_index
    negative = (nodes[u] * nodes[v]).sum(1)
    return F.softplus(-positive).mean() + F.softplus(negative).mean()


def mask_loss(nodes, data):
    rows = nodes[data.masked]
    return sum(F.cross_entropy(head(rows), data.truth[data.masked, at]) for at, head in enumerate(heads))


corpus = dg.Corpus(CORPUS)
NODE_SIZES = torch.tensor([feature.size for feature in corpus.schema.node])
graphs = [corpus[i] for i in range(len(corpus))]
for graph in graphs:
    graph.x, graph.edge_attr = graph.x.long(), graph.edge_attr.long()
model = GIN(NODE_SIZES.tolist(), [feature.size for feature in corpus.schema.edge])
heads = nn.ModuleList(nn.Linear(WIDTH, size) for size in NODE_SIZES.tolist())
prepare, loss_of = {"edgepred": (draw_negatives, edge_loss), "attrmasking": (mask_nodes, mask_loss)}[OBJECTIVE]


class Prepared(torch.utils.data.Dataset):
    def __len__(self):
        return len(graphs)

    def __getitem__(self, i):
        return prepare(graphs[i])


start, step, used = time.perf_counter(), 0, list(model.parameters())
optimiser = torch.optim.Adam(used + (list(heads.parameters()) if OBJECTIVE == "attrmasking" else []), lr=1e-3)
while step < STEPS:
    for batch in DataLoader(Prepared(), BATCH, shuffle=True, drop_last=True, num_workers=WORKERS):
        optimiser.zero_grad()
        loss = loss_of(model(batch), batch)
        loss.backward()
        optimiser.step()
        step += 1
        if step == STEPS:
            break
seconds = time.perf_counter() - start
peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e6
print(json.dumps({"seconds": seconds, "graphs": STEPS * BATCH, "mb": peak, "loss": loss.item()}))
