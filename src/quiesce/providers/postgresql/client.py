"""One session on a server. Nothing else imports psycopg."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import psycopg

from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError
from quiesce.provider_kit.server_access import WITHOUT_ACCESS, address, authorities, shown_address, tunnel
from quiesce.providers.postgresql.options import PostgreSQLOptions
from quiesce.providers.postgresql.wal import Lsn

#: what one answer may take while nothing says how long, in seconds
_ANSWER_S: Final = 30.0
#: how much of the log one answer carries
_CHUNK_BYTES: Final = 4 << 20
_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Tablespace:
    """A directory of the server's outside of its own."""

    oid: int
    name: str
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What a server says about itself."""

    #: 150018
    version: int
    #: one for each `initdb`
    system: str
    #: empty when this role may not know it
    data_directory: str
    in_recovery: bool
    wal_level: str
    segment_bytes: int
    page_bytes: int
    tablespaces: tuple[Tablespace, ...]

    @property
    def major(self) -> int:
        """15"""
        return self.version // 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCut:
    """A cut: what was acknowledged before it lies before *at*, and the server's disk has all up to *end*."""

    system: str
    timeline: int
    at: Lsn
    end: Lsn


class ServerSession:
    """One session; every statement is a transaction of its own."""

    def __init__(
        self, options: PostgreSQLOptions, *, timeout_s: float = _ANSWER_S, database: str = ""
    ) -> None:
        """Log in.

        Raises:
            RecoverableError: when nobody answers, or this role may not log in.
        """
        self.address = shown_address(options, False)
        self._patience_s = min(timeout_s, _ANSWER_S)
        with contextlib.ExitStack() as failed:
            reached = failed.enter_context(reached_by(options, patience_s=self._patience_s))
            self._connection = self._connect(reached, timeout_s, database)
            self._until_closed = failed.pop_all()

    def _connect(
        self, options: PostgreSQLOptions, timeout_s: float, database: str
    ) -> psycopg.Connection[Any]:
        try:
            return psycopg.connect(
                host=options.host,
                port=options.port,
                **tls_settings(options),
                user=options.user,
                password=options.password,
                dbname=database or options.database,
                connect_timeout=max(2, int(min(timeout_s, _ANSWER_S))),
                application_name="quiesce",
                autocommit=True,
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                options=f"-c statement_timeout={int(max(timeout_s, 1) * 1000)} -c synchronous_commit=local"
                " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3",
            )
        except psycopg.Error as error:
            raise RecoverableError(f"PostgreSQL at {self.address} cannot be used: {_said(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session, and with it whatever it holds."""
        with self._until_closed, contextlib.suppress(psycopg.Error):
            self._connection.close()

    def facts(self) -> ServerFacts:
        """Return what the server says about itself."""
        (row,) = self.rows(
            "SELECT current_setting('server_version_num')::int, system_identifier::text, pg_is_in_recovery(),"
            " current_setting('wal_level'), (SELECT setting::bigint FROM pg_settings WHERE"
            " name = 'wal_segment_size'), current_setting('wal_block_size')::int FROM pg_control_system()"
        )
        version, system, in_recovery, wal_level, segment_bytes, page_bytes = row
        return ServerFacts(
            version=version,
            system=system,
            data_directory=self._data_directory(),
            in_recovery=in_recovery,
            wal_level=wal_level,
            segment_bytes=segment_bytes,
            page_bytes=page_bytes,
            tablespaces=tuple(
                Tablespace(oid=oid, name=name, location=location)
                for oid, name, location in self.rows(
                    "SELECT oid::bigint, spcname, pg_tablespace_location(oid) FROM pg_tablespace"
                    " WHERE pg_tablespace_location(oid) <> '' ORDER BY oid"
                )
            ),
        )

    def hold_wal(self, name: str) -> None:
        """Let the server keep its log from now on, until this session ends, however it ends.

        A session that has held it under the same *name*, of an attempt that hangs, is ended.

        Raises:
            NonRecoverableError: when it has no slot left, or this role may not hold one.
        """
        self.release_wal(name)
        self.rows("SELECT 1 FROM pg_create_physical_replication_slot(%s, true, true)", name)

    def release_wal(self, name: str) -> None:
        """End the session that holds the log under *name*, and return when the server lets the log go.

        Raises:
            RecoverableError: when that session does not end.
        """
        holder = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s"
        ends = time.monotonic() + self._patience_s
        while self.rows(holder, name):
            if time.monotonic() >= ends:
                raise RecoverableError(f"PostgreSQL at {self.address} does not end the session of {name}")
            time.sleep(_PAUSE_S)

    def is_alive(self) -> bool:
        """Tell whether the session, and what it holds, is still there."""
        try:
            return self.rows("SELECT 1") == [(1,)]
        except ProviderError:
            return False

    def cut(self) -> ServerCut:
        """Fix the point in time, and have the disk reach it. Nobody is held up.

        All that was acknowledged has its record before the place that is read first. The message behind it
        is what recovery stops at: without a later record it would not know that it has arrived.
        """
        ((at, file),) = self.rows(
            "SELECT pg_current_wal_insert_lsn()::text, pg_walfile_name(pg_current_wal_insert_lsn())"
        )
        self.rows("SELECT 1 FROM pg_logical_emit_message(true, 'quiesce', 'cut')")
        ((end, system),) = self.rows(
            "SELECT pg_current_wal_flush_lsn()::text, system_identifier::text FROM pg_control_system()"
        )
        return ServerCut(system=system, timeline=int(file[:8], 16), at=Lsn.of(at), end=Lsn.of(end))

    def wal_file(self, name: str, size_bytes: int) -> bytes:
        """Return the content of a file of the log; empty when there is no such file any more."""
        parts = []
        for offset in range(0, size_bytes, _CHUNK_BYTES):
            length = min(_CHUNK_BYTES, size_bytes - offset)
            ((part,),) = self.rows(
                "SELECT pg_read_binary_file(%s, %s, %s, true)", f"pg_wal/{name}", offset, length
            )
            if part is None:
                return b""
            parts.append(bytes(part))
        return b"".join(parts)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what *query* answers.

        Raises:
            RecoverableError: when the session is over.
            NonRecoverableError: when it is refused.
        """
        with self._errors():
            found: list[tuple[Any, ...]] = self._connection.execute(query.encode(), values or None).fetchall()
            return found

    def _data_directory(self) -> str:
        ((found,),) = self.rows(
            "SELECT CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')"
            " THEN current_setting('data_directory', true) END"
        )
        return str(found or "")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.InsufficientPrivilege as error:
            raise NonRecoverableError(
                f"PostgreSQL at {self.address}: {_said(error)}",
                hint="Give the role what docs/providers/postgresql.md lists under 'The role'.",
            ) from error
        except psycopg.OperationalError as error:
            raise RecoverableError(f"PostgreSQL at {self.address}: {_said(error)}") from error
        except psycopg.Error as error:
            raise NonRecoverableError(f"PostgreSQL at {self.address}: {_said(error)}") from error


def tls_settings(options: PostgreSQLOptions) -> dict[str, str]:
    """Return what libpq is told; without `tls` its own files and variables decide (PGSSLMODE)."""
    if not options.encrypts:
        return {}
    told = {
        "sslrootcert": options.tls_ca or authorities(),
        "sslcert": options.tls_certificate,
        "sslkey": options.tls_key,
    }
    return {"sslmode": "verify-full", **{name: value for name, value in told.items() if value is not None}}


@contextlib.contextmanager
def reached_by(options: PostgreSQLOptions, *, patience_s: float) -> Iterator[PostgreSQLOptions]:
    """Give *options* with a host that is reached from here: as they are, or the socket of a tunnel.

    Raises:
        RecoverableError: when there is no way there.
    """
    if options.ssh is None:
        yield options
        return
    socket = f".s.PGSQL.{options.port}"
    is_socket = options.host.startswith("/")
    target = f"{options.host}/{socket}" if is_socket else address(options.host, options.port)
    with tunnel(options, target, patience_s=patience_s, name=socket) as path:
        yield dataclasses.replace(options, host=str(path.parent), **WITHOUT_ACCESS)


def databases(session: ServerSession) -> Sequence[str]:
    """Return the databases that can be logged in to."""
    return [name for (name,) in session.rows("SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1")]


def sockets(directory: Path) -> list[int]:
    """Return the ports of the servers that listen in *directory*."""
    names = (path.name.removeprefix(".s.PGSQL.") for path in directory.glob(".s.PGSQL.*"))
    return sorted(int(name) for name in names if name.isdecimal())


def _said(error: psycopg.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__
