"""URIs: options stay at their end, reach the server, and never carry a secret."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgnn.errors import RequestError
from distgnn.storage.folder import open_folder
from distgnn.storage.uri import S3Options, base_name, join, parent, refuse_secrets, s3_place
from tests.helpers.faulty import faulty
from tests.helpers.servers import KEY, SECRET, S3Server

OPTIONS = "?endpoint=http://minio:9000&region=eu-1"


@pytest.mark.parametrize(("uri", "joined"), [
    ("/data/a", "/data/a/n"),
    ("/data/a?b/", "/data/a?b/n"),
    ("/", "/n"),
    ("s3://b", "s3://b/n"),
    (f"s3://b/p/{OPTIONS}", f"s3://b/p/n{OPTIONS}"),
])  # fmt: skip
def test_join_and_parent(uri: str, joined: str) -> None:
    assert join(uri, "n") == joined
    assert parent(joined)[1] == base_name(joined) == "n"
    assert join(*parent(joined)) == joined


def test_parent_of_a_bare_name() -> None:
    assert parent("x.csv") == (".", "x.csv")


def test_options_travel_to_sub_folders() -> None:
    folder = open_folder(f"s3://bucket/runs/{OPTIONS}")
    assert folder.uri == f"s3://bucket/runs{OPTIONS}"
    deeper = folder.sub("a").sub("b")
    assert (deeper.path, deeper.uri) == ("bucket/runs/a/b", f"s3://bucket/runs/a/b{OPTIONS}")
    assert open_folder(deeper.uri) == deeper
    assert deeper.at("x.json") == f"s3://bucket/runs/a/b/x.json{OPTIONS}"
    assert s3_place(folder.uri).options == S3Options("http://minio:9000", "eu-1")
    assert s3_place("s3://bucket?profile=lab").options == S3Options(profile="lab")
    assert s3_place("s3://bucket?anonymous=true").options == S3Options(anonymous=True)


@pytest.mark.parametrize(("uri", "message"), [
    ("s3://", "not a valid bucket name"),
    ("s3://a b/x", "not a valid bucket name"),
    ("s3://bucket/../x", r"prefix with '\.\.'"),
    ("s3://bucket/a\\b", "backslashes"),
    ("s3://bucket/a\nb", "control characters"),
    ("s3://bucket?endpiont=http://h", "unknown or repeated option 'endpiont'"),
    ("s3://bucket?region=a&region=b", "repeated option"),
    ("s3://bucket?endpoint=minio:9000", "must look like http://HOST:PORT"),
    ("s3://bucket?endpoint=http://[::1", "must look like http://HOST:PORT"),
    ("s3://bucket?endpoint=http://h:x", "must look like http://HOST:PORT"),
    ("s3://bucket?anonymous=yes", "must be true or false"),
    ("s3://bucket?anonymous=true&profile=p", "exclude each other"),
])  # fmt: skip
def test_refused(uri: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        open_folder(uri)


@pytest.mark.parametrize("uri", [
    f"s3://{KEY}:{SECRET}@bucket/x",
    f"s3://bucket/x?secret_key={SECRET}",
    f"s3://bucket/x?region=eu&Access_Key={KEY}",
    f"s3://bucket/x?endpoint=http://{KEY}:{SECRET}@host",
    f"s3://bucket/x?session_token={SECRET}",
    f"gs://{SECRET}@bucket/x",
    f"abfs://{SECRET}@host/x",
    f"https://user:{SECRET}@host/x",
    f"https://host/x?X-Amz-Signature={SECRET}",
])  # fmt: skip
def test_secrets_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(RequestError, match="carries a user, key or password") as caught:
        open_folder(uri)
    assert KEY not in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("uri", [
    "s3://bucket/a@b/c:d", "s3://bucket?endpoint=http://h:9000", "https://host:9000/x", "gs://bucket/x?a=b", "a@b:c", "file://h/a@b",
])  # fmt: skip
def test_uris_without_secrets_are_accepted(uri: str) -> None:
    refuse_secrets(uri)


@given(st.text(max_size=40))
def test_any_text_is_a_place_or_one_line(text: str) -> None:
    try:
        assert s3_place(f"s3://{text}").uri.startswith("s3://")
        refuse_secrets(text)
    except RequestError:
        return


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "a?b"])
def test_names_that_break_a_key_are_refused(name: str) -> None:
    with pytest.raises(RequestError, match=r"does not stay inside|does not print"):
        open_folder("s3://bucket/x").locate(name)


def test_endpoint_and_region_by_uri_alone(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto.variables("http://127.0.0.1:9").items():  # the environment's endpoint leads nowhere
        monkeypatch.setenv(name, value)
    folder = open_folder(f"s3://{moto.bucket()}/x?endpoint={moto.address}&region=us-east-1")
    folder.write("a", b"1")
    assert open_folder(folder.uri).read("a") == b"1"


def test_profile(rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rclone.variables().items():
        monkeypatch.setenv(name, value)
    keys = f"[lab]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n"
    keys += "[wrong]\naws_access_key_id=AKIAWRONGWRONGWRONG7\naws_secret_access_key=wrongwrongwrong\n"
    (tmp_path / "credentials").write_text(keys)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    bucket = rclone.bucket()
    open_folder(f"s3://{bucket}?profile=lab").write("a", b"1")
    with pytest.raises(RequestError, match="refused access") as caught:
        open_folder(f"s3://{bucket}?profile=wrong").read("a")
    assert "AKIAWRONG" not in str(caught.value)
    with pytest.raises(RequestError, match=r"nobody.*could not be found"):
        open_folder(f"s3://{bucket}?profile=nobody").read("a")
    with pytest.raises(RequestError, match="set AWS_PROFILE or keys in the environment"):
        open_folder(f"s3://{bucket}").read("a")


def test_anonymous_requests_are_unsigned(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = moto.bucket()
    with faulty(moto.address) as proxy:
        for name, value in moto.variables(proxy.address).items():
            monkeypatch.setenv(name, value)
        open_folder(f"s3://{bucket}").write("a", b"1")
        assert proxy.unsigned == 0
        stranger = open_folder(f"s3://{bucket}?anonymous=true")
        with pytest.raises(RequestError, match="refused access"):
            stranger.read("a")
        boto3.client("s3").put_object_acl(Bucket=bucket, Key="a", ACL="public-read")
        assert stranger.read("a") == b"1"
        assert proxy.unsigned == 2
