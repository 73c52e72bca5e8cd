"""Connects over SSH; the only module that knows paramiko."""

from __future__ import annotations

import contextlib
import io
import socket
from pathlib import Path

import paramiko

from quiesce.errors import NonRecoverableError
from quiesce.ports import Context
from quiesce.providers.terminal.auth import TerminalAuth
from quiesce.providers.terminal.errors import refused, too_slow, unknown_host_key, unreachable

_CONNECT_S = 30.0
_KEEPALIVE_S = 15
_KEY_TYPES = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)
_LONGEST_ANSWER = 1 << 20
_COLUMNS, _ROWS = 4096, 100


class Connection:
    """A logged-in connection to one address."""

    def __init__(self, client: paramiko.SSHClient, address: str) -> None:
        self._client = client
        self.address = address

    def open_shell(self) -> paramiko.Channel:
        """Open a terminal on the far side."""
        return self._client.invoke_shell(term="dumb", width=_COLUMNS, height=_ROWS)

    def run(self, command: str, stdin: str, context: Context) -> str:
        """Run *command* without a terminal and return its output up to its end.

        Raises:
            ProviderError: when it failed or took too long.
        """
        try:
            channel = self._session(context)
            channel.exec_command(command)
            channel.sendall(stdin.encode())
            channel.shutdown_write()
            output = _received(channel)
            status = channel.recv_exit_status()
            channel.close()
        except TimeoutError:
            raise too_slow(self.address, "running a command") from None
        except (paramiko.SSHException, OSError) as error:
            raise unreachable(self.address, error) from error
        if status != 0:
            raise unreachable(self.address, f"a command of ours ended with status {status}")
        return output.decode(errors="replace")

    def is_alive(self) -> bool:
        """Tell whether the connection still stands, as far as can be seen from here."""
        transport = self._client.get_transport()
        return transport is not None and transport.is_active()

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _session(self, context: Context) -> paramiko.Channel:
        transport = self._client.get_transport()
        if transport is None:
            raise paramiko.SSHException("the connection is closed")
        remaining_s = max(0.1, context.remaining_s())
        channel = transport.open_session(timeout=remaining_s)
        channel.settimeout(remaining_s)
        return channel


def _received(channel: paramiko.Channel) -> bytes:
    """Read to the end; of an answer that has none, a part that is no answer any more is kept."""
    output = bytearray()
    while data := channel.recv(65536):
        output += data[: max(0, _LONGEST_ANSWER - len(output))]
    return bytes(output)


def connect(auth: TerminalAuth, context: Context) -> Connection:
    """Log in at the first of the addresses that answers.

    Raises:
        ProviderError: the last address's trouble, when none lets us in.
    """
    for address in auth.addresses[:-1]:
        with contextlib.suppress(Exception):
            return _connect(auth, address, context)
    return _connect(auth, auth.addresses[-1], context)


def _connect(auth: TerminalAuth, address: str, context: Context) -> Connection:
    client = _client(auth)
    timeout_s = max(0.1, min(_CONNECT_S, context.remaining_s()))
    try:
        client.connect(
            address,
            port=auth.port,
            username=auth.user,
            password=auth.password or None,
            pkey=_key(auth.key_content),
            timeout=timeout_s,
            banner_timeout=timeout_s,
            auth_timeout=timeout_s,
            allow_agent=False,
            look_for_keys=not (auth.password or auth.key_content),
        )
    except paramiko.BadHostKeyException:
        raise unknown_host_key(address, "its host key is not the one that is known") from None
    except _UnknownHostKeyError:
        raise unknown_host_key(address, "its host key is not known") from None
    except paramiko.AuthenticationException:
        raise refused(address, auth.user) from None
    except TimeoutError:
        raise too_slow(address, "connecting") from None
    except (paramiko.SSHException, OSError, EOFError, socket.gaierror) as error:
        raise unreachable(address, error) from error
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(_KEEPALIVE_S)
    return Connection(client, address)


class _UnknownHostKeyError(paramiko.SSHException):
    pass


class _Refuse(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        raise _UnknownHostKeyError


class _Accept(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Take any key: the blueprint said so."""


def _client(auth: TerminalAuth) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    if not auth.check_host_key:
        client.set_missing_host_key_policy(_Accept())
        return client
    client.set_missing_host_key_policy(_Refuse())
    if not auth.known_hosts:
        client.load_system_host_keys()
        return client
    try:
        client.load_system_host_keys(str(Path(auth.known_hosts).expanduser()))
    except OSError as error:
        raise NonRecoverableError(f"terminal_auth.known_hosts cannot be read: {error}") from error
    return client


def _key(content: str) -> paramiko.PKey | None:
    if not content:
        return None
    for kind in _KEY_TYPES:
        with contextlib.suppress(paramiko.SSHException, ValueError, IndexError):
            return kind.from_private_key(io.StringIO(content))
    raise NonRecoverableError(
        "terminal_auth.key_content is not a private key that we can read",
        hint="It must be an Ed25519, ECDSA or RSA key without a passphrase.",
    )
