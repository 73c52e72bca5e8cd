"""A database of its own for each test: SQLite, or a schema of the PostgreSQL that a variable names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from quiesce.stores.database import Database

SERVER = os.environ.get("QUIESCE_TEST_DATABASE")
ON_SQLITE = pytest.mark.skipif(SERVER is not None, reason="it is about SQLite's own files")


@contextmanager
def empty_database(directory: Path) -> Iterator[Database]:
    """Give a new database; ``QUIESCE_TEST_DATABASE`` (a URL) names the server that makes it."""
    if SERVER is None:
        opened = Database(f"sqlite:///{directory}/quiesce.db")
        yield opened
        opened.close()
        return
    schema = f"quiesce_{uuid.uuid4().hex}"
    administrator = sa.create_engine(SERVER)
    with administrator.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    url = sa.make_url(SERVER).update_query_dict({"options": f"-csearch_path={schema}"})
    opened = Database(url.render_as_string(hide_password=False))
    yield opened
    opened.close()
    with administrator.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True))
    administrator.dispose()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A new, empty database."""
    with empty_database(tmp_path) as opened:
        yield opened
