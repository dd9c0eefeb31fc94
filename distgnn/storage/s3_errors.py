"""Classification of boto3 errors: transient ones, which are retried, and one-line messages for the others."""

from __future__ import annotations

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from distgnn.errors import RequestError, WorkError
from distgnn.storage.retry import VARIABLE, note_error, patience

RAISED = (boto.BotoCoreError, boto.ClientError, ResponseParserError, HTTPError, OSError)
"""Exceptions that a request may raise."""

_THROTTLED = {
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "TooManyRequests",
    "BandwidthLimitExceeded",
    "429",
}
_SERVER = {"InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted", "408"}
_DAMAGED = {"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"}
_TIMEOUTS = (boto.ReadTimeoutError, boto.ConnectTimeoutError, TimeoutError)
_CONNECTION = (boto.HTTPClientError, boto.ConnectionError, HTTPError, ConnectionError)
_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.NoAuthTokenError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.ProfileNotFound,
    boto.ConfigParseError,
)


class ChangedError(OSError):
    """The object was changed while it was being read."""


class TruncatedError(OSError):
    """The response has fewer bytes than requested."""


_BROKEN_BODIES = (
    TruncatedError,
    ResponseParserError,  # a response truncated within its XML
    boto.IncompleteReadError,
    boto.ResponseStreamingError,
    boto.FlexibleChecksumError,
    boto.ChecksumError,
)


def code_of(error: boto.ClientError) -> str:
    """Error code of the service, such as NoSuchKey; the HTTP status if the response has no body."""
    return str(error.response.get("Error", {}).get("Code", "")) or str(_status(error))


def _status(error: boto.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_missing(error: BaseException) -> bool:
    """Whether the object does not exist."""
    return isinstance(error, boto.ClientError) and code_of(error) in ("404", "NoSuchKey", "NotFound")


def kind_of(error: BaseException) -> str:
    """Kind of a transient error (connection, timeout, throttled, server, damaged); "" for others."""
    if isinstance(error, boto.ClientError):
        return _kind_of_answer(error)
    if isinstance(error, _TIMEOUTS):
        return "timeout"
    if isinstance(error, _BROKEN_BODIES):
        return "damaged"
    if isinstance(error, boto.SSLError) and "certificate" in str(error).lower():
        return ""  # an invalid certificate is not transient
    return "connection" if isinstance(error, _CONNECTION) else ""


def _kind_of_answer(error: boto.ClientError) -> str:
    code, status = code_of(error), _status(error)
    if code in _THROTTLED or status == 429:
        return "throttled"
    if code in _DAMAGED:
        return "damaged"
    return "server" if code in _SERVER or status >= 500 else ""


def explained(action: str, where: str, error: BaseException) -> Exception:
    """The exception to raise for the last error of a request.

    Args:
        action: Verb for the message, such as "read".
        where: URI of the object.
        error: The last error.

    Returns:
        FileNotFoundError for a missing object, WorkError for an error that persisted through retries, else RequestError.
    """
    reason = " ".join(str(error).split())[:300]
    if is_missing(error):
        return FileNotFoundError(where)
    if kind_of(error):
        return WorkError(
            f"cannot {action} {where}: storage still fails after {patience():g} s ({reason}); check the storage and resume"
            f" ({VARIABLE}=SECONDS changes the limit)"
        )
    note_error("refused")
    return RequestError(f"cannot {action} {where}: {_advice(error) or reason}")


def _advice(error: BaseException) -> str:
    if isinstance(error, _CREDENTIALS):
        return f"{' '.join(str(error).split())}; set AWS_PROFILE or keys in the environment, or add ?anonymous=true"
    code, status = (code_of(error), _status(error)) if isinstance(error, boto.ClientError) else ("", 0)
    if code == "NoSuchBucket":
        return "the bucket does not exist; create it or correct its name"
    if code in ("412", "PreconditionFailed") or isinstance(error, ChangedError):
        return "it was changed while it was being read; start again"
    if code == "RequestTimeTooSkewed":
        return "this machine's clock differs too much from the storage's; set it"
    if status == 403 or code in ("ExpiredToken", "InvalidToken"):
        return f"the storage refused access ({code}); check the credentials and what they permit (s3:ListBucket too)"
    return ""
