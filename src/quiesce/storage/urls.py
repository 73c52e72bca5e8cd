"""Where a repository lies, as an operator writes it. A secret is named, never written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from quiesce.errors import UsageError
from quiesce.model.stored_object import is_object_name

#: the options of each scheme: what they are for is in ``docs/storage.md``
OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "s3": frozenset({"endpoint", "region", "addressing", "ca", "credentials"}),
    "gs": frozenset({"endpoint", "ca", "credentials"}),
    "az": frozenset({"account", "endpoint", "ca", "credentials"}),
    "sftp": frozenset({"known_hosts", "credentials"}),
}
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
_SECRET: Final = re.compile(r"secret|password|token|sas|sig|_key\b|\bkey\b|access", re.IGNORECASE)
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,222}")
_HOST: Final = re.compile(r"[A-Za-z0-9.-]+|[0-9A-Fa-f:.%]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageUrl:
    """A URL taken apart; `str` gives it back, and it can be shown to anybody."""

    text: str
    #: empty for a directory of this machine
    scheme: str = ""
    #: of the server, or the bucket's or container's name
    host: str = ""
    port: int | None = None
    user: str = ""
    #: a directory: absolute, or below the home directory where it begins with ``~/``; in a bucket: the prefix
    path: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text

    @property
    def credentials(self) -> str:
        """The name of the secret that holds the credentials; empty: those of the environment."""
        return self.options.get("credentials", "")


def parse_url(text: str) -> StorageUrl:
    """Return *text* taken apart: an absolute path, or a URL.

    Raises:
        UsageError: saying what is wrong. What may be a secret is not repeated.
    """
    scheme = _SCHEME.match(text)
    if scheme is None:
        return StorageUrl(text=text, path=_directory(text))
    if scheme[1] == "file":
        return StorageUrl(text=text, path=_directory(unquote(text.removeprefix("file://"))))
    if scheme[1] not in OPTIONS:
        raise UsageError(
            f"{scheme[1]}: is no kind of storage",
            hint="A directory's absolute path, or sftp://, s3://, gs://, az://: see docs/storage.md.",
        )
    return _parsed(text, scheme[1])


def _parsed(text: str, scheme: str) -> StorageUrl:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"a {scheme}: URL cannot be read: {error}") from None
    if parts.password is not None or parts.fragment or (scheme != "sftp" and (parts.username or port)):
        raise UsageError(
            f"a {scheme}: URL holds something before the @, or after a # or a port, that has no place there",
            hint="Put secrets into secrets.yaml, and name them: ?credentials=NAME",
        )
    is_server = scheme == "sftp"
    return StorageUrl(
        text=text,
        scheme=scheme,
        host=_matching(
            _HOST if is_server else _BUCKET, parts.hostname if is_server else parts.netloc, scheme
        ),
        port=port,
        user=unquote(parts.username or ""),
        path=_remote_directory(parts.path) if is_server else _prefix(parts.path),
        options=_options(scheme, parts.query),
    )


def _options(scheme: str, query: str) -> Mapping[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS[scheme]:
            raise _unknown_option(scheme, name)
        if name in options or not value:
            raise UsageError(f"option {name} of a {scheme}: URL is empty, or given twice")
        options[name] = value
    return options


def _unknown_option(scheme: str, name: str) -> UsageError:
    known = ", ".join(sorted(OPTIONS[scheme]))
    if _SECRET.search(name):
        return UsageError(
            f"a {scheme}: URL holds what looks like a secret ({name}); URLs are shown and logged",
            hint="Put it into secrets.yaml, and name it: ?credentials=NAME. If it was real, replace it.",
        )
    return UsageError(f"a {scheme}: URL has no option {name[:40]!r}; it has: {known}")


def _matching(rule: re.Pattern[str], text: str | None, scheme: str) -> str:
    if text is None or not rule.fullmatch(text):
        raise UsageError(
            f"a {scheme}: URL names no {'server' if scheme == 'sftp' else 'bucket'} that there can be"
        )
    return text


def _directory(text: str) -> str:
    if not text.startswith("/") or ".." in text.split("/") or "\0" in text:
        raise UsageError(f"{text!r} is not an absolute path without '..'")
    return text


def _remote_directory(text: str) -> str:
    path = unquote(text)
    if path.startswith("/~/"):
        path = path.removeprefix("/")
    if path.strip("/") in {"", "~"} or ".." in path.split("/") or "\0" in path:
        raise UsageError("an sftp: URL must name a directory: sftp://HOST/srv/backup, sftp://HOST/~/backup")
    return path.rstrip("/")


def _prefix(path: str) -> str:
    prefix = path.strip("/")
    if prefix and not is_object_name(prefix):
        raise UsageError(
            f"{prefix[:80]!r} cannot be a repository's place in a bucket: letters, digits, . _ - and / only"
        )
    return prefix
