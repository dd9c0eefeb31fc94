"""The command ``distgnn completion``: scripts with which shells complete commands, options, their values and file names."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import tyro

from distgnn.commands.output import Output
from distgnn.config.fields import type_of, walk
from distgnn.options import CompletionOptions

Table = dict[tuple[str, ...], tuple[type[Any], ...]]
"""The config classes of each command, by its words."""

_GLOBAL = ("--help", "--config", "--json")
_BASH = r"""# Completion of distgnn in bash 4 and zsh. In ~/.bashrc or ~/.zshrc: source <(distgnn completion bash)
if [ -n "$ZSH_VERSION" ]; then autoload -U +X compinit bashcompinit && compinit -u && bashcompinit; fi
_distgnn_words() { case "$1" in
@words@
esac; }
_distgnn_options() { case "$1" in
@options@
esac; }
_distgnn_values() { case "$1" in
@values@
esac; }
_distgnn() {
  local current="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" line="" more="" found="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    more="${line:+$line }${COMP_WORDS[i]}"
    [ -n "$(_distgnn_words "$more")$(_distgnn_options "$more")" ] || break
    line="$more"
  done
  case "$current" in
    -*) found="$(_distgnn_options "$line")" ;;
    *) found="$(_distgnn_values "$line $before")"
       if [ -z "$found" ] && [ $i -eq $COMP_CWORD ]; then found="$(_distgnn_words "$line")"; fi ;;
  esac
  if [ -n "$found" ]; then
    COMPREPLY=($(compgen -W "$found" -- "$current"))
  else
    type compopt >/dev/null 2>&1 && compopt -o filenames
    local IFS=$'\n'
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}
complete -F _distgnn distgnn
"""
_FISH = r"""# Completion of distgnn in fish: distgnn completion fish > ~/.config/fish/completions/distgnn.fish
function __distgnn_words
  switch "$argv[1]"
@words@
  end
end
function __distgnn_options
  switch "$argv[1]"
@options@
  end
end
function __distgnn_values
  switch "$argv[1]"
@values@
  end
end
function __distgnn
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  set -l line ""
  set -l rest 0
  for word in $words[2..-1]
    set -l more (string trim -- "$line $word")
    set -l known (__distgnn_words "$more") (__distgnn_options "$more")
    if test -z "$known"
      set rest 1
      break
    end
    set line $more
  end
  set -l found
  if string match -q -- '-*' "$current"
    set found (__distgnn_options "$line")
  else
    set found (__distgnn_values "$line $words[-1]")
    if test -z "$found"; and test $rest -eq 0
      set found (__distgnn_words "$line")
    end
  end
  if test -n "$found"
    string split ' ' -- $found
  else
    __fish_complete_path "$current"
  end
end
complete -c distgnn -f -a '(__distgnn)'
"""


class _Shell(NamedTuple):
    """Template of a script, and how it writes one case of its tables."""

    template: str
    case: Callable[[str, str], str]


_SHELLS = {
    "bash": _Shell(_BASH, lambda key, value: f'  "{key}") echo "{value}" ;;'),
    "zsh": _Shell(_BASH, lambda key, value: f'  "{key}") echo "{value}" ;;'),
    "fish": _Shell(_FISH, lambda key, value: f'    case "{key}"\n      echo "{value}"'),
}


def completion(options: CompletionOptions, output: Output, table: Table) -> int:
    """Print the script for a shell."""
    text = script(options.shell, table)
    output.emit({"shell": options.shell, "script": text}, text.rstrip())
    return 0


def script(shell: str, table: Table) -> str:
    """Return the completion script for ``shell`` (bash, zsh or fish) of the commands of ``table``."""
    found, values = {}, {}
    for path, configs in table.items():
        name = " ".join(path)
        options = {option: given for config in configs for option, given in _options(config)}
        found[name] = " ".join((*_GLOBAL, *(("--resume", "--dry-run") if path in _RESUMED else ()), *options))
        values |= {f"{name} {option}": " ".join(given) for option, given in options.items() if given}
    template, case = _SHELLS[shell]
    parts = {"words": _words(table), "options": found, "values": values}
    for part, cases in parts.items():
        template = template.replace(f"@{part}@", "\n".join(case(key, value) for key, value in cases.items()))
    return template


_RESUMED = (("pretrain",), ("tune",))


def _words(table: Table) -> dict[str, str]:
    """Return the words that may follow the words of a command."""
    found: dict[str, dict[str, None]] = {}
    for path in table:
        for depth, word in enumerate(path):
            found.setdefault(" ".join(path[:depth]), {})[word] = None
    return {start: " ".join(words) for start, words in found.items()}


def _options(config: type[Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each option of a command with the values that it takes; none for numbers, texts and files."""
    positional = _positional(config)
    for dotted, facts in walk(config):
        if dotted in positional:
            continue
        hint, name = type_of(config, dotted), dotted.replace("_", "-")
        if hint is bool:
            group, dot, last = name.rpartition(".")
            yield f"--{name}", ()
            yield f"--{group}{dot}no-{last}", ()
            continue
        yield f"--{name}", facts.known or _literals(hint)


def _positional(config: type[Any]) -> set[str]:
    """Return the fields that are arguments without a name."""
    mark = tyro.conf.Positional[str].__metadata__  # pyright: ignore[reportAttributeAccessIssue]
    hints = typing.get_type_hints(config, include_extras=True)
    return {name for name, hint in hints.items() if getattr(hint, "__metadata__", ()) == mark}


def _literals(hint: Any) -> tuple[str, ...]:
    """Return the choices of a Literal, also as an item of a tuple or as one of a union."""
    if typing.get_origin(hint) is typing.Literal:
        return tuple(map(str, typing.get_args(hint)))
    return tuple(name for part in typing.get_args(hint) for name in _literals(part))
