"""A blueprint of the servers that listen on this machine, or of one that is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from quiesce.errors import NonRecoverableError, ProviderError
from quiesce.model.ids import Json
from quiesce.provider_kit.discovery import BlueprintBuilder, password_in, port_number
from quiesce.providers.postgresql import SERVER
from quiesce.providers.postgresql.client import ServerSession, sockets
from quiesce.providers.postgresql.options import PostgreSQLOptions

_SOCKETS: Final = "/run/postgresql"


def discover(options: Mapping[str, str]) -> Mapping[str, Json]:
    """Return a blueprint as plain data, one node for each server.

    Options: ``host`` (a name, or the directory of sockets; default /run/postgresql), ``port``, ``user``,
    ``password_file`` (its first line). The blueprint takes a password from the secret
    ``postgresql_password``.
    """
    host, builder = options.get("host") or _SOCKETS, BlueprintBuilder()
    for port in _ports(host, options):
        properties = dict(_properties(host, port, options))
        builder.add(builder.name("postgresql", str(port), wish=f"postgresql_{port}"), SERVER, properties)
    return builder.blueprint()


def _ports(host: str, options: Mapping[str, str]) -> list[int]:
    if options.get("port"):
        return [port_number(options["port"])]
    found = sockets(Path(host)) if host.startswith("/") else [5432]
    if not found:
        raise NonRecoverableError(f"no server listens in {host}", hint="Give -o host=… and -o port=….")
    return found


def _properties(host: str, port: int, options: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    user = options.get("user") or "postgres"
    password = password_in(options)
    yield "host", host
    yield "port", port
    yield "user", user
    if password is not None:
        yield "password", {"get_secret": "postgresql_password"}
    asked = PostgreSQLOptions(host=host, port=port, user=user, password=password)
    try:
        with ServerSession(asked) as session:
            directory = session.facts().data_directory
    except ProviderError:
        return  # it answers somebody else; 'quiesce doctor' says what is missing
    if directory and Path(directory).is_dir():
        yield "data_directory", directory
