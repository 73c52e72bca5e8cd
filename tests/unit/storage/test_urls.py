"""What an operator writes: understood, or refused with a reason that repeats no secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quiesce.errors import UsageError
from quiesce.storage import DirectoryStorage, open_storage, parse_url


def test_a_path_is_a_directory() -> None:
    for text in ("/srv/backup", "/srv/back up/ä", "/srv/s3:"):
        assert parse_url(text).scheme == ""
        assert parse_url(text).path == text
    assert parse_url("file:///srv/back%20up").path == "/srv/back up"
    assert isinstance(open_storage("/srv/backup", lambda name: name), DirectoryStorage)


def test_a_bucket_has_a_prefix_and_options() -> None:
    url = parse_url("s3://bucket-1/deep/place?endpoint=https://s3.example:9000&region=eu-1&credentials=nas")
    assert (url.scheme, url.host, url.path) == ("s3", "bucket-1", "deep/place")
    assert url.options["endpoint"] == "https://s3.example:9000"
    assert url.credentials == "nas"
    assert parse_url("gs://bucket").path == ""
    assert parse_url("az://container/place?account=mine").options == {"account": "mine"}


@pytest.mark.parametrize(
    ("text", "user", "host", "port", "path"),
    [
        ("sftp://nas/srv/backup", "", "nas", None, "/srv/backup"),
        ("sftp://me@nas.example:2222/srv/backup/", "me", "nas.example", 2222, "/srv/backup"),
        ("sftp://me@[fe80::1]:22/srv/back%20up", "me", "fe80::1", 22, "/srv/back up"),
        ("sftp://nas/~/backup", "", "nas", None, "~/backup"),
    ],
)
def test_a_server_has_a_user_a_port_and_a_directory(
    text: str, user: str, host: str, port: int | None, path: str
) -> None:
    url = parse_url(text)
    assert (url.user, url.host, url.port, url.path) == (user, host, port, path)
    assert str(url) == text


@pytest.mark.parametrize(
    "text",
    [
        "sftp://me:hunter2-hunter2@nas/srv/backup",
        "s3://AKIAKEY:hunter2-hunter2@bucket/place",
        "s3://hunter2-hunter2@bucket/place",
        "s3://bucket?secret_access_key=hunter2-hunter2",
        "s3://bucket?access_key_id=hunter2-hunter2",
        "az://container?sas_token=hunter2-hunter2",
        "az://container?account=mine&sig=hunter2-hunter2",
        "gs://bucket?token=hunter2-hunter2",
        "sftp://nas/srv?password=hunter2-hunter2",
        "s3://bucket/place#hunter2-hunter2",
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_url(text)
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    assert "secrets.yaml" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("backup", "absolute"),
        ("", "absolute"),
        ("/srv/../backup", "absolute"),
        ("ftp://nas/srv", "no kind"),
        ("s3:/bucket", "bucket"),
        ("s3://", "bucket"),
        ("s3://bucket/a//b", "place"),
        ("s3://bucket/a b", "place"),
        ("s3://bucket/../b", "place"),
        ("s3://bucket?regoin=eu", "regoin"),
        ("s3://bucket?region=", "empty"),
        ("s3://bucket?region=a&region=b", "twice"),
        ("gs://bucket?region=eu", "region"),
        ("sftp://nas", "directory"),
        ("sftp://nas/", "directory"),
        ("sftp://nas/~/", "directory"),
        ("sftp:///srv", "server"),
        ("sftp://nas:99999999/srv", "Port"),
        ("sftp://nas/srv/../..", "directory"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_url(text)


@given(st.text())
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    for scheme in ("", "s3://", "sftp://", "az://b?"):
        try:
            parse_url(scheme + text)
        except UsageError:
            continue
