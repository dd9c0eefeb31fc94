"""Reference implementation of encoders: a copy of psi per graph, and a loop over neighbours."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from distgnn.graph.batch import GraphBatch
from distgnn.models.encoder import Encoder

Copy = dict[str, Tensor]


def graph_rows(batch: GraphBatch) -> list[slice]:
    ptr = batch.node_ptr.tolist()
    return [slice(low, high) for low, high in pairwise(ptr)]


def stream_of(batch: GraphBatch, g: int) -> int:
    ptr = [0, batch.num_graphs] if batch.stream_ptr is None else batch.stream_ptr.tolist()
    return next(i for i in range(len(ptr) - 1) if ptr[i] <= g < ptr[i + 1])


class SlowEncoder:
    """Node embeddings [N, width] with graph g's psi taken from psi[g]; names in the copies are those of encoder.psi."""

    def __init__(self, encoder: Encoder, batch: GraphBatch) -> None:
        self.encoder, self.batch, self.config = encoder, batch, encoder.config
        self.owner = [g for g, r in enumerate(graph_rows(batch)) for _ in range(r.start, r.stop)]
        self.incoming: list[list[tuple[int, int]]] = [[] for _ in self.owner]
        for e, (u, v) in enumerate(batch.edges.t().tolist()):
            self.incoming[v].append((u, e))
            if not batch.directed:
                self.incoming[u].append((v, e))
        self.attributes = self._attributes() if encoder.schema.edge else None

    def _attributes(self) -> Tensor:
        features, batch = self.encoder.schema.edge, self.batch
        rows = torch.zeros(batch.num_edges, sum(f.size for f in features) + 1, dtype=self.encoder.dtype)
        for e in range(batch.num_edges):
            at = 0
            for column, size in enumerate(f.size for f in features if f.kind == "categorical"):
                rows[e, at + int(batch.edge_cat[e, column])] = 1
                at += size
            rows[e, at:-1] = batch.edge_dense[e].to(rows.dtype)
            rows[e, -1] = 1
        return rows

    def __call__(self, psi: list[Copy]) -> Tensor:
        x, outputs, count = self.encoder.embed(self.batch), [], self.config.layers
        layer = {"gin": self._gin, "gcn": self._gcn, "sage": self._sage, "gat": self._gat}[self.config.kind]
        for i in range(count):
            copies = [{k.removeprefix(f"layers.{i}."): v for k, v in copy.items()} for copy in psi]
            y = layer(x, copies, "none" if i + 1 == count else self.config.norm)
            y = torch.relu(y) if i + 1 < count else y
            x = x + y if self.config.residual else y
            outputs.append(x)
        if self.config.jumping_knowledge == "concat":
            return self._linear(torch.cat(outputs, 1), psi, "project")
        if self.config.jumping_knowledge == "max":
            return torch.stack(outputs).amax(0)
        return sum(outputs[1:], outputs[0]) if self.config.jumping_knowledge == "sum" else x

    def _linear(self, x: Tensor, psi: list[Copy], name: str) -> Tensor:
        rows = []
        for n, row in enumerate(x):
            copy = psi[self.owner[n]]
            y = copy[f"{name}.weight"] @ row
            rows.append(y + copy[f"{name}.bias"] if f"{name}.bias" in copy else y)
        return torch.stack(rows)

    def _edge(self, e: int, copy: Copy, width: int) -> Tensor:
        return (
            torch.zeros(width, dtype=self.encoder.dtype)
            if self.attributes is None
            else copy["edge.weight"] @ self.attributes[e]
        )

    def _norm(self, x: Tensor, psi: list[Copy], norm: str) -> Tensor:
        if norm == "none":
            return x
        if norm == "layer":
            x = (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + 1e-5)
        else:
            kind = {"graph": lambda g: g, "ghost": lambda g: stream_of(self.batch, g), "batch": lambda _: 0}[norm]
            of = torch.tensor([kind(g) for g in self.owner])
            done = torch.zeros_like(x)
            for group in of.unique():
                part = x[of == group]
                scaled = (part - part.mean(0)) / torch.sqrt(part.var(0, unbiased=False) + 1e-5)
                done = done.index_put((torch.nonzero(of == group).flatten(),), scaled)
            x = done
        scales = [(psi[g]["norm.scale.weight"], psi[g]["norm.scale.bias"]) for g in self.owner]
        return torch.stack([row * gain + shift for row, (gain, shift) in zip(x, scales, strict=True)])

    def _gin(self, x: Tensor, psi: list[Copy], _: str) -> Tensor:
        total = []
        for n, heard in enumerate(self.incoming):
            copy = psi[self.owner[n]]
            total.append(sum((x[j] + self._edge(e, copy, x.shape[1]) for j, e in heard), x[n]))
        hidden = self._norm(self._linear(torch.stack(total), psi, "lift"), psi, self.config.norm)
        return self._linear(torch.relu(hidden), psi, "project")

    def _gcn(self, x: Tensor, psi: list[Copy], norm: str) -> Tensor:
        degree = [1 + len(heard) for heard in self.incoming]
        total = []
        for n, heard in enumerate(self.incoming):
            copy, y = psi[self.owner[n]], x[n] / degree[n]
            for j, e in heard:
                y = y + (x[j] + self._edge(e, copy, x.shape[1])) / (degree[n] * degree[j]) ** 0.5
            total.append(y)
        return self._norm(self._linear(torch.stack(total), psi, "linear"), psi, norm)

    def _sage(self, x: Tensor, psi: list[Copy], norm: str) -> Tensor:
        means = []
        for n, heard in enumerate(self.incoming):
            copy = psi[self.owner[n]]
            total = sum((x[j] + self._edge(e, copy, x.shape[1]) for j, e in heard), torch.zeros_like(x[n]))
            means.append(total / max(len(heard), 1))
        return self._norm(self._linear(torch.cat([torch.stack(means), x], 1), psi, "linear"), psi, norm)

    def _gat(self, x: Tensor, psi: list[Copy], norm: str) -> Tensor:
        heads, width = self.config.heads, self.config.width
        sent, rows = self._linear(x, psi, "linear").view(-1, heads, width), []
        for n, heard in enumerate(self.incoming):
            copy, total = psi[self.owner[n]], torch.zeros(width, dtype=x.dtype)
            for h in range(heads):
                source, target = copy["score.weight"][0, h], copy["score.weight"][1, h]
                messages = [(j, None if self.attributes is None else self.attributes[e]) for j, e in heard] + [
                    (n, None)
                ]
                scores, values = [], []
                for j, a in messages:
                    edge = 0 if a is None else copy["edge_score.weight"][h] @ a
                    scores.append(torch.nn.functional.leaky_relu(source @ sent[j, h] + target @ sent[n, h] + edge, 0.2))
                    block = None if a is None else copy["edge.weight"].view(width, heads, -1)[:, h]
                    values.append(sent[j, h] if block is None else sent[j, h] + block @ a)
                weights = torch.softmax(torch.stack(scores), 0)
                total = (
                    total + sum((w * v for w, v in zip(weights, values, strict=True)), torch.zeros_like(total)) / heads
                )
            rows.append(total + copy["shift.bias"] if "shift.bias" in copy else total)
        return self._norm(torch.stack(rows), psi, norm)
