"""Search spaces: which fields of a sweep's configs vary, and how (see :mod:`distgnn.search.domains`)."""

from __future__ import annotations

import dataclasses
import typing
from operator import attrgetter
from typing import Any

from distgnn.config import from_json, to_json
from distgnn.config.base import YES_NO
from distgnn.config.fields import named, present_name, type_of
from distgnn.config.tune import TuneConfig
from distgnn.errors import RequestError
from distgnn.search.domains import Choice, Range, Value, read_domain, told
from distgnn.search.presets import PRESETS

Params = dict[str, Value]
Space = dict[str, Range | Choice]
TRIALS = ("pretrain", "finetune", "transfer")
"""Groups of a sweep's config that hold configs of trials."""
_GROUPS = {"pretrain": ("pretrain", "finetune"), "finetune": ("finetune",), "transfer": ("transfer",)}


def read_space(config: TuneConfig) -> Space:
    """The space of ``config``, ready-made ones first; raises RequestError naming a field or text that is wrong."""
    named = [item for item in config.space if "=" not in item]
    for name in named:
        if name not in PRESETS:
            raise RequestError(
                f"--space {name}: no ready-made space has this name ({', '.join(PRESETS)}), and it is not FIELD=RANGE"
            )
    texts = [text for name in named for text in PRESETS[name]] + [item for item in config.space if "=" in item]
    space: Space = {}
    for text in texts:
        field, _, domain = text.partition("=")
        dotted, hint = find_field(config, field.strip(), text)
        space[dotted] = read_domain(domain.strip(), hint, text)
    if not space:
        raise RequestError(f"--space: nothing to search; name a ready-made space ({', '.join(PRESETS)}) or FIELD=RANGE")
    for dotted, domain in space.items():
        _check_values(config, dotted, domain)
    return space


def find_field(config: TuneConfig, field: str, text: str) -> tuple[str, Any]:
    """(name with its group in front, type) of ``field``, which may leave the group out; raises RequestError quoting ``text``."""
    groups = _GROUPS[config.kind]
    first, _, rest = field.partition(".")
    if first in TRIALS and first not in groups:
        raise RequestError(f"--space {text}: trials of this sweep do not {first}; give what they need ({config.kind})")
    candidates = [(first, rest)] if first in groups else [(group, field) for group in groups]
    for group, name in candidates:
        name = present_name(type(getattr(config, group)), name)
        hint = _hint(type(getattr(config, group)), name)
        if hint is not None:
            _check_searchable(group, name, text)
            return f"{group}.{name}", hint
    raise RequestError(f"--space {text}: there is no field {field!r} in {' or '.join(groups)}")


def apply(config: TuneConfig, params: Params) -> TuneConfig:
    """``config`` with the values of ``params``; raises RequestError where they do not fit together."""
    data = to_json(config)
    for dotted, value in params.items():
        *path, last = dotted.split(".")
        place = data
        for part in path:
            place = place.setdefault(part, {})
        listed = typing.get_origin(_hint(TuneConfig, dotted)) is tuple and isinstance(value, str)
        place[last] = str(value).split("+") if listed else value
    return from_json(TuneConfig, data, "trial")


def present_params(params: Params) -> Params:
    """Parameters that an earlier version may have written, with the present names and values of their fields."""
    found: Params = {}
    for dotted, value in params.items():
        name = present_name(TuneConfig, dotted)
        optional = _hint(TuneConfig, name) == (bool | None) and isinstance(value, str)
        found[name] = _plain(YES_NO.get(value, value)) if optional else value
    return found


def defaults(config: TuneConfig, space: Space) -> Params:
    """What the fields of ``space`` are in ``config`` itself."""
    return {dotted: _plain(attrgetter(dotted)(config)) for dotted in space}


def grid(space: Space) -> tuple[dict[str, tuple[Value, ...]], int]:
    """(the values of every field, how many points there are); raises RequestError for a field without end of values."""
    points = {dotted: domain.points() for dotted, domain in space.items()}
    endless = [dotted for dotted, values in points.items() if not values]
    if endless:
        raise RequestError(f"--space {endless[0]}: a grid needs an end of values; give {{a,b,c}} or lo..hi/step")
    count = 1
    for values in points.values():
        count *= len(values)
    return points, count


def _plain(value: Any) -> Value:
    """A value of a field as a parameter; None is the automatic choice."""
    if value is None:
        return "auto"
    return "+".join(map(str, value)) if isinstance(value, tuple) else value


def _hint(kind: type[Any], dotted: str) -> Any:
    """The type of a field that is not a group; None where there is none."""
    hint = type_of(kind, dotted)
    return None if dataclasses.is_dataclass(hint) else hint


def _check_searchable(group: str, name: str, text: str) -> None:
    if f"{group}.{name}" not in named(TuneConfig, "searchable"):
        raise RequestError(f"--space {text}: {group}.{name} is the same in all trials; set it with --{group}.{name}")


def _check_values(config: TuneConfig, dotted: str, domain: Range | Choice) -> None:
    """The ends of a range, or every choice, must be values that the field takes beside what is set."""
    for value in domain.ends():
        try:
            apply(config, {dotted: value})
        except RequestError as error:
            raise RequestError(f"--space {dotted}: {value!r} is refused ({error})") from error


def texts(space: Space) -> dict[str, str]:
    """The space as people write it, by field."""
    return {dotted: told(domain) for dotted, domain in space.items()}
