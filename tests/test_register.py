"""Registries: registration, refused entries, and lazy imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from distgnn import register
from distgnn.config import MetricsConfig
from distgnn.config.fields import named
from distgnn.errors import RequestError
from distgnn.opened import opened_type
from distgnn.register import REGISTRIES, Registry


@dataclass(frozen=True)
class Options:
    rate: float = 0.1


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    for registry in REGISTRIES.values():
        registry.forget_users()


def test_a_class_and_its_options_are_registered() -> None:
    @register.logger("mine", Options)
    class Mine:
        """Log nothing.

        More.
        """

    entry = register.logger.get("mine")
    assert (entry.make, entry.config, entry.builtin) == (Mine, Options, False)
    assert register.logger.find("other") is None
    assert ("mine", "Log nothing.", __name__) in register.logger.table()
    register.logger.forget("mine")
    assert register.logger.find("mine") is None


def test_fields_and_flags_follow_what_is_registered() -> None:
    """They are listed once for each state of the registries."""
    for _ in range(2):
        register.logger("mine", Options)(lambda: None)
        assert "mine.rate" in named(MetricsConfig, "searchable")
        assert opened_type(MetricsConfig)().mine == Options()
        register.logger.forget("mine")
        assert "mine.rate" not in named(MetricsConfig, "searchable")
        assert "mine" not in opened_type(MetricsConfig).__dataclass_fields__


@dataclass
class Required:
    rate: float


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("two words", None, "'two words' is not an identifier"),
        ("mine", Required, "options of 'mine': Required.rate has no default"),
        ("mine", int, "is not a dataclass"),
        ("taken", None, r"'taken' is registered already \(by tests.test_register\); choose another name"),
    ],
)
def test_invalid_registrations_are_refused(name: str, config: type | None, message: str) -> None:
    register.logger("taken")(lambda: None)
    with pytest.raises(RequestError, match=f"register.logger: .*{message}|register.logger: {message}"):
        register.logger(name, config)(lambda: None)


def test_an_unknown_name_suggests_the_closest_one() -> None:
    with pytest.raises(
        RequestError, match=r"loggers='tensorbord' is unknown \(there are none, .*did you mean 'tensorboard'"
    ):
        register.logger.get("tensorbord", "loggers", ("none",))


def test_builtins_are_found_by_the_first_look_up() -> None:
    code = "import sys, distgnn; print([n for n in ('torch', 'ray', 'rdkit') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_package_that_fails_to_import_is_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError):
        Registry("x", "distgnn.nowhere").names()


def test_modules_of_the_current_folder_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts_of_a_user.py").write_text(
        "import distgnn\n@distgnn.register.logger('of_a_user')\nclass Mine: ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place not in ("", str(tmp_path))])
    with pytest.raises(RequestError, match=r"name the module without \.py: parts_of_a_user$"):
        register.import_modules(("parts_of_a_user.py",))
    register.import_modules(("parts_of_a_user",))
    assert register.logger.find("of_a_user") is not None
    assert sys.path[-1] == str(tmp_path)
    sys.modules.pop("parts_of_a_user")
