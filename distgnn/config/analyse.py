"""Config of ``distgnn analyse``. A field's docstring is its help text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from distgnn.config.base import check
from distgnn.config.few_labels import FewLabelConfig
from distgnn.config.fields import setting, writes


@dataclass(frozen=True)
class AnalyseConfig(FewLabelConfig):
    """Show what fine-tuning changes in checkpoints: CKA of every layer, training loss and test score (L2P-GNN, Fig. 2).

    Trainings, draws and the control 'none' are those of few-label evaluation (distgnn finetune --updates). With
    --against, scores are also shown against options of the pre-training (Fig. 3).

    Example: distgnn analyse --corpus data/bace --checkpoint l2p=runs/l2p-0,runs/l2p-1 edgepred=runs/edgepred-0
    """

    out: str = writes("runs/analysis")
    """URI of the folder for results, tables and pictures."""
    train_labels: tuple[int | Literal["all"], ...] = setting((100,), results=False)
    """Numbers of graphs to learn from; all = all but the test graphs. Fewer are a subset of more."""
    updates: tuple[int, ...] = setting((10, 30, 100), results=False)
    """Optimiser updates after which a training is compared with its start; empty = after all epochs."""
    against: tuple[str, ...] = setting((), results=False)
    """One or two fields of the pre-training configs, such as l2p.levels, encoder.width, or l2p.node_steps l2p.graph_steps:
    the scores of the checkpoints are shown against their values.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.checkpoint), "checkpoint: there is nothing to analyse; give checkpoints or runs")
        check(not self.frozen, "frozen: a frozen encoder does not change; leave it out")
        check(len(self.against) <= 2, f"against: takes one or two fields, found {len(self.against)}")
        check(len(set(self.against)) == len(self.against), f"against: {self.against[:1]} is given twice")

    @property
    def few_labels(self) -> bool:
        """Always true."""
        return True
