"""Storage URIs: joining, splitting, shipped models (``zoo:NAME``), and the options of s3:// URIs.

``s3://bucket/prefix?endpoint=http://minio:9000&region=eu-1&profile=lab&anonymous=true``: missing options come from the AWS
chain (environment, ~/.aws, instance roles). URIs are saved in configs, logs and manifests, so credentials are refused.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from distgnn.errors import RequestError
from distgnn.storage import zoo

_S3 = "s3://"
HUB = "hf:"
"""Repositories on the Hugging Face Hub, see :mod:`distgnn.storage.hub`."""
_SECRET = re.compile(r"key|secret|passw|token|credential|signature", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_OPTIONS = ("endpoint", "region", "profile", "anonymous")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/|(file|s3|s3a|gs|gcs|az|abfs|abfss|hdfs|https?):")
_KNOWN = "a path, file:///PATH or s3://BUCKET/PREFIX"


@dataclass(frozen=True)
class S3Options:
    """Options of an s3:// URI; empty ones come from the AWS chain.

    Attributes:
        endpoint: URL of an S3-compatible server.
        region: AWS region.
        profile: Profile in ~/.aws.
        anonymous: Whether requests are unsigned.
    """

    endpoint: str = ""
    region: str = ""
    profile: str = ""
    anonymous: bool = False


@dataclass(frozen=True)
class S3Place:
    """A parsed s3:// URI.

    Attributes:
        path: "bucket/prefix" without a trailing slash.
        uri: The same with scheme and options.
        options: The options.
    """

    path: str
    uri: str
    options: S3Options


def text_of(uri: str | os.PathLike[str]) -> str:
    """Return a path or URI as text.

    Raises:
        RequestError: ``uri`` is neither a text nor a path-like object.
    """
    text = os.fspath(uri) if isinstance(uri, str | os.PathLike) else None
    if not isinstance(text, str):
        raise RequestError(f"expected a path or URI, found {uri!r:.80}; give {_KNOWN}")
    return text


def _parted(uri: str) -> tuple[str, str]:
    """(URI without options, "?options" or ""). Only s3:// URIs have options; a path may contain any character."""
    head, mark, query = uri.partition("?") if uri.startswith(_S3) else (uri, "", "")
    return head, mark + query


def join(uri: str, name: str) -> str:
    """URI of ``name`` in the folder ``uri``; options stay at the end."""
    head, query = _parted(uri)
    return f"{head.rstrip('/')}/{name}{query}"


def parent(uri: str) -> tuple[str, str]:
    """(URI of the folder, file name) of a file's URI or path."""
    uri = local_path(uri) or uri if uri.startswith("file:") else uri
    head, query = _parted(uri)
    folder, _, name = head.rpartition("/")
    return (folder or ("/" if head.startswith("/") else ".")) + query, name


def base_name(uri: str) -> str:
    """Last component of a path or URI, without options."""
    return _parted(uri)[0].rstrip("/").rpartition("/")[2]


def local_path(uri: str) -> str | None:
    """Absolute path of a path, a file: URI or a shipped model (zoo:NAME); None for an s3:// URI.

    ``file:/x``, ``file:///x`` and ``file://localhost/x`` name the same file. ``~`` is expanded in paths only.

    Raises:
        RequestError: If the URI has another scheme or is malformed, the path is not valid UTF-8, or there is no such shipped
            model.
    """
    if uri.startswith(zoo.SCHEME):
        return zoo.path_of(uri)
    if uri.startswith(HUB):
        raise RequestError(f"{uri}: only checkpoints are read from the Hub and pushed there; give {_KNOWN}")
    scheme = _SCHEME.match(uri)
    if scheme is None:
        path = os.path.abspath(os.path.expanduser(uri))
    elif uri.startswith(_S3):
        return None
    else:
        refuse_secrets(uri)
        path = _path_of_file_uri(uri)
    if scheme is None and uri.startswith("~") and path == os.path.abspath(uri):
        raise RequestError(f"{uri}: there is no such home folder; set HOME, or give an absolute path")
    if not path.isprintable() and any("\ud800" <= c <= "\udfff" for c in path):
        raise RequestError(f"{path!a}: the name is not valid UTF-8; rename it")
    return path


def _path_of_file_uri(uri: str) -> str:
    host, slash, rest = uri.removeprefix("file:").removeprefix("//").partition("/")
    if not uri.startswith("file:/"):
        local = f", or ./{uri} for a local folder of that name" if "://" not in uri else ""
        raise RequestError(f"{uri}: not a path, file:// or s3:// URI; give {_KNOWN}{local}")
    if host not in ("", "localhost"):
        raise RequestError(f"{uri}: files of another host ({host}) cannot be read; give {_KNOWN}")
    return os.path.abspath(unquote(slash + rest))


def refuse_secrets(uri: str) -> None:
    """Raise RequestError if a URI contains a user, key or password. The message does not repeat the URI."""
    scheme, mark, rest = uri.partition("://")
    if not mark or scheme == "file":
        return
    place, _, query = rest.partition("?")
    authority, user, asked = place.partition("/")[0], place.rpartition("@")[0], parse_qsl(query, keep_blank_values=True)
    named = any(_SECRET.search(name) for name, _ in asked) or "@" in query
    # Secret keys may contain slashes; prefixes may contain "@".
    bucket_like = "@" in authority or ":" in authority or ":" in user
    if named or (bucket_like if scheme == "s3" else bool(user)):
        raise RequestError(
            f"a {scheme}:// URI carries a user, key or password, and URIs are kept in configs and logs; take it out and give"
            " it by the environment, by ~/.aws/credentials, or by ?profile=NAME"
        )


def s3_place(uri: str) -> S3Place:
    """Parse an s3:// URI.

    Raises:
        RequestError: If the bucket name, the prefix or an option is invalid, or the URI contains credentials.
    """
    refuse_secrets(uri)
    head, query = _parted(uri)
    bucket, _, prefix = head.removeprefix(_S3).partition("/")
    prefix = prefix.strip("/")
    if not _BUCKET.fullmatch(bucket):
        raise RequestError(f"{uri}: {bucket!r} is not a valid bucket name; write s3://BUCKET/PREFIX")
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
    if endpoint and not _is_url(endpoint):
        raise RequestError(f"{uri}: endpoint={endpoint!r} must look like http://HOST:PORT")
    if anonymous not in ("true", "false"):
        raise RequestError(f"{uri}: anonymous={anonymous!r} must be true or false")
    if anonymous == "true" and found.get("profile"):
        raise RequestError(f"{uri}: anonymous=true and a profile exclude each other; drop one")
    return S3Options(endpoint.rstrip("/"), found.get("region", ""), found.get("profile", ""), anonymous == "true")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # such as an IPv6 address without its closing bracket, or a port that is no number
        return False
