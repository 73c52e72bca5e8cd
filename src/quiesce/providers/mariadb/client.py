"""One session on a server. Nothing else imports pymysql."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import pymysql
from pymysql.constants import CR, ER

from quiesce.errors import NonRecoverableError, ProviderError, RecoverableError
from quiesce.provider_kit.server_access import shown_address, socket_to, tls_context
from quiesce.providers.mariadb.options import MariaDBOptions

#: what one answer may take while nothing says how long, in seconds
_ANSWER_S: Final = 30.0
_FORBIDDEN: Final = frozenset(
    {ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR}
)
_NO_ANSWER: Final = frozenset({CR.CR_CONN_HOST_ERROR, CR.CR_SERVER_LOST})
#: a node that is held up holds up all others, and one that is put back is not one of them any more
IN_GALERA: Final = "it is a node of a Galera cluster; declare a replica outside of the cluster"
#: settings that name a place
_PLACES: Final = (
    "datadir",
    "innodb_data_home_dir",
    "innodb_log_group_home_dir",
    "innodb_undo_directory",
    "aria_log_dir_path",
    "log_bin_basename",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MariaDBFacts:
    """What a server says about itself."""

    #: 10.11.19-MariaDB
    version: str
    data_directory: Path
    #: settings that name a place, by name; all absolute
    places: dict[str, Path]
    #: files of tablespaces that lie outside of its directory
    apart: tuple[str, ...]
    #: whether other servers replicate with it, all of one state
    in_galera: bool = False

    @property
    def is_mariadb(self) -> bool:
        """Whether it is MariaDB, and not MySQL."""
        return "MariaDB" in self.version

    @property
    def number(self) -> tuple[int, ...]:
        """(10, 11)"""
        return release_of(self.version)


class MariaDBSession:
    """One session; every statement is a transaction of its own."""

    def __init__(self, options: MariaDBOptions, *, timeout_s: float = _ANSWER_S) -> None:
        """Log in.

        Raises:
            RecoverableError: when nobody answers, or this user may not log in.
        """
        self.address = shown_address(options, options.host.startswith("/"))
        patience_s = max(1, int(timeout_s))
        with contextlib.ExitStack() as failed:
            reached = failed.enter_context(socket_to(options, patience_s=min(patience_s, _ANSWER_S)))
            self._connection = _connection(reached, patience_s)
            try:
                self._connection.connect(reach(reached, min(patience_s, _ANSWER_S)))
            except (pymysql.Error, OSError) as error:
                text = f"the server at {self.address} cannot be used: {_said(error)}"
                raise RecoverableError(text) from error
            self._until_closed = failed.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the session, and with it whatever it holds."""
        with self._until_closed, contextlib.suppress(pymysql.Error, OSError):
            self._connection.close()

    def facts(self) -> MariaDBFacts:
        """Return what the server says about itself."""
        version = self.version()
        settings = dict(self.rows("SHOW GLOBAL VARIABLES"))
        data = Path(settings["datadir"])
        return MariaDBFacts(
            version=version,
            data_directory=data,
            places={name: data / settings[name] for name in _PLACES if settings.get(name)},
            apart=tuple(self._apart(data, settings)),
            in_galera=settings.get("wsrep_on") == "ON",
        )

    def version(self) -> str:
        """Return 10.11.19-MariaDB."""
        ((version,),) = self.rows("SELECT VERSION()")
        return str(version)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what *query* answers.

        Raises:
            RecoverableError: when the session is over.
            NonRecoverableError: when it is refused.
        """
        with self._errors(), self._connection.cursor() as cursor:
            cursor.execute(query, values or None)
            return list(cursor.fetchall())

    def _apart(self, data: Path, settings: dict[str, str]) -> Iterator[str]:
        """Give the files of tablespaces that are named by a path of their own."""
        named = (part.split(":")[0] for part in settings.get("innodb_data_file_path", "").split(";"))
        yield from (name for name in named if name.startswith("/"))
        if "MariaDB" in settings.get("version", ""):
            table, column = "INNODB_SYS_TABLESPACES", "FILENAME"
            for (name,) in self.rows(f"SELECT {column} FROM information_schema.{table}"):  # noqa: S608  ours
                if name.startswith("/") and not Path(name).is_relative_to(data):
                    yield name

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (pymysql.OperationalError, pymysql.InterfaceError, OSError) as error:
            raise self._ours(error) from error
        except pymysql.Error as error:
            raise NonRecoverableError(f"the server at {self.address}: {_said(error)}") from error

    def _ours(self, error: Exception) -> ProviderError:
        text = f"the server at {self.address}: {_said(error)}"
        if error.args and error.args[0] in _FORBIDDEN:
            hint = "Give the user what docs/providers/mariadb.md lists under 'The user'."
            return NonRecoverableError(text, hint=hint)
        return RecoverableError(text)


def _connection(options: MariaDBOptions, patience_s: int) -> Any:
    path = options.host if options.host.startswith("/") else None
    return pymysql.Connection(
        unix_socket=path,
        host=None if path else options.host,
        port=options.port,
        user=options.user,
        password=options.password or "",
        autocommit=True,
        read_timeout=patience_s,
        write_timeout=patience_s,
        program_name="quiesce",
        ssl=None if path else tls_context(options),
        defer_connect=True,
    )


def is_there(options: MariaDBOptions) -> bool:
    """Tell whether a server answers, be it that this user may not log in."""
    try:
        MariaDBSession(options, timeout_s=2.0).close()
    except RecoverableError as error:
        cause = error.__cause__
        return isinstance(cause, pymysql.Error) and cause.args[0] not in _NO_ANSWER
    return True


def release_of(version: str) -> tuple[int, ...]:
    """Return what changes with what a server's files are: (10, 11)."""
    return tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".")[:2])


def quoted(name: str) -> str:
    """Return the name of a database or table as a statement has it."""
    return f"`{name.replace('`', '``')}`"


def reach(options: MariaDBOptions, patience_s: float) -> socket.socket:
    """Return a connection to the server; closed when there is none, which pymysql's own would not be."""
    if not options.host.startswith("/"):
        return socket.create_connection((options.host, options.port), timeout=patience_s)
    reached = socket.socket(socket.AF_UNIX)
    try:
        reached.settimeout(patience_s)
        reached.connect(options.host)
    except BaseException:
        reached.close()
        raise
    return reached


def _said(error: Exception) -> str:
    return str(error.args[1]) if len(error.args) > 1 else str(error) or type(error).__name__
