"""Classification and messages of S3 errors, and settings of S3 clients."""

from __future__ import annotations

from typing import Any

import pytest
from botocore import UNSIGNED
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3.exceptions import ProtocolError

from distgnn.errors import RequestError, WorkError
from distgnn.storage import retry
from distgnn.storage.retry import errors_by_kind
from distgnn.storage.s3_client import s3_client
from distgnn.storage.s3_errors import ChangedError, TruncatedError, explained, is_missing, kind_of
from distgnn.storage.uri import S3Options


def answer(code: str, status: int = 400) -> boto.ClientError:
    """An error response; the response to HEAD has no code."""
    return boto.ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


ENDPOINT = {"endpoint_url": "http://h", "error": "x"}
KINDS: list[tuple[BaseException, str]] = [
    (answer("SlowDown", 503), "throttled"),
    (answer("", 429), "throttled"),
    (answer("TooMany", 429), "throttled"),
    (answer("InternalError", 200), "server"),
    (answer("", 500), "server"),
    (answer("Odd", 599), "server"),
    (answer("Odd", 499), ""),
    (answer("408"), "server"),
    (answer("BadDigest"), "damaged"),
    (answer("AccessDenied", 403), ""),
    (answer("NoSuchKey", 404), ""),
    (boto.ReadTimeoutError(**ENDPOINT), "timeout"),
    (boto.ConnectTimeoutError(**ENDPOINT), "timeout"),
    (TimeoutError(), "timeout"),
    (TruncatedError("1 of 2"), "damaged"),
    (ResponseParserError("cut"), "damaged"),
    (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), "damaged"),
    (boto.SSLError(**ENDPOINT | {"error": "CERTIFICATE_VERIFY_FAILED"}), ""),
    (boto.SSLError(**ENDPOINT | {"error": "unexpected end"}), "connection"),
    (boto.EndpointConnectionError(**ENDPOINT), "connection"),
    (ConnectionResetError(), "connection"),
    (ProtocolError("broken"), "connection"),
    (ChangedError(), ""),
    (boto.NoCredentialsError(), ""),
    (ValueError(), ""),
]


@pytest.mark.parametrize(("error", "kind"), KINDS)
def test_kinds(error: BaseException, kind: str) -> None:
    assert kind_of(error) == kind


def test_missing_objects() -> None:
    for error in (answer("NoSuchKey", 404), answer("", 404), answer("NotFound", 404)):
        assert is_missing(error)
        assert isinstance(explained("read", "s3://b/x", error), FileNotFoundError)
    assert not is_missing(answer("NoSuchBucket", 404))
    assert not is_missing(FileNotFoundError())


@pytest.mark.parametrize(("error", "said"), [
    (answer("NoSuchBucket", 404), "the bucket does not exist; create it or correct its name"),
    (answer("412", 412), "it was changed while it was being read; start again"),
    (answer("PreconditionFailed", 412), "it was changed while it was being read; start again"),
    (ChangedError(), "it was changed while it was being read; start again"),
    (answer("RequestTimeTooSkewed", 403), "this machine's clock differs too much from the storage's; set it"),
    (answer("AccessDenied", 403), "the storage refused access (AccessDenied); check the credentials and what they permit"),
    (answer("ExpiredToken"), "the storage refused access (ExpiredToken); check"),
    (boto.NoCredentialsError(), "Unable to locate credentials; set AWS_PROFILE or keys in the environment, or add ?anonymous"),
    (OSError("a \n b"), "a b"),
])  # fmt: skip
def test_messages(error: BaseException, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_failures", retry._Failures())
    found = explained("read", "s3://b/x", error)
    assert isinstance(found, RequestError)
    assert str(found).startswith(f"cannot read s3://b/x: {said}")
    assert errors_by_kind() == {"refused": 1}


def test_message_after_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(retry.VARIABLE, "2.5")
    found = explained("write", "s3://b/x", answer("SlowDown", 503))
    assert isinstance(found, WorkError)
    assert str(found).startswith("cannot write s3://b/x: storage still fails after 2.5 s (An error occurred (SlowDown)")
    assert str(found).endswith("; check the storage and resume (DISTGNN_STORAGE_PATIENCE=SECONDS changes the limit)")


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without AWS settings."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")


@pytest.mark.usefixtures("own")
def test_settings_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    plain: Any = s3_client(S3Options(region="eu-1"))
    assert s3_client(S3Options(region="eu-1")) is plain
    config = plain.meta.config
    assert (plain.meta.region_name, config.connect_timeout, config.read_timeout) == ("eu-1", 10, 30)
    assert config.retries["total_max_attempts"] == 1
    assert config.request_checksum_calculation == config.response_checksum_validation == "when_supported"
    assert config.signature_version is not UNSIGNED
    monkeypatch.setenv(retry.VARIABLE, "4")
    hasty: Any = s3_client(S3Options(endpoint="http://h:9000", anonymous=True))
    assert (hasty.meta.endpoint_url, hasty.meta.region_name) == ("http://h:9000", "us-east-1")
    config = hasty.meta.config
    assert (config.connect_timeout, config.read_timeout, config.signature_version) == (4, 4, UNSIGNED)
    assert config.request_checksum_calculation == config.response_checksum_validation == "when_required"
    monkeypatch.setenv(retry.VARIABLE, "0")
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")
    config = s3_client(S3Options(endpoint="http://h:9000", region="eu-2")).meta.config
    assert (config.connect_timeout, config.read_timeout) == (1, 1)
    assert config.request_checksum_calculation == "when_supported"
    with pytest.raises(RequestError, match=r"cannot use S3: .*nobody.* could not be found; check the AWS settings"):
        s3_client(S3Options(profile="nobody"))


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_endpoints_of_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://h:9001")
    client: Any = s3_client(S3Options())
    assert (client.meta.endpoint_url, client.meta.region_name) == ("http://h:9001", "us-east-1")
    assert client.meta.config.request_checksum_calculation == "when_required"
