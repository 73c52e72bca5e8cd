"""How servers of databases are reached: encrypted, or by way of SSH through another machine."""

from __future__ import annotations

import dataclasses
import os
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from quiesce.errors import NonRecoverableError, RecoverableError
from quiesce.isolation.child import Child, Command
from quiesce.isolation.reaper import Reaper
from quiesce.isolation.run import inherited_environment, private_directory
from quiesce.model.ids import Json
from quiesce.model.options import option
from quiesce.model.words import WrongValueError, read_absolute_path, read_text
from quiesce.provider_kit.server_options import LocalServerOptions

_DEBIANS: Final = "/etc/ssl/certs/ca-certificates.crt"
_LOOK_S: Final = 0.02
_SAID: Final = "said"
_LONGEST_SAID: Final = 500
#: nobody is asked for a word, and nothing of ours outlives us in a shared connection
_SSH: Final = (
    *("ssh", "-N", "-T", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-o", "ControlPath=none"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", "StreamLocalBindMask=0177"),
)


def read_destination(value: Json) -> str:
    """Return where SSH leads; what ssh would take for an option is refused."""
    text = read_text(value)
    if text.startswith("-") or " " in text:
        raise WrongValueError(value, "a machine as ssh knows it: user@host")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedServerOptions(LocalServerOptions):
    """Where its files are, how it is reached, and who logs in."""

    #: each kind of server has defaults of its own
    host: str = ""
    port: int = 0
    user: str | None = None
    password: str | None = None
    tls: bool = option(
        False, "whether it is reached encrypted only, with a certificate that is its host's", per_node=True
    )
    tls_ca: str | None = option(
        None,
        "file of the authorities that vouch for its certificate (default: the system's)",
        read=read_absolute_path,
        per_node=True,
    )
    tls_certificate: str | None = option(
        None, "file of the certificate that is shown to it", read=read_absolute_path, per_node=True
    )
    tls_key: str | None = option(
        None, "file of that certificate's key", read=read_absolute_path, per_node=True
    )
    ssh: str | None = option(
        None,
        "machine from which host is reached, as ssh knows it: user@host",
        read=read_destination,
        per_node=True,
    )
    ssh_config: str | None = option(
        None, "configuration file of ssh (default: the user's)", read=read_absolute_path, per_node=True
    )

    @property
    def encrypts(self) -> bool:
        """Whether TLS is wanted."""
        return self.tls or self.tls_ca is not None or self.tls_certificate is not None


ReachedT = TypeVar("ReachedT", bound=ReachedServerOptions)


def shown_address(options: ReachedServerOptions, is_socket: bool) -> str:
    """Return where a server is, for messages."""
    there = options.host if is_socket else f"{options.host} port {options.port}"
    return there if options.ssh is None else f"{there} by way of {options.ssh}"


def access_of(options: ReachedServerOptions) -> dict[str, Json]:
    """Return how a server is reached and who logs in, to be handed to another process."""
    return {field.name: getattr(options, field.name) for field in _OWN}


_OWN: Final = tuple(
    field
    for field in dataclasses.fields(ReachedServerOptions)
    if field.name not in {known.name for known in dataclasses.fields(LocalServerOptions)}
)


def authorities() -> str:
    """Return the file of the authorities that this system trusts."""
    return ssl.get_default_verify_paths().cafile or _DEBIANS


def tls_context(options: ReachedServerOptions) -> ssl.SSLContext | None:
    """Return what checks the server's certificate and shows ours; None when TLS is not asked for.

    Raises:
        NonRecoverableError: when a file cannot be used.
    """
    if not options.encrypts:
        return None
    try:
        context = ssl.create_default_context(cafile=options.tls_ca)
        if options.tls_certificate is not None:
            context.load_cert_chain(options.tls_certificate, options.tls_key)
    except OSError as error:  # SSLError is one
        raise NonRecoverableError(
            f"the certificates of TLS cannot be used: {error}", hint="See tls_ca, tls_certificate, tls_key."
        ) from error
    return context


#: a tunnel is encrypted already, and leads to a socket, which has no TLS
WITHOUT_ACCESS: Final[dict[str, Any]] = {
    "tls": False,
    **dict.fromkeys(("ssh", "ssh_config", "tls_ca", "tls_certificate", "tls_key")),
}


def address(host: str, port: int) -> str:
    """Return an address as ssh writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def tunnel(
    options: ReachedServerOptions, target: str, *, patience_s: float, name: str = "server"
) -> Iterator[Path]:
    """Give a socket of this machine that leads to *target*, an address or a socket beyond `ssh`.

    It is reached by us only. However we die, the tunnel ends.

    Raises:
        RecoverableError: when ssh does not get there in time; it says what ssh has said.
    """
    with ExitStack() as until_closed:
        place = Path(until_closed.enter_context(private_directory()))
        reaper = Reaper()
        until_closed.callback(reaper.close)
        with (place / _SAID).open("xb") as said:
            child = Child(_command(options, f"{place / name}:{target}", said.fileno()), reaper)
        until_closed.callback(child.close)
        _wait_for(child, place, name, patience_s, f"{target} by way of {options.ssh}")
        yield place / name


def _command(options: ReachedServerOptions, forwarded: str, output: int) -> Command:
    configuration = [] if options.ssh_config is None else ["-F", options.ssh_config]
    return Command(
        argv=[*_SSH, *configuration, "-L", forwarded, "--", str(options.ssh)],
        env=inherited_environment(),
        cwd="/",
        output=output,
        grace_s=0,
    )


def _wait_for(child: Child, place: Path, name: str, patience_s: float, what: str) -> None:
    ends = time.monotonic() + patience_s
    while not os.path.lexists(place / name):
        if child.has_ended(_LOOK_S) or time.monotonic() >= ends:
            text = ""
            with suppress(OSError):
                text = (place / _SAID).read_bytes()[-_LONGEST_SAID:].decode(errors="replace").strip()
            raise RecoverableError(f"{what} is not reached: {text or 'ssh says nothing'}")


@contextmanager
def socket_to(options: ReachedT, *, patience_s: float) -> Iterator[ReachedT]:
    """Give *options* with a host that is reached from here: as they are, or the socket of a tunnel.

    Raises:
        RecoverableError: when there is no way there.
    """
    if options.ssh is None:
        yield options
        return
    target = options.host if options.host.startswith("/") else address(options.host, options.port)
    with tunnel(options, target, patience_s=patience_s) as path:
        yield dataclasses.replace(options, host=str(path), **WITHOUT_ACCESS)
