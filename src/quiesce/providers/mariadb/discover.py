"""A blueprint of the server of this machine, or of one that is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.provider_kit.discovery import BlueprintBuilder, password_in, port_number
from quiesce.providers.mariadb import SERVER
from quiesce.providers.mariadb.client import MariaDBSession
from quiesce.providers.mariadb.job import why_not_saved
from quiesce.providers.mariadb.options import MariaDBOptions


def discover(options: Mapping[str, str]) -> Mapping[str, Json]:
    """Return a blueprint as plain data, one node for the server.

    Options: ``host`` (a name, an address or the path of a socket; default /run/mysqld/mysqld.sock), ``port``,
    ``user``, ``password_file`` (its first line). The blueprint takes a password from the secret
    ``mariadb_password``. A server that cannot save itself is held while others cut its files.
    """
    builder = BlueprintBuilder()
    properties = dict(_properties(options))
    name = builder.name("mariadb", str(properties["host"]), wish=f"mariadb_{properties['port']}")
    builder.add(name, SERVER, properties)
    return builder.blueprint()


def _properties(options: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    plain = MariaDBOptions()
    host, port = options.get("host") or plain.host, port_number(options.get("port") or str(plain.port))
    user, password = options.get("user") or plain.user, password_in(options)
    yield "host", host
    yield "port", port
    yield "user", user
    if password is not None:
        yield "password", {"get_secret": "mariadb_password"}
    try:
        with MariaDBSession(MariaDBOptions(host=host, port=port, user=user, password=password)) as session:
            facts = session.facts()
    except ProviderError:
        return  # it answers somebody else; 'quiesce doctor' says what is missing
    if why_not_saved(facts) or not facts.data_directory.is_dir():
        yield "hold", True
    else:
        yield "data_directory", str(facts.data_directory.resolve())
