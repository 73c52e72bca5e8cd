"""A blueprint of the server of this machine, or of one that is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from quiesce.errors import ProviderError
from quiesce.model.ids import Json
from quiesce.provider_kit.discovery import BlueprintBuilder, password_in, port_number
from quiesce.providers.redis import SERVER
from quiesce.providers.redis.client import RedisSession
from quiesce.providers.redis.options import RedisOptions


def discover(options: Mapping[str, str]) -> Mapping[str, Json]:
    """Return a blueprint as plain data, one node for the server.

    Options: ``host`` (a name, an address or the path of a socket; default 127.0.0.1), ``port``, ``user``,
    ``password_file`` (its first line). The blueprint takes a password from the secret ``redis_password``.
    """
    builder = BlueprintBuilder()
    properties = dict(_properties(options))
    name = builder.name("redis", str(properties["host"]), wish=f"redis_{properties['port']}")
    builder.add(name, SERVER, properties)
    return builder.blueprint()


def _properties(options: Mapping[str, str]) -> Iterator[tuple[str, Json]]:
    host, port = options.get("host") or "127.0.0.1", port_number(options.get("port") or "6379")
    user, password = options.get("user") or None, password_in(options)
    yield "host", host
    yield "port", port
    if user is not None:
        yield "user", user
    if password is not None:
        yield "password", {"get_secret": "redis_password"}
    try:
        with RedisSession(RedisOptions(host=host, port=port, user=user, password=password)) as session:
            directory = session.facts().directory
    except ProviderError:
        return  # it answers somebody else; 'quiesce doctor' says what is missing
    if Path(directory).is_dir():
        yield "data_directory", directory
