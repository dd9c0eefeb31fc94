"""Config of the weighting of auxiliary losses. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from distgnn.config.base import OpenConfig, check
from distgnn.config.fields import Options, hyper, registered, setting

_AUXTS: dict[str, Any] = {"output": "softplus", "normalise": False, "granularity": "task", "types": "learned"}
_SELAR: dict[str, Any] = {"output": "sigmoid", "normalise": True, "granularity": "sample", "types": "onehot"}
_RATES = {"selar": 5e-3, "uncertainty": 1e-3}
_PAPER_RATE, _RATE = 1e-4, 1e-3
PUBLISHED: dict[str, Any] = {"start": 0.0, "judge": "folds", "lookahead": "gradient", "moments": "joint"}
"""Options with which AUX-TS is trained as its paper describes."""


@dataclass(frozen=True)
class WeightingConfig(OpenConfig):
    """Weighting of the target's and auxiliary losses. "auto" = as in the paper of the method."""

    method: str = hyper("auxts_all", names="weighting")
    """none = target only; fixed = constant weights; cosine = drop auxiliary gradients opposed to the target's; selar =
    SELAR; auxts_one, auxts_all = AUX-TS with one or all gradient similarities; frozen = untrained weighting model of
    auxts_all; uncertainty = homoscedastic uncertainty; library = a class of an installed package.
    """
    fixed: tuple[float, ...] = hyper(())
    """Weights of method=fixed, the target's first; empty = 1 for every task (paper)."""
    hidden: int = hyper(1000, most=1 << 20)
    """Hidden units of the weighting model (2 layers)."""
    output: Literal["auto", "softplus", "sigmoid"] = hyper("auto")
    """Output activation of the weighting model; auto = sigmoid for selar, else softplus."""
    start: float = hyper(0.05, before=0.0)
    """Initial weight of every auxiliary task for AUX-TS, relative to the target's; 0 = as published: random weights of the
    weighting model, near the target's.
    """
    lr: float = hyper(0.0)
    """Adam's learning rate for the weighting's own parameters; 0 = 5e-3 for selar, 1e-3 for uncertainty and AUX-TS, 1e-4
    for AUX-TS with start=0 (the paper's 1e-5 is for 16,000 and more steps; in shorter trainings the weights would hardly
    change).
    """
    normalise: bool | None = hyper(None)
    """Divide the weights of a weighting model by the target's mean weight; None = True for selar and with start, False for
    AUX-TS with start=0.
    """
    granularity: Literal["auto", "task", "sample"] = hyper("auto")
    """Weights of a weighting model per task or per sample (a loss that cannot be split into samples has one weight);
    auto = sample for selar, else task.
    """
    types: Literal["auto", "learned", "onehot"] = hyper("auto")
    """Encoding of the task for a weighting model: a learned embedding or one-hot; auto = onehot for selar, else
    learned.
    """
    folds: int = hyper(3, most=1000)
    """Stratified folds of each batch for cross-validation: each fold in turn evaluates a look-ahead step on the others.
    1 = no cross-validation: the second half of a batch evaluates a step on the first half. Not used by methods without
    look-ahead.
    """
    judge: Literal["folds", "heldout", "validation"] = hyper("heldout", before="folds")
    """Rows that evaluate a look-ahead step: heldout = training rows that are never trained on, validation = half of the
    validation rows, of which the other half then selects the epoch (of all methods), folds = folds of the batch (as
    published; all of them are trained on, so overfitting remains unseen).
    """
    heldout: float = hyper(0.1, before=0.1)
    """Share of the training rows that judge=heldout takes away, at least 10 rows and at most half of them."""
    lookahead: Literal["optimiser", "gradient"] = hyper("optimiser", before="gradient")
    """The look-ahead step: optimiser = Adam's next step, gradient = a step of gradient descent (as published)."""
    moments: Literal["task", "joint"] = hyper("task", before="joint")
    """Adam's moments for the shared parameters: task = one pair per task, whose steps are added with the tasks' weights
    relative to the target's (heads are trained on their own losses); joint = one pair, of the weighted gradient. Methods
    that weight samples always use joint moments: Adam ignores the scale of a task's gradient.
    """
    proximal: float = hyper(1.0, before=0.0)
    """Cost of the auxiliary tasks' part of the look-ahead step, added to the judge's loss: 1 = that at which the judge would
    give the target the weight 1; 0 = none: a task that helps slightly in the first steps then gains any weight. For
    moments=task, lookahead=optimiser and horizon=1; with joint moments Adam ignores the scale of the weighted gradient.
    """
    horizon: int = hyper(1, before=1, most=1000)
    """Steps of the optimiser until the look-ahead is evaluated. With more than 1, that many steps with constant weights are
    unrolled and differentiated once in as many steps, with second derivatives of the encoder. Only for weights per task
    and a judge other than folds.
    """
    alpha: float = hyper(0.0)
    """Learning rate of the look-ahead step; 0 = the model's current learning rate."""
    similarity: Literal["whole", "layer"] = hyper("whole")
    """Cosine of two tasks' gradients: whole = over all shared parameters, layer = mean of the cosines of the layers."""
    clip_norm: float = hyper(0.0)
    """Maximum norm of the weighted gradient (after cosines and look-ahead); 0 = no clipping."""
    library: str = setting("", code=True)
    """For method=library: module:Class, such as torchjd.aggregation:MGDAWeighting. It is instantiated without arguments
    and called in each step with the input selected by library_reads; it must return one weight per task.
    """
    library_reads: Literal["gramian", "matrix"] = hyper("gramian")
    """Input of a weighting class: the Gramian of the tasks' gradients [tasks, tasks], or the gradients [tasks,
    parameters]. For aggregator classes, the weights of their weighting are used, called with the gradients.
    """

    options: Options = registered("weighting")
    """Options of registered methods."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lr", "alpha", "clip_norm", "start", "proximal"):
            value = getattr(self, name)
            check(value >= 0, f"weighting.{name} must not be negative, found {value}")
        check(self.start <= 1, f"weighting.start must be at most 1, found {self.start}")
        for name in ("hidden", "folds", "horizon"):
            value = getattr(self, name)
            check(value >= 1, f"weighting.{name} must be at least 1, found {value}")
        unrolls = self.lookahead == "optimiser" and self.judge != "folds" and not self.clip_norm
        check(
            self.horizon == 1 or unrolls,
            f"weighting.horizon={self.horizon} needs lookahead=optimiser, judge=heldout or validation, and clip_norm=0",
        )
        check(0 < self.heldout <= 0.5, f"weighting.heldout must lie in (0, 0.5], found {self.heldout}")
        check(
            all(0 <= value < float("inf") for value in self.fixed),
            f"weighting.fixed must be finite and not negative, found {self.fixed}",
        )
        relative = self.moments == "task" and self.fixed
        check(
            not relative or self.fixed[0] > 0,
            "weighting.fixed gives the target, the first task, the weight 0, to which the others are relative; set"
            " weighting.moments=joint",
        )
        check(
            self.method != "library" or self.library.count(":") == 1,
            "weighting.method=library needs weighting.library=module:Class, such as"
            f" torchjd.aggregation:MGDAWeighting; found {self.library!r}",
        )

    def settled(self) -> WeightingConfig:
        """Return a copy with every "auto", None and lr=0 replaced by the value of the method's paper."""
        own = _SELAR if self.method == "selar" else _AUXTS | {"normalise": self.start > 0}
        values = {name: value for name, value in own.items() if getattr(self, name) in ("auto", None)}
        rate = _RATES.get(self.method, _RATE if self.start else _PAPER_RATE)
        return replace(self, lr=self.lr or rate, **values)
