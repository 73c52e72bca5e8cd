"""What a MariaDB server's node says about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from quiesce.model.options import option
from quiesce.model.words import whole_number
from quiesce.provider_kit.server_access import ReachedServerOptions
from quiesce.provider_kit.server_options import read_path


@dataclass(frozen=True, slots=True, kw_only=True)
class MariaDBOptions(ReachedServerOptions):
    """The properties of a node: how its server is reached, and where its files are."""

    host: str = option(
        "/run/mysqld/mysqld.sock", "name or address of the server, or the path of its socket", per_node=True
    )
    port: int = option(3306, "port; a socket has none", read=whole_number(1, 65535), per_node=True)
    user: str = option("root", "user to log in as", per_node=True)
    password: str | None = option(None, "its password: {get_secret: NAME}", per_node=True)
    hold: bool = option(False, "whether its commits wait while other nodes cut its files", per_node=True)
    programs: Path | None = option(
        None, "directory of mariadb-backup (default: the PATH)", read=read_path, per_node=True
    )
    probe: str | None = option(None, "a query that has to answer with rows after a restore", per_node=True)
