"""What a PostgreSQL server's node says about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from quiesce.model.ids import Json
from quiesce.model.options import option
from quiesce.model.words import WrongValueError, read_absolute_path, read_text, whole_number


def _read_path(value: Json) -> Path:
    return Path(read_absolute_path(value))


def _read_unit(value: Json) -> str:
    text = read_text(value)
    if re.fullmatch(r"[A-Za-z0-9:_.@\\][A-Za-z0-9:_.@\\-]*", text) is None:
        raise WrongValueError(value, "the name of a unit, such as postgresql@15-main.service")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgreSQLOptions:
    """The properties of a node: how its server is reached, and where its files are."""

    host: str = option(
        "/run/postgresql", "name or address of the server, or the directory of its socket", per_node=True
    )
    port: int = option(5432, "port, also of a socket", read=whole_number(1, 65535), per_node=True)
    user: str = option("postgres", "role to log in with", per_node=True)
    password: str | None = option(None, "its password: {get_secret: NAME}", per_node=True)
    database: str = option("postgres", "database to log in to", per_node=True)
    data_directory: Path | None = option(
        None,
        "the server's files on this machine; without it, it is saved but not restored",
        read=_read_path,
        per_node=True,
    )
    systemd_unit: str | None = option(
        None, "unit that it is stopped and started by (default: pg_ctl)", read=_read_unit, per_node=True
    )
    programs: Path | None = option(
        None,
        "directory of pg_basebackup and pg_ctl (default: Debian's of the server's version, or the PATH)",
        read=_read_path,
        per_node=True,
    )
    repository: Path | None = option(
        None, "directory of the node's own repository", read=_read_path, per_node=True
    )
    probe: str | None = option(None, "a query that has to answer with rows after a restore", per_node=True)
