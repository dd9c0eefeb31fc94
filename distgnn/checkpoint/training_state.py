"""Training state: weights, optimizer moments and the index of the next step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distgnn.checkpoint.adam import Adam
from distgnn.config import PretrainConfig
from distgnn.errors import RequestError
from distgnn.graph.schema import Schema
from distgnn.models.encoder import Encoder, build_encoder
from distgnn.objectives.base import Objective
from distgnn.objectives.build import build_objective

_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Frozen:
    """A copy of the training state in CPU memory, from which a checkpoint is written while training continues.

    Attributes:
        step: Index of the next step.
        skipped: Number of consecutive steps that were not finite.
        schema: Features of the encoder.
        weights: Number of encoder parameters.
        model: Weights and buffers by name.
        optimiser: Adam's tensors by name.
        damaged: A weight or running statistic that is not finite; "" if there is none.
    """

    step: int
    skipped: int
    schema: Schema
    weights: int
    model: dict[str, Tensor]
    optimiser: dict[str, Tensor]
    damaged: str = ""


@dataclass
class TrainState:
    """The training state.

    Attributes:
        encoder: The encoder.
        objective: The objective, trained together with the encoder; None if nothing is trained.
        optimiser: Adam over the parameters of both.
        step: Index of the next step.
        skipped: Number of consecutive steps that were not finite.
        graphs: Number of graphs of all steps, a graph once for each step it was in.
        cpu_seconds: CPU seconds of all steps, over all ranks.
    """

    encoder: Encoder
    objective: Objective | None
    optimiser: Adam
    step: int = 0
    skipped: int = 0
    graphs: int = 0
    cpu_seconds: float = 0.0

    @property
    def cost(self) -> dict[str, float]:
        """Graphs and CPU seconds spent, as saved with a checkpoint's metrics."""
        return {"graphs": float(self.graphs), "cpu_seconds": self.cpu_seconds}

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Trained parameters in a fixed order, with their names in model.safetensors."""
        return _named_parameters(self.encoder, self.objective)

    def freeze(self) -> Frozen:
        """Copy everything that a checkpoint holds."""
        weights = sum(parameter.numel() for parameter in self.encoder.parameters())
        model, optimiser = self.model_tensors(), self.optimiser_tensors()
        damaged = not_finite({name: model[name] for name in self._trained_names() if name in model})
        return Frozen(self.step, self.skipped, self.encoder.schema, weights, model, optimiser, damaged)

    def _trained_names(self) -> list[str]:
        """Names of the parameters and running statistics; other buffers of user modules may hold infinite constants."""
        modules = {"encoder": self.encoder, **({"objective": self.objective} if self.objective is not None else {})}
        named = [f"{part}.{name}" for part, module in modules.items() for name, _ in module.named_parameters()]
        buffers = [f"{part}.{name}" for part, module in modules.items() for name, _ in module.named_buffers()]
        return named + [name for name in buffers if "running_" in name]

    def model_tensors(self) -> dict[str, Tensor]:
        """Copies of weights and buffers on the CPU: ``encoder.*`` and ``objective.*``."""
        found = _prefixed("encoder", self.encoder.state_dict())
        if self.objective is not None:
            found |= _prefixed("objective", self.objective.state_dict())
        return {name: _copied(tensor) for name, tensor in found.items()}

    def optimiser_tensors(self) -> dict[str, Tensor]:
        """Copies of Adam's moments and step counts on the CPU, by parameter name; zeros before the first step."""
        found: dict[str, Tensor] = {}
        for name, parameter in self.named_parameters():
            kept = self.optimiser.state.get(parameter, {})
            for moment in _MOMENTS:
                found[f"{moment}.{name}"] = _copied(kept.get(moment, torch.zeros_like(parameter)))
            found[f"step.{name}"] = _copied(torch.as_tensor(kept.get("step", 0.0), dtype=torch.float32))
        return found

    def restore(self, step: int, model: dict[str, Tensor], optimiser: dict[str, Tensor], where: str) -> None:
        """Load the tensors of a checkpoint.

        Args:
            step: Index of the next step.
            model: Weights and buffers, as from :meth:`model_tensors`.
            optimiser: Adam's tensors, as from :meth:`optimiser_tensors`.
            where: Start of the error message.

        Raises:
            RequestError: If names or shapes differ.
        """
        load_weights(self.encoder, strip(model, "encoder"), where)
        if self.objective is not None:
            load_weights(self.objective, strip(model, "objective"), where)
        parameters = self.named_parameters()
        expected = {f"{kind}.{name}" for name, _ in parameters for kind in (*_MOMENTS, "step")}
        if expected != set(optimiser):
            odd = min(expected ^ set(optimiser))
            raise RequestError(
                f"{where}: the optimiser state does not fit the model ({odd}); resume with the run's own config"
            )
        for name, parameter in parameters:
            moments = {moment: optimiser[f"{moment}.{name}"].to(parameter.device) for moment in _MOMENTS}
            if any(moment.shape != parameter.shape for moment in moments.values()):
                raise RequestError(
                    f"{where}: the optimiser state of {name} has another shape; resume with the run's own config"
                )
            self.optimiser.state[parameter] = {"step": optimiser[f"step.{name}"].clone(), **moments}
        self.step = step


def make_state(config: PretrainConfig, schema: Schema, device: torch.device) -> TrainState:
    """Build a new training state. It depends on ``config`` and ``schema`` only, not on the machine or the rank."""
    encoder = build_encoder(schema, config.encoder, config.train.seed)
    objective = build_objective(config, schema)
    if objective is not None:
        encoder.psi.rehearse(objective.adaptation_order)
    encoder = encoder.to(device)
    if objective is not None:
        objective = objective.to(device)
    parameters = [parameter for _, parameter in _named_parameters(encoder, objective)]
    optimiser = Adam(parameters, config.train.lr, config.train.weight_decay)
    return TrainState(encoder, objective, optimiser)


def load_weights(module: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Strict ``load_state_dict``; raises RequestError if names or shapes differ."""
    check_weights(module, weights, where)
    module.load_state_dict(weights)


def check_weights(module: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Check that ``weights`` have the names and shapes of the module's own; raises RequestError if not."""
    own = module.state_dict()
    missing, unknown = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    if missing or unknown:
        raise RequestError(f"{where}: weights do not fit the model (missing {missing[:3]}, unknown {unknown[:3]})")
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            found = tuple(weights[name].shape)
            raise RequestError(f"{where}: weight {name} has shape {found} where {tuple(tensor.shape)} belongs")


def not_finite(tensors: dict[str, Tensor]) -> str:
    """Name of the first weight or running statistic that is not finite; "" if there is none."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return name
    return ""


def strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors named ``prefix.*``, without the prefix."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _copied(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _prefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _named_parameters(encoder: nn.Module, objective: nn.Module | None) -> list[tuple[str, nn.Parameter]]:
    modules = [("encoder", encoder)] + ([("objective", objective)] if objective is not None else [])
    return [
        (f"{part}.{name}", p) for part, module in modules for name, p in module.named_parameters() if p.requires_grad
    ]
