"""Open the database: private, durable, of our version."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from quiesce.errors import NewerStoreError, StoreError
from quiesce.files.durable import make_private_directory
from quiesce.files.trust import require_trusted
from quiesce.stores.schema import HEAD

#: how long a write waits for another process's, in seconds; short, because a thaw may wait behind it
BUSY_TIMEOUT_S: Final = 5.0
#: how long a server is waited for that does not answer at all, in seconds; the system waits for many minutes
SERVER_TIMEOUT_S: Final = 5
#: how to go on without a database
_ANEW: Final = (
    "Put it aside; then 'quiesce init BLUEPRINT -b NAME --from-repository DIRECTORY' "
    "and 'quiesce backups rebuild NAME' bring the catalog back."
)


class Database:
    """One SQLAlchemy engine over our tables, migrated to this version."""

    def __init__(self, url: str) -> None:
        """Open *url*, making the file (mode 0600) and the tables where there are none.

        Raises:
            NewerStoreError: when a newer version of quiesce has written it.
            StoreError: when it cannot be opened.
            UntrustedPathError: when somebody else could have changed the file.
        """
        self.engine = _engine(url)
        with self.errors():
            _migrate(self.engine)

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Give a connection whose changes are durable, all together, when the block ends."""
        with self.errors(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """Give a connection for reading."""
        with self.errors(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the database's errors into ours."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise StoreError(f"the database cannot be used: {error.orig}", hint=_hint(error)) from error

    @property
    def is_shared(self) -> bool:
        """Whether other machines may use it, too: it is on a server, not in a file."""
        return self.engine.dialect.name != "sqlite"

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return server_engine(parsed, pool_pre_ping=True)
    except (sa.exc.ArgumentError, ImportError, ValueError) as error:
        # not the URL itself: it may hold a password
        raise StoreError(
            f"QUIESCE_DATABASE is no URL of a database that can be used here: {type(error).__name__}",
            hint="Such as sqlite:////var/lib/quiesce/quiesce.db, or postgresql+psycopg://USER@HOST/NAME "
            "with the extra 'postgresql' installed.",
        ) from None
    if parsed.database:
        _make_private(Path(parsed.database))
    engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})
    sa.event.listen(engine, "connect", _set_pragmas)
    return engine


def server_engine(url: sa.URL, **options: Any) -> sa.Engine:
    """Return an engine whose sessions soon miss a server that has gone; what *url* says itself stays."""
    timeouts = {
        "connect_timeout": SERVER_TIMEOUT_S,
        "tcp_user_timeout": SERVER_TIMEOUT_S * 1000,
        "keepalives_idle": SERVER_TIMEOUT_S,
        "keepalives_interval": SERVER_TIMEOUT_S,
    }
    if not url.get_driver_name().startswith("psycopg"):  # the names are those of libpq
        timeouts = {}
    missing = {name: value for name, value in timeouts.items() if name not in url.query}
    return sa.create_engine(url, connect_args=missing, **options)


def _make_private(path: Path) -> None:
    hint = "Correct it with chown and chmod go-w, or set QUIESCE_DATABASE."
    try:
        make_private_directory(path.parent)
        if not path.is_dir():  # first: no file is made where somebody's link leads to
            require_trusted(path.absolute(), hint=hint)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(
            f"the database {path} cannot be opened: {error.strerror}",
            hint="Check the directory's owner and mode, or set QUIESCE_HOME to another one.",
        ) from error
    # the directory itself too: SQLite's journal is a file beside the database
    for each in (path.parent, path):
        require_trusted(each.absolute(), hint=hint)


def file_of(url: str) -> Path | None:
    """Return the file of the database at *url*; None when it is none, or in no file."""
    try:
        parsed = sa.make_url(url)
        is_file = parsed.get_backend_name() == "sqlite"
    except (sa.exc.ArgumentError, ValueError):
        return None
    return Path(parsed.database).absolute() if is_file and parsed.database else None


def password_of(url: str) -> str:
    """Return the password in *url*; empty: none, or it is no URL."""
    try:
        return str(sa.make_url(url).password or "")
    except (sa.exc.ArgumentError, ValueError):
        return ""


def _set_pragmas(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
    finally:
        cursor.close()


def _migrate(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        found = _revision(connection)
    if found == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        if _revision(connection) == HEAD:  # another process was faster
            return
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            if found is not None and found < HEAD:
                raise StoreError(
                    f"the database is of version {found}, of a build before the first release",
                    hint=f"It cannot be read. {_ANEW}",
                ) from error
            raise NewerStoreError(
                f"the database is of version {found}, which this quiesce does not know (it knows {HEAD})"
            ) from error


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _hint(error: sa.exc.DBAPIError) -> str:
    text = str(error.orig)
    if "full" in text:
        return "Free space on the disk that holds QUIESCE_HOME, then run the command again."
    if "locked" in text:
        return "Another program holds the database; end it, then run the command again."
    if "not a database" in text or "malformed" in text:
        return f"The file is damaged or not ours. {_ANEW}"
    return "Check the disk and the permissions of QUIESCE_HOME."
