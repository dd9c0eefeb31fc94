"""GPU checks of values: losses and gradients against the CPU, and in lower precision.

Every check returns a :class:`Finding` with rows of a table, and failures if there are any.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from distgnn import register
from distgnn.checkpoint.training_state import TrainState, make_state
from distgnn.config import EncoderConfig, PretrainConfig, TrainConfig
from distgnn.corpus.manifest import read_manifest
from distgnn.graph.batch import GraphBatch, map_tensors
from distgnn.pretraining.precision import autocast, matrix_products
from distgnn.pretraining.step import objective_of
from distgnn.storage.folder import open_folder

from .data import molecules, step_batches

KINDS = ("gin", "gcn", "sage", "gat")
SMALL = EncoderConfig(layers=3, width=64)
SINGLE = 1e-4
_DOUBLE = 1e-10


@dataclass
class Finding:
    """Result of a check.

    Attributes:
        rows: Rows of its table; all have the same keys.
        failures: What is wrong; empty if the check passed.
        notes: Explanations of the table.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def expect(self, ok: bool, failure: str) -> None:
        """Add ``failure`` unless ``ok``."""
        if not ok:
            self.failures.append(failure)


@dataclass(frozen=True)
class Case:
    """An objective, an encoder and a batch of a corpus.

    Attributes:
        uri: URI of the corpus.
        objective: Name of the objective.
        encoder: Config of the encoder.
        train: Training options; precision and seed matter.
    """

    uri: str
    objective: str = "l2p"
    encoder: EncoderConfig = SMALL
    train: TrainConfig = field(default_factory=TrainConfig)

    def state(self, device: str) -> TrainState:
        """Return a new training state on ``device``."""
        config = PretrainConfig("unused", objective=self.objective, encoder=self.encoder, train=self.train)
        return make_state(config, read_manifest(open_folder(self.uri)).schema, torch.device(device))

    def batch(self, per_stream: int = 16) -> GraphBatch:
        """Return the first training batch, of 4 streams, on the CPU."""
        return step_batches(self.uri, objective_of(self.state("cpu")).prepare, 1, per_stream=per_stream)[0]

    def gradient(self, device: str, dtype: torch.dtype, batch: GraphBatch) -> tuple[float, Tensor]:
        """Compute loss and gradient.

        Args:
            device: Device of the computation.
            dtype: Data type of the parameters and inputs.
            batch: The batch.

        Returns:
            The loss, and the flat gradient as float64 on the CPU.
        """
        state = self.state(device)
        modules = (state.encoder.to(dtype).train(), objective_of(state).to(dtype).train())
        cast = map_tensors(batch.to(device), lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
        where = torch.device(device)
        with matrix_products(self.train, where), autocast(self.train, where):
            total = objective_of(state).losses(state.encoder, cast, 0, 0).total
            total.backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for module in modules for p in module.parameters()]
        return float(total.detach()), torch.cat([grad.flatten().double().cpu() for grad in grads])


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference, relative to the norm of ``expected``."""
    return float((found - expected).norm() / expected.norm().clamp_min(1e-300))


def check_equality(device: str) -> Finding:
    """Loss and gradient on the GPU against the CPU, in float64 and float32, for every encoder and every objective."""
    finding = Finding(notes=["Relative error of the gradient against float64 on the CPU: norm of difference / norm."])
    with molecules(2048) as (_, uri):
        cases = [Case(uri, encoder=replace(SMALL, kind=kind)) for kind in KINDS]
        cases += [Case(uri, name) for name in register.objective.names() if name not in ("l2p", "supervised")]
        cases += [Case(uri, encoder=replace(SMALL, norm=norm)) for norm in ("layer", "graph", "batch", "none")]
        for case in cases:
            finding.rows.append(_equality(case, device, finding))
    return finding


def _equality(case: Case, device: str, finding: Finding) -> dict[str, Any]:
    batch = case.batch()
    loss, exact = case.gradient("cpu", torch.float64, batch)
    double_loss, double = case.gradient(device, torch.float64, batch)
    single = case.gradient(device, torch.float32, batch)[1]
    again = case.gradient(device, torch.float32, batch)[1]
    cpu = difference(case.gradient("cpu", torch.float32, batch)[1], exact)
    name = f"{case.objective} {case.encoder.kind} {case.encoder.norm}"
    errors = difference(double, exact), difference(single, exact)
    finding.expect(errors[0] < _DOUBLE, f"{name}: float64 gradient differs from the CPU by {errors[0]:.1e}")
    finding.expect(abs(double_loss - loss) < _DOUBLE * abs(loss), f"{name}: float64 loss differs from the CPU")
    finding.expect(errors[1] < max(SINGLE, 4 * cpu), f"{name}: float32 gradient has an error of {errors[1]:.1e}")
    row = {"objective": case.objective, "encoder": case.encoder.kind, "norm": case.encoder.norm}
    errors_of = {"float64 GPU": errors[0], "float32 GPU": errors[1], "float32 CPU": cpu}
    return {**row, **errors_of, "repeat bit-equal": bool(torch.equal(single, again))}


def check_precision(device: str) -> Finding:
    """Gradients with TF32 and bfloat16 against float32: 1 - cosine, and relative error of the loss."""
    finding = Finding()
    with molecules(2048) as (_, uri):
        for objective in ("l2p", "edgepred"):
            for kind in KINDS:
                finding.rows.append(_precision(Case(uri, objective, replace(SMALL, kind=kind)), device, finding))
    return finding


def _precision(case: Case, device: str, finding: Finding) -> dict[str, Any]:
    batch = case.batch()
    loss, expected = case.gradient(device, torch.float32, batch)
    row: dict[str, Any] = {"objective": case.objective, "encoder": case.encoder.kind}
    for precision in ("tf32", "bf16"):
        found_loss, found = replace(case, train=TrainConfig(precision=precision)).gradient(device, torch.float32, batch)
        row[f"{precision} 1 - cosine"] = 1 - float(torch.cosine_similarity(found, expected, dim=0))
        row[f"{precision} loss error"] = abs(found_loss - loss) / abs(loss)
    sensitive = case.objective == "l2p" and case.encoder.kind == "gin"  # sensitive to rounding, see test_precision.py
    name, bf16 = f"{case.objective} {case.encoder.kind}", row["bf16 1 - cosine"]
    finding.expect(bf16 < (0.2 if sensitive else 0.02), f"{name}: bf16 changes the direction of the gradient")
    finding.expect(row["tf32 1 - cosine"] < bf16, f"{name}: tf32 changes the direction of the gradient more than bf16")
    return row
