"""Logs in to an SFTP server, and only where its key is known."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Final

import paramiko

from quiesce.errors import StorageDeniedError, StorageUnavailableError, UsageError
from quiesce.storage.sftp_session import SERVER_ERRORS, SftpSession
from quiesce.storage.urls import StorageUrl

_CONNECT_S: Final = 30.0
#: how long one answer may take; a slow disk's fsync among them
_ANSWER_S: Final = 120.0
_KEEPALIVE_S: Final = 15
#: where paramiko logs what it raises as well; nobody wants to read that twice
_LOG: Final = "quiesce.storage.sftp"
logging.getLogger(_LOG).addHandler(logging.NullHandler())

_KEY_TYPES: Final = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


class SftpLogin:
    """Opens sessions: to the server and user of a URL, and only where the server's key is known."""

    def __init__(self, url: StorageUrl, secret: str | None) -> None:
        self._url = url
        self._key = _key(url, secret) if secret and "PRIVATE KEY" in secret else None
        self._password = secret if secret and self._key is None else None

    def __call__(self) -> SftpSession:
        """Connect, log in, and begin a session.

        Raises:
            StorageDeniedError: the server's key is not known, or it refuses us.
            StorageUnavailableError: it does not answer.
        """
        client = self._client()
        try:
            self._connect(client)
            return self._session(client)
        except BaseException:
            client.close()
            raise

    def _connect(self, client: paramiko.SSHClient) -> None:
        server = f"{self._url.host}:{self._url.port or 22}"
        try:
            client.connect(
                self._url.host,
                port=self._url.port or 22,
                username=self._url.user or None,
                password=self._password,
                pkey=self._key,
                timeout=_CONNECT_S,
                banner_timeout=_CONNECT_S,
                auth_timeout=_CONNECT_S,
                allow_agent=self._key is None and self._password is None,
                look_for_keys=self._key is None and self._password is None,
            )
        except (paramiko.BadHostKeyException, _UnknownHostKeyError) as error:
            raise StorageDeniedError(
                f"{server} has a host key that is not known, or not the one that is known",
                hint="Add the right one to known_hosts, after comparing it with the server's own.",
            ) from error
        except paramiko.AuthenticationException as error:
            # paramiko says so too of a connection that was lost meanwhile
            if "EOF" in str(error):
                raise StorageUnavailableError(f"{server} hung up: {error}") from error
            raise StorageDeniedError(
                f"{server} refuses user {self._url.user or 'of this process'}"
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise StorageUnavailableError(f"{server} cannot be reached: {error}") from error

    def _session(self, client: paramiko.SSHClient) -> SftpSession:
        transport = client.get_transport()
        try:
            session = SftpSession.from_transport(transport) if transport is not None else None
        except (*SERVER_ERRORS, OSError) as error:
            raise StorageUnavailableError(f"{self._url.host} gives no SFTP session: {error}") from error
        if transport is None or session is None:
            raise StorageUnavailableError(f"{self._url.host} hung up")
        transport.set_keepalive(_KEEPALIVE_S)
        if (channel := session.get_channel()) is not None:
            channel.settimeout(_ANSWER_S)
        return session

    def _client(self) -> paramiko.SSHClient:
        client = paramiko.SSHClient()
        client.set_log_channel(_LOG)
        client.set_missing_host_key_policy(_Refuse())
        known = self._url.options.get("known_hosts")
        try:
            client.load_system_host_keys(known and str(Path(known).expanduser()))
        except OSError as error:
            raise UsageError(f"known_hosts {known} cannot be read: {error.strerror}") from error
        return client


class _UnknownHostKeyError(paramiko.SSHException):
    pass


class _Refuse(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise _UnknownHostKeyError


def _key(url: StorageUrl, content: str) -> paramiko.PKey:
    for kind in _KEY_TYPES:
        with contextlib.suppress(paramiko.SSHException, ValueError, IndexError):
            return kind.from_private_key(io.StringIO(content))
    raise UsageError(
        f"the secret {url.credentials!r} is not a private key that can be read",
        hint="It must be an Ed25519, ECDSA or RSA key without a passphrase.",
    )
