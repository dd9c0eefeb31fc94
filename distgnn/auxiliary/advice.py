"""Advice on the weighting before training: rates that cannot move weights, and judges that do not suit the number of rows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from distgnn.auxiliary.batches import Batches
from distgnn.auxiliary.problem import MultiTaskProblem
from distgnn.auxiliary.step import batches_of, horizon_of
from distgnn.auxiliary.trainer import MethodOptions
from distgnn.auxiliary.weighting import Weighting
from distgnn.config import TransferConfig

FEW_ROWS = 200
"""Fewer training rows than these need another judge where there are more validation rows (DBLP in docs/results/auxts.md)."""
FEW_JUDGES = 50
"""Fewer validation rows than these are too few to be halved."""
LARGE_SHARE = 0.2
"""A larger share of the training rows is much to hold out."""


def advise(config: TransferConfig, problem: MultiTaskProblem, methods: Mapping[str, Weighting]) -> None:
    """Warn of settings that do not suit the data, which are then trained as asked.

    Args:
        config: Config of the comparison.
        problem: The tasks.
        methods: The methods by name.
    """
    found = {
        method: batches_of(problem, weighting, MethodOptions(config, method), 0)
        for method, weighting in methods.items()
    }
    judged = [batches for method, batches in found.items() if methods[method].learns == "meta"]
    said = [_on_rates(config, method, methods[method], batches) for method, batches in found.items()]
    said += [_on_judges(config, problem, judged[0])] if judged else []
    for text in filter(None, said):
        warnings.warn(text, stacklevel=3)


def _on_rates(config: TransferConfig, method: str, weighting: Weighting, batches: Batches) -> str:
    """Say if the updates of a method's weights in a training cannot move them from their start to 0 or 1."""
    steps, options = config.epochs * batches.steps_per_epoch, config.weighted(method)
    horizon = horizon_of(weighting, options)
    said = weighting.advice(-(-steps // horizon), options.settled().lr)
    if not said:
        return ""
    short = " (an epoch is one step)" if batches.steps_per_epoch == 1 else ""
    each, lower = (f", one update in {horizon}", " or horizon") if horizon > 1 else ("", "")
    count = f"epochs={config.epochs} x {batches.steps_per_epoch} steps{short}{each}"
    return f"{method}: {count}: {said}; raise epochs or weighting.lr, or lower batch{lower}"


def _on_judges(config: TransferConfig, problem: MultiTaskProblem, batches: Batches) -> str:
    """Say if the rows that judge look-ahead steps are too few, or would better be validation rows."""
    options, validation = config.weighting, problem.validation
    if options.judge == "validation":
        few = f"weighting.judge=validation takes half of {validation} validation rows, and the other half selects the epoch"
        return f"{few}: a noisy choice; use judge=heldout, or more validation rows" if validation < FEW_JUDGES else ""
    if options.judge == "folds":
        return ""
    held = f"weighting.judge=heldout takes {len(batches.held)} of {problem.rows} training rows"
    if problem.rows < FEW_ROWS and validation > problem.rows:
        auto = "" if "auto" in config.schemes else ", with the scheme auto, which takes none where the tasks harm"
        return (
            f"{held}, and there are {validation} for validation; try"
            f" --weighting.judge validation --weighting.horizon 10 --weighting.start 1{auto}"
        )
    large = len(batches.held) > max(LARGE_SHARE, options.heldout) * problem.rows
    return f"{held}, which are few; use more rows, or judge=folds, which sees no overfitting" if large else ""
