"""Where things lie, in words: joining and splitting URIs, and the options that an s3:// URI may carry.

``s3://bucket/prefix?endpoint=http://minio:9000&region=eu-1&profile=lab&anonymous=true``: what is not said follows from the
usual AWS chain (environment, ~/.aws, instance roles). URIs end up in configs, logs and manifests, so none may hold a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from distgnn.errors import RequestError

_S3 = "s3://"
_SECRET = re.compile(r"key|secret|passw|token|credential|signature", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_OPTIONS = ("endpoint", "region", "profile", "anonymous")


@dataclass(frozen=True)
class S3Options:
    """How to reach a bucket; empty fields are left to the AWS chain. anonymous: send unsigned requests."""

    endpoint: str = ""
    region: str = ""
    profile: str = ""
    anonymous: bool = False


@dataclass(frozen=True)
class S3Place:
    """A folder in a bucket. path: "bucket/prefix" without a slash at its end. uri: the same with scheme and options."""

    path: str
    uri: str
    options: S3Options


def _parted(uri: str) -> tuple[str, str]:
    """(uri without its options, "?options" or ""); only s3:// URIs have options, a path may hold any character."""
    head, mark, query = uri.partition("?") if uri.startswith(_S3) else (uri, "", "")
    return head, mark + query


def join(uri: str, name: str) -> str:
    """The URI of ``name`` inside the folder ``uri``; options stay at the end."""
    head, query = _parted(uri)
    return f"{head.rstrip('/')}/{name}{query}"


def parent(uri: str) -> tuple[str, str]:
    """(URI of the folder, name in it) of a file's URI or path."""
    head, query = _parted(uri)
    folder, _, name = head.rpartition("/")
    return (folder or ("/" if head.startswith("/") else ".")) + query, name


def base_name(uri: str) -> str:
    """The last part of a path or URI, without options."""
    return _parted(uri)[0].rstrip("/").rpartition("/")[2]


def refuse_secrets(uri: str) -> None:
    """Raise RequestError, without repeating it, for a URI that carries a user, a key or a password."""
    scheme, mark, rest = uri.partition("://")
    if not mark or scheme == "file":
        return
    place, _, query = rest.partition("?")
    authority, user, asked = place.partition("/")[0], place.rpartition("@")[0], parse_qsl(query, keep_blank_values=True)
    named = any(_SECRET.search(name) for name, _ in asked) or "@" in query
    bucket_like = (
        "@" in authority or ":" in authority or ":" in user
    )  # keys may hold slashes, and so may prefixes hold "@"
    if named or (bucket_like if scheme == "s3" else bool(user)):
        raise RequestError(
            f"a {scheme}:// URI carries a user, key or password, and URIs are kept in configs and logs; take it out and give"
            " it by the environment, by ~/.aws/credentials, or by ?profile=NAME"
        )


def s3_place(uri: str) -> S3Place:
    """The parts of an s3:// URI; raises RequestError for bad bucket names, unknown options and names that climb out."""
    refuse_secrets(uri)
    head, query = _parted(uri)
    bucket, _, prefix = head.removeprefix(_S3).partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET.fullmatch(bucket):
        raise RequestError(f"{uri}: {bucket!r} is no name of a bucket; write s3://BUCKET/PREFIX")
    if ".." in prefix.split("/") or "\\" in prefix or not prefix.isprintable():
        raise RequestError(f"{uri}: a prefix with '..', backslashes or control characters is refused")
    path = f"{bucket}/{prefix}".rstrip("/")
    return S3Place(path, f"{_S3}{path}{query}", _options(uri, query))


def _options(uri: str, query: str) -> S3Options:
    pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True)
    found = dict(pairs)
    unknown = sorted(set(found) - set(_OPTIONS))
    if unknown or len(found) < len(pairs):
        raise RequestError(f"{uri}: unknown or repeated option {(unknown or ['?'])[0]!r}; known: {', '.join(_OPTIONS)}")
    endpoint, anonymous = found.get("endpoint", ""), found.get("anonymous", "false").lower()
    if endpoint and (urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname):
        raise RequestError(f"{uri}: endpoint={endpoint!r} must look like http://HOST:PORT")
    if anonymous not in ("true", "false"):
        raise RequestError(f"{uri}: anonymous={anonymous!r} must be true or false")
    if anonymous == "true" and found.get("profile"):
        raise RequestError(f"{uri}: anonymous=true and a profile exclude each other; drop one")
    return S3Options(endpoint.rstrip("/"), found.get("region", ""), found.get("profile", ""), anonymous == "true")
