"""Options without effect on a weighting method: refused or warned of before training, and not part of the names of its jobs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from distgnn import register
from distgnn.auxiliary.weighting import Weighting
from distgnn.auxiliary.weighting.model import MODEL_OPTIONS
from distgnn.config import TransferConfig, WeightingConfig
from distgnn.config.base import given_options, to_json
from distgnn.errors import RequestError


@dataclass(frozen=True)
class _Need:
    """What makes a training read an option of WeightingConfig.

    Attributes:
        text: It in words.
        met: Whether a method with these options reads it.
    """

    text: str
    met: Callable[[type[Weighting], WeightingConfig], bool]


def _looks(kind: type[Weighting], _: WeightingConfig) -> bool:
    return kind.learns == "meta"


def _by_task(kind: type[Weighting], options: WeightingConfig) -> bool:
    return not kind.weights_samples(options) and kind.reads != "gradients"


def _unrolls(kind: type[Weighting], options: WeightingConfig) -> bool:
    return _looks(kind, options) and not kind.weights_samples(options)


def _one_step(kind: type[Weighting], options: WeightingConfig) -> bool:
    by_task = _looks(kind, options) and _by_task(kind, options) and options.moments == "task"
    return by_task and options.lookahead == "optimiser" and options.horizon == 1


_NEEDS = {
    "lr": _Need("a method with parameters of its own", lambda kind, _: kind.learns != "nothing"),
    "judge": _Need(
        "a method with look-ahead steps", lambda kind, options: _looks(kind, options) or options.judge == "validation"
    ),
    "folds": _Need(
        "a method with look-ahead steps and judge=folds",
        lambda kind, options: _looks(kind, options) and options.judge == "folds",
    ),
    "heldout": _Need(
        "a method with look-ahead steps and judge=heldout",
        lambda kind, options: _looks(kind, options) and options.judge == "heldout",
    ),
    "lookahead": _Need("a method with look-ahead steps", _looks),
    "alpha": _Need("a method with look-ahead steps", _looks),
    "moments": _Need(
        "a method with weights per task, other than none and library",
        lambda kind, options: _by_task(kind, options) and not kind.alone,
    ),
    "proximal": _Need(
        "a method with look-ahead steps and weights per task, moments=task, lookahead=optimiser and horizon=1",
        _one_step,
    ),
    "horizon": _Need("a method with look-ahead steps and weights per task", _unrolls),
    "similarity": _Need(
        "a method that reads similarities, or similarities=true", lambda kind, _: kind.reads != "losses"
    ),
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


def unread_weighting(config: TransferConfig) -> dict[str, str]:
    """Return the options of ``config.weighting`` that differ from their defaults and are read by none of the methods.

    Returns:
        What would read it, by dotted name of the option.
    """
    texts = _OWN | {name: need.text for name, need in _NEEDS.items()}
    methods = [config.weighted(method) for method in config.compared]
    return {
        f"weighting.{name}": texts[name]
        for name in given_options(config.weighting)
        if name in texts and not any(_reads(name, options, config.similarities) for options in methods)
    }


def read_weighting(config: TransferConfig, method: str) -> dict[str, Any]:
    """Return the weighting options that the results of ``method`` depend on, as JSON.

    Those that it does not read have their defaults, so that results are found again if only options of other methods change.
    """
    defaults, options = to_json(WeightingConfig()), config.weighted(method)
    unread = {name for name in (*_OWN, *_NEEDS) if not _reads(name, options, config.similarities)}
    return to_json(options) | {name: defaults[name] for name in unread}


def _reads(name: str, options: WeightingConfig, similarities: bool) -> bool:
    """Return whether ``options.method`` reads an option of _NEEDS or _OWN; True if it is not known what the method reads."""
    kind = register.weighting.get(options.method, "methods").make
    if not isinstance(kind, type) or not issubclass(kind, Weighting) or kind.own_options is None:
        return True
    if name in _NEEDS:
        return _NEEDS[name].met(kind, options) or (name == "similarity" and similarities)
    return name in kind.own_options


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
