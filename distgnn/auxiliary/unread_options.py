"""Options that have no effect on a comparison of weighting methods: they are refused or warned of before training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from distgnn.auxiliary.weighting import Weighting
from distgnn.auxiliary.weighting.model import MODEL_OPTIONS
from distgnn.config import TransferConfig, WeightingConfig
from distgnn.config.base import given_options
from distgnn.errors import RequestError


@dataclass(frozen=True)
class _Need:
    """What makes a training read an option of WeightingConfig.

    Attributes:
        text: It in words.
        met: Whether a method with these options reads it.
    """

    text: str
    met: Callable[[Weighting, WeightingConfig], bool]


def _looks(weighting: Weighting, _: WeightingConfig) -> bool:
    return weighting.learns == "meta"


def _unrolls(weighting: Weighting, options: WeightingConfig) -> bool:
    return _looks(weighting, options) and not weighting.per_sample


def _one_step(weighting: Weighting, options: WeightingConfig) -> bool:
    by_task = _looks(weighting, options) and weighting.by_task and options.moments == "task"
    return by_task and options.lookahead == "optimiser" and options.horizon == 1


_NEEDS = {
    "lr": _Need("a method with parameters of its own", lambda weighting, _: weighting.learns != "nothing"),
    "judge": _Need(
        "a method with look-ahead steps", lambda w, options: _looks(w, options) or options.judge == "validation"
    ),
    "folds": _Need(
        "a method with look-ahead steps and judge=folds",
        lambda w, options: _looks(w, options) and options.judge == "folds",
    ),
    "heldout": _Need(
        "a method with look-ahead steps and judge=heldout",
        lambda w, options: _looks(w, options) and options.judge == "heldout",
    ),
    "lookahead": _Need("a method with look-ahead steps", _looks),
    "alpha": _Need("a method with look-ahead steps", _looks),
    "moments": _Need(
        "a method with weights per task, other than none and library", lambda w, _: w.by_task and not w.alone
    ),
    "proximal": _Need(
        "a method with look-ahead steps and weights per task, moments=task, lookahead=optimiser and horizon=1",
        _one_step,
    ),
    "horizon": _Need("a method with look-ahead steps and weights per task", _unrolls),
    "similarity": _Need("a method that reads similarities, or similarities=true", lambda w, _: w.reads != "losses"),
}
"""The options that depend on the training; those that are not here, and not a method's own, are always read."""
_OWN = {
    "fixed": "method fixed",
    "library": "method library",
    "library_reads": "method library",
    "start": "auxts_one, auxts_all or frozen",
    **dict.fromkeys(MODEL_OPTIONS, "a method with a weighting model"),
}
"""The options that methods read themselves, see :attr:`Weighting.own_options`."""


def unread_weighting(config: TransferConfig, methods: Mapping[str, Weighting]) -> dict[str, str]:
    """Return the options of ``config.weighting`` that differ from their defaults and are read by none of the methods.

    Args:
        config: Config of the comparison.
        methods: The methods by name.

    Returns:
        What would read it, by dotted name of the option.
    """
    texts = _OWN | {name: need.text for name, need in _NEEDS.items()}
    options = {method: config.weighted(method) for method in methods}
    return {
        f"weighting.{name}": texts[name]
        for name in given_options(config.weighting)
        if name in texts
        and not (name == "similarity" and config.similarities)
        and not any(_reads(name, weighting, options[method]) for method, weighting in methods.items())
    }


def _reads(name: str, weighting: Weighting, options: WeightingConfig) -> bool:
    if name in _NEEDS:
        return _NEEDS[name].met(weighting, options)
    return weighting.own_options is None or name in weighting.own_options


def warn_unread(found: Mapping[str, str]) -> None:
    """Warn of options without effect; found: what would read each of them."""
    if found:
        said = ", ".join(f"{name} (needs {what})" for name, what in found.items())
        warnings.warn(f"without effect: {said}; leave out what is not needed", stacklevel=3)


def refuse_unused_group(config: TransferConfig, unused: str, kind: str) -> None:
    """Raise RequestError if an option of the group that does not apply to this kind of data is given.

    Args:
        config: Config of the comparison.
        unused: The group, "corpus" or "network".
        kind: What ``config.data`` is, in words.
    """
    given = given_options(getattr(config, unused))
    if given:
        other = "network" if unused == "corpus" else "corpus"
        raise RequestError(
            f"{unused}.{given[0]}: {config.data} is {kind}, which no option of {unused} applies to; use those of {other}"
        )
