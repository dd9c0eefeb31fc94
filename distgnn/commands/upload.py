"""Files that ``distgnn submit`` uploads: the working folder as Ray packs it, without files that look like credentials."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from pathspec import PathSpec

SECRETS = (
    ".env*", "*.env", ".aws", ".azure", ".gcloud", ".ssh", ".ray", ".netrc*", "_netrc", ".kube", "kubeconfig*", ".docker",
    ".dockercfg", ".dockerconfigjson", ".gnupg", ".pypirc", ".npmrc", ".pgpass", ".my.cnf", ".git-credentials", ".gitconfig",
    ".boto", ".s3cfg", "*rclone.conf", ".htpasswd", ".vault-token", ".terraform", "*.tfstate*", "*.tfvars", ".kaggle",
    "kaggle.json", ".huggingface", ".databrickscfg", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx",
    "*.ppk", "id_*", "*credentials*", "client_secret*", "*service-account*", "*service_account*", "*serviceaccount*.json",
    ".secrets*", "secrets.*", "auth_token*", "*.token",
)  # fmt: skip
"""Names of files and folders that look like credentials, in lower case."""
BULK = (".git", ".venv", "venv", "__pycache__", "*.egg-info")
_TEXT = {"", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".txt", ".properties"}
_SECRET_TEXT = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|\"private_key\"\s*:|\"type\"\s*:\s*\"service_account\""
    rb"|aws_secret_access_key\s*[=:]|_authToken\s*="
)
_SPECIAL = re.compile(r"[\\*?!#\[\] ]")
_READ_BYTES = 8192
_IGNORES = (".gitignore", ".rayignore")


class Upload(NamedTuple):
    """Files to upload.

    Attributes:
        files: (path, bytes) of each file, by path in the folder.
        secrets: Files and folders that are excluded because they look like credentials.
        excludes: Patterns of excluded files in the syntax of .gitignore, for Ray.
    """

    files: list[tuple[str, int]]
    secrets: list[str]
    excludes: list[str]


def upload_of(folder: Path | None) -> Upload:
    """List the files of the working folder that Ray would pack; empty for None."""
    files: list[tuple[str, int]] = []
    secrets: list[str] = []
    for path, size in _entries(folder, folder, [], set()) if folder is not None else ():
        if size is None:
            secrets.append(path)
        else:
            files.append((path, size))
    exact = ["/" + _SPECIAL.sub(r"\\\g<0>", path) for path in secrets]
    return Upload(sorted(files), sorted(secrets), [*SECRETS, *BULK, *exact])


def _entries(
    folder: Path, place: Path, ignored: list[tuple[Path, PathSpec]], seen: set[Path]
) -> Iterator[tuple[str, int | None]]:
    """Yield (path in ``folder``, size) of the files that Ray would pack of ``place``; size None marks likely credentials."""
    if (real := place.resolve()) in seen:  # a link to a parent folder
        return
    ignored, seen = [*ignored, *_ignored_by(place)], seen | {real}
    for path in sorted(place.iterdir()):
        if _matches(path.name, BULK) or any(spec.match_file(str(path.relative_to(at))) for at, spec in ignored):
            continue
        name = str(path.relative_to(folder))
        if _looks_secret(path):
            yield name, None
        elif path.is_dir():
            yield from _entries(folder, path, ignored, seen)
        elif path.is_file():
            yield name, path.stat().st_size


def _ignored_by(place: Path) -> Iterator[tuple[Path, PathSpec]]:
    for name in _IGNORES:
        if (place / name).is_file():
            lines = (place / name).read_text(errors="replace").splitlines()
            yield place, PathSpec.from_lines("gitignore", lines)


def _looks_secret(path: Path) -> bool:
    """Return whether the name of a file or folder, the target of a link, or the text of a file looks like a credential."""
    real = path.resolve()
    names = [path.name, *(real.parts if path.is_symlink() else ())]
    if any(_matches(name.lower(), SECRETS) for name in names):
        return True
    if path.suffix.lower() not in _TEXT or not path.is_file() or not os.access(path, os.R_OK):
        return False
    with path.open("rb") as file:
        return _SECRET_TEXT.search(file.read(_READ_BYTES)) is not None


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
