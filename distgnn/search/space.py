"""Search spaces of sweeps: which config fields vary, and over which domains."""

from __future__ import annotations

import dataclasses
import typing
from operator import attrgetter
from typing import Any

from distgnn.config import from_json, to_json
from distgnn.config.fields import named, present_name, type_of
from distgnn.config.tune import TuneConfig
from distgnn.config.values import YES_NO
from distgnn.errors import RequestError
from distgnn.search.domains import Choice, Range, Value, format_domain, read_domain
from distgnn.search.presets import PRESETS

Params = dict[str, Value]
Space = dict[str, Range | Choice]
TRIALS = ("pretrain", "finetune", "transfer")
"""Groups of TuneConfig that are configs of trials."""
_GROUPS = {"pretrain": ("pretrain", "finetune"), "finetune": ("finetune",), "transfer": ("transfer",)}


def read_space(config: TuneConfig) -> Space:
    """Parse ``config.space``; presets come first.

    Raises:
        RequestError: If a preset, field or domain is invalid, or the space is empty.
    """
    named = [item for item in config.space if "=" not in item]
    for name in named:
        if name not in PRESETS:
            raise RequestError(
                f"space {name}: no predefined space has this name ({', '.join(PRESETS)}), and it is not FIELD=RANGE"
            )
    texts = [text for name in named for text in PRESETS[name]] + [item for item in config.space if "=" in item]
    space: Space = {}
    for text in texts:
        field, _, domain = text.partition("=")
        dotted, hint = find_field(config, field.strip(), text)
        space[dotted] = read_domain(domain.strip(), hint, text)
    if not space:
        raise RequestError(f"space: nothing to search; name a predefined space ({', '.join(PRESETS)}) or FIELD=RANGE")
    for dotted, domain in space.items():
        _check_values(config, dotted, domain)
    return space


def find_field(config: TuneConfig, field: str, text: str) -> tuple[str, Any]:
    """Resolve a field name, in which the group may be omitted.

    Args:
        config: Config of the sweep.
        field: Name of the field.
        text: The complete argument of ``--space``, for messages.

    Returns:
        The dotted name with its group, and the type of the field.

    Raises:
        RequestError: If there is no such field or it is not searchable.
    """
    groups = _GROUPS[config.kind]
    first, _, rest = field.partition(".")
    if first in TRIALS and first not in groups:
        raise RequestError(f"space {text}: trials of this sweep do not {first}; give what they need ({config.kind})")
    candidates = [(first, rest)] if first in groups else [(group, field) for group in groups]
    for group, name in candidates:
        name = present_name(type(getattr(config, group)), name)
        hint = _hint(type(getattr(config, group)), name)
        if hint is not None:
            _check_searchable(group, name, text)
            return f"{group}.{name}", hint
    raise RequestError(f"space {text}: there is no field {field!r} in {' or '.join(groups)}")


def apply(config: TuneConfig, params: Params) -> TuneConfig:
    """Set the fields ``params`` of ``config``.

    Raises:
        RequestError: If a value is invalid.
    """
    data, searchable = to_json(config), named(TuneConfig, "searchable")
    for dotted, value in params.items():
        if dotted not in searchable:  # such as a field that names code
            raise RequestError(f"trial: {dotted} cannot be a parameter of a trial")
        *path, last = dotted.split(".")
        place = data
        for part in path:
            place = place.setdefault(part, {})
        listed = typing.get_origin(_hint(TuneConfig, dotted)) is tuple and isinstance(value, str)
        place[last] = str(value).split("+") if listed else value
    return from_json(TuneConfig, data, "trial")


def present_params(params: Params) -> Params:
    """Convert parameters saved by an earlier version to the current field names and values."""
    found: Params = {}
    for dotted, value in params.items():
        name = present_name(TuneConfig, dotted)
        optional = _hint(TuneConfig, name) == (bool | None) and isinstance(value, str)
        found[name] = _plain(YES_NO.get(value, value)) if optional else value
    return found


def check_params(space: Space, params: Params, where: str) -> None:
    """Raise RequestError unless all ``params`` of a trial are in ``space``; ``where`` names the trial."""
    for dotted, value in params.items():
        if dotted not in space:
            raise RequestError(f"{where}: {dotted} is not searched by this sweep; restore its record")
        if not space[dotted].contains_rounded(value):
            raise RequestError(
                f"{where}: {dotted}={value!r} is outside {format_domain(space[dotted])}; restore its record"
            )


def defaults(config: TuneConfig, space: Space) -> Params:
    """Return the values of the fields of ``space`` in ``config``."""
    return {dotted: _plain(attrgetter(dotted)(config)) for dotted in space}


def grid(space: Space) -> tuple[dict[str, tuple[Value, ...]], int]:
    """Return the points of a grid search.

    Returns:
        The values of each field, and the number of points.

    Raises:
        RequestError: If a domain is not finite.
    """
    points = {dotted: domain.points() for dotted, domain in space.items()}
    infinite = [dotted for dotted, values in points.items() if not values]
    if infinite:
        raise RequestError(
            f"space {infinite[0]}: a grid needs a finite number of values; give {{a,b,c}} or lo..hi/step"
        )
    count = 1
    for values in points.values():
        count *= len(values)
    return points, count


def _plain(value: Any) -> Value:
    """Return the value of a field as a parameter; None becomes "auto"."""
    if value is None:
        return "auto"
    return "+".join(map(str, value)) if isinstance(value, tuple) else value


def _hint(kind: type[Any], dotted: str) -> Any:
    """Return the type of a field; None if there is no such field or it is a group."""
    hint = type_of(kind, dotted)
    return None if dataclasses.is_dataclass(hint) else hint


def _check_searchable(group: str, name: str, text: str) -> None:
    if f"{group}.{name}" not in named(TuneConfig, "searchable"):
        raise RequestError(f"space {text}: {group}.{name} is the same in all trials; set {group}.{name} itself")


def _check_values(config: TuneConfig, dotted: str, domain: Range | Choice) -> None:
    """Check that the field accepts the bounds of a range, or each choice."""
    for value in domain.ends():
        try:
            apply(config, {dotted: value})
        except RequestError as error:
            raise RequestError(f"space {dotted}: {value!r} is rejected ({error})") from error


def texts(space: Space) -> dict[str, str]:
    """Format the domains of ``space`` by field."""
    return {dotted: format_domain(domain) for dotted, domain in space.items()}
