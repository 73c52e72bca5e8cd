"""What a PostgreSQL server's node says about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quiesce.model.options import option
from quiesce.model.words import whole_number
from quiesce.provider_kit.server_access import ReachedServerOptions
from quiesce.provider_kit.server_options import read_path


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgreSQLOptions(ReachedServerOptions):
    """The properties of a node: how its server is reached, and where its files are."""

    host: str = option(
        "/run/postgresql", "name or address of the server, or the directory of its socket", per_node=True
    )
    port: int = option(5432, "port, also of a socket", read=whole_number(1, 65535), per_node=True)
    user: str = option("postgres", "role to log in with", per_node=True)
    password: str | None = option(None, "its password: {get_secret: NAME}", per_node=True)
    database: str = option("postgres", "database to log in to", per_node=True)
    programs: Path | None = option(
        None,
        "directory of pg_basebackup and pg_ctl (default: Debian's of the server's version, or the PATH)",
        read=read_path,
        per_node=True,
    )
    probe: str | None = option(None, "a query that has to answer with rows after a restore", per_node=True)
