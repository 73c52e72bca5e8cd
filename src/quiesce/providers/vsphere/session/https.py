"""HTTPS to a vCenter and its hosts, beside the SDK: to whom we talk, and what an answer means."""

from __future__ import annotations

import hashlib
import http.client
import ssl
from typing import Final
from urllib.parse import urlsplit

from quiesce.errors import NonRecoverableError, RecoverableError

_SOCKET_S: Final = 60.0
#: the longest silence in the middle of a transfer: a host reads zeros without a word
_SILENCE_S: Final = 600.0


def connect(host: str, port: int, tls: ssl.SSLContext, thumbprint: str) -> http.client.HTTPSConnection:
    """Return a connection whose other end is trusted.

    A host whose certificate the system does not know is trusted when it is the one that the vCenter,
    over its own verified connection, gave the *thumbprint* of.
    """
    connection = http.client.HTTPSConnection(host, port, context=tls, timeout=_SOCKET_S)
    try:
        connection.connect()
    except ssl.SSLCertVerificationError:
        if not thumbprint:
            raise
        connection = _pinned(host, port, thumbprint)
    return connection


def _pinned(host: str, port: int, thumbprint: str) -> http.client.HTTPSConnection:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=_SOCKET_S)
    connection.connect()
    shown = bytes(connection.sock.getpeercert(binary_form=True) or b"")
    wanted = thumbprint.replace(":", "").lower()
    algorithm = "sha256" if len(wanted) == 64 else "sha1"
    if hashlib.new(algorithm, shown, usedforsecurity=False).hexdigest() != wanted:
        connection.close()
        raise NonRecoverableError(f"{host} does not show the certificate that vCenter knows of it")
    return connection


def be_patient(connection: http.client.HTTPSConnection) -> None:
    """Let the other end be silent for minutes from now on."""
    connection.sock.settimeout(_SILENCE_S)


def path_of(url: str) -> str:
    """Return path and query of *url*."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def expect(response: http.client.HTTPResponse, wanted: set[int], what: str) -> None:
    """Raise unless the answer has one of the *wanted* statuses; *what* was being done."""
    if response.status in wanted:
        return
    message = f"cannot {what}: the server answers {response.status} {response.reason}"
    if response.status >= 500 or response.status in (408, 429):
        raise RecoverableError(message)
    raise NonRecoverableError(message)
