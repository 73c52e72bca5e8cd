"""What a Redis server's node says about it."""

from __future__ import annotations

from dataclasses import dataclass

from quiesce.model.options import option
from quiesce.model.words import whole_number
from quiesce.provider_kit.server_access import ReachedServerOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions(ReachedServerOptions):
    """The properties of a node: how its server is reached, and where its files are."""

    host: str = option("127.0.0.1", "name or address of the server, or the path of its socket", per_node=True)
    port: int = option(6379, "port; a socket has none", read=whole_number(1, 65535), per_node=True)
    user: str | None = option(None, "user to log in as (default: the server's default user)", per_node=True)
    password: str | None = option(None, "its password: {get_secret: NAME}", per_node=True)
    probe: str | None = option(
        None,
        "a command that has to answer after a restore with something but 0: EXISTS catalog",
        per_node=True,
    )
