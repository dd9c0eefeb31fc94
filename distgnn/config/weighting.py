"""Knobs of how auxiliary losses are weighed beside the target's. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from distgnn.config.base import OpenConfig, check
from distgnn.config.fields import Options, hyper, registered

_AUXTS: dict[str, Any] = {"output": "softplus", "normalise": False, "granularity": "task", "types": "learned"}
_SELAR: dict[str, Any] = {"output": "sigmoid", "normalise": True, "granularity": "sample", "types": "onehot"}
_RATES = {"selar": 5e-3, "uncertainty": 1e-3}


@dataclass(frozen=True)
class WeightingConfig(OpenConfig):
    """How the losses of a joint training are weighed. "auto" is what the method's paper does."""

    method: str = hyper("auxts_all", names="weighting")
    """none = the target alone; fixed; cosine = auxiliary gradients that do not oppose the target's; selar; auxts_one and
    auxts_all = AUX-TS that sees one or all similarities; frozen = the model of auxts_all, never trained; uncertainty;
    library = a class of an installed package."""
    fixed: tuple[float, ...] = hyper(())
    """Weights of method=fixed, the target's first; empty = 1 for every task (paper)."""
    hidden: int = hyper(1000)
    """Hidden units of the weighting model (2 layers)."""
    output: Literal["auto", "softplus", "sigmoid"] = hyper("auto")
    """Last activation of the weighting model; auto = sigmoid for selar, softplus for the others."""
    lr: float = hyper(0.0)
    """Adam's rate for what the weighting itself learns; 0 = the method's own: 5e-3 selar, 1e-3 uncertainty, 1e-4 AUX-TS (the
    paper's 1e-5 is for 16,000 steps and more; shorter trainings would end with the weights they began with)."""
    normalise: bool | None = hyper(None)
    """Divide a weighting model's weights by the mean weight of the target; None = True for selar, False for the others."""
    granularity: Literal["auto", "task", "sample"] = hyper("auto")
    """A weighting model's weights: one a task, or one a sample (a loss that only exists as a whole keeps one); auto = sample
    for selar, task for the others."""
    types: Literal["auto", "learned", "onehot"] = hyper("auto")
    """How a weighting model is told the task: a learned embedding or a one-hot code; auto = onehot for selar, else learned."""
    folds: int = hyper(3)
    """Parts of each batch, with equal numbers of each class: each in turn judges a look-ahead step on the others. 1 = no
    cross-validation: the second half of a batch judges the first. Methods that do not look ahead take the batch whole."""
    alpha: float = hyper(0.0)
    """Rate of the look-ahead step; 0 = the model's current learning rate."""
    similarity: Literal["whole", "layer"] = hyper("whole")
    """Cosine of two tasks' gradients: over all shared parameters at once, or its mean over layers."""
    clip_norm: float = hyper(0.0)
    """Largest norm of the joint gradient (after cosines and look-ahead); 0 = no clipping."""
    library: str = hyper("")
    """For method=library: module:Class, such as torchjd.aggregation:MGDAWeighting, made without arguments and called each
    step with what library_reads says; it answers with one weight a task."""
    library_reads: Literal["gramian", "matrix"] = hyper("gramian")
    """What a weighting class is called with: products of the tasks' gradients [tasks, tasks], or the gradients [tasks,
    parameters]. (Aggregator classes mix the gradients themselves; they are asked for their weights.)"""

    options: Options = registered("weighting")
    """Options of registered methods."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lr", "alpha", "clip_norm"):
            value = getattr(self, name)
            check(value >= 0, f"weighting.{name} must not be negative, found {value}")
        for name in ("hidden", "folds"):
            value = getattr(self, name)
            check(value >= 1, f"weighting.{name} must be at least 1, found {value}")
        check(
            all(0 <= value < float("inf") for value in self.fixed),
            f"weighting.fixed must be numbers from 0 on, found {self.fixed}",
        )
        check(
            self.method != "library" or self.library.count(":") == 1,
            "weighting.method=library needs weighting.library=module:Class, such as"
            f" torchjd.aggregation:MGDAWeighting; found {self.library!r}",
        )

    def settled(self) -> WeightingConfig:
        """The same with every "auto" and None (and lr=0) replaced by what the method's paper does."""
        own = _SELAR if self.method == "selar" else _AUXTS
        values = {name: value for name, value in own.items() if getattr(self, name) in ("auto", None)}
        return replace(self, lr=self.lr or _RATES.get(self.method, 1e-4), **values)
