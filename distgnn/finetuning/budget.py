"""Whether methods were pre-trained at an equal cost: equal graphs, or equal CPU seconds."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from distgnn.errors import RequestError

Costs = Mapping[str, Mapping[str, float]]
"""Graphs and CPU seconds of the pre-training, those that are known, by method."""
TOLERANCE = 0.1
"""Largest relative difference of costs that are taken as equal."""
_FIELDS = {"graphs": ("graphs", "graphs"), "seconds": ("cpu_seconds", "CPU seconds")}
_MOST_PAIRS = 3


def check_budget(budget: str, costs: Costs) -> None:
    """Check that the methods were pre-trained at equal cost.

    Args:
        budget: "graphs", "seconds", or "any", which is always met.
        costs: Costs of all methods but controls; of a single one, nothing is compared.

    Raises:
        RequestError: The costs differ by more than 10 %, or one is not known.
    """
    if budget == "any" or len(costs) < 2:
        return
    field, unit = _FIELDS[budget]
    unknown = [name for name, cost in costs.items() if field not in cost]
    if unknown:
        raise RequestError(f"budget={budget}: checkpoint {unknown[0]} does not record its {unit}; leave budget out")
    values = {name: cost[field] for name, cost in costs.items()}
    if _differ(min(values.values()), max(values.values())):
        listed = ", ".join(f"{name} {value:,.0f}" for name, value in values.items())
        option = "max_steps" if budget == "graphs" else "max_cpu_seconds"
        raise RequestError(
            f"budget={budget}: the {unit} of pre-training differ by more than {TOLERANCE:.0%} ({listed}); pre-train to equal"
            f" {unit} with train.{option}, or leave budget out"
        )


def unequal_costs(costs: Costs) -> str:
    """Return a sentence that names the methods that differ by more than 10 % in graphs and in CPU seconds; "" if none do."""
    known = {name: cost for name, cost in costs.items() if all(field in cost for field, _ in _FIELDS.values())}
    pairs = [
        f"{one} and {other}"
        for one, other in combinations(known, 2)
        if all(_differ(known[one][field], known[other][field]) for field, _ in _FIELDS.values())
    ]
    if not pairs:
        return ""
    more = f" and {len(pairs) - _MOST_PAIRS} more pairs" if len(pairs) > _MOST_PAIRS else ""
    return (
        f"Warning: neither equal graphs nor equal CPU seconds (within {TOLERANCE:.0%}): {', '.join(pairs[:_MOST_PAIRS])}{more}."
        " A difference between them may be one of cost."
    )


def _differ(one: float, other: float) -> bool:
    return max(one, other) > (1 + TOLERANCE) * min(one, other)
