"""The database file: private, of our version, and never harmed when it is not."""

from __future__ import annotations

import socket
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from quiesce.errors import NewerStoreError, StoreError
from quiesce.stores import database as database_module
from quiesce.stores import migrations, schema
from quiesce.stores.database import Database

from .conftest import ON_SQLITE, SERVER


def test_the_newest_migration_is_the_schemas_version() -> None:
    versions = Path(migrations.__file__).parent / "versions"
    revisions = sorted(path.name.split("_")[0] for path in versions.glob("[0-9]*.py"))
    assert revisions[-1] == schema.HEAD


def test_a_migrated_database_has_exactly_the_tables_of_the_schema(database: Database) -> None:
    with database.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), schema.METADATA)
    assert differences == []


@ON_SQLITE
def test_a_migrated_database_has_the_same_columns_and_keys_as_the_schema(database: Database) -> None:
    fresh = sa.create_engine("sqlite://")
    schema.METADATA.create_all(fresh)
    assert _shape(database.engine) == _shape(fresh)
    fresh.dispose()


def test_the_file_and_its_directory_are_private(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path}/home/quiesce.db")):
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "home").iterdir()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


@ON_SQLITE
def test_what_is_committed_survives_a_power_cut(database: Database) -> None:
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/quiesce.db"
    with closing(Database(url)) as database, database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    before = (tmp_path / "quiesce.db").read_bytes()
    with pytest.raises(NewerStoreError, match=f"version 9999.*it knows {schema.HEAD}"):
        Database(url)
    assert (tmp_path / "quiesce.db").read_bytes() == before


def test_a_database_of_a_build_before_the_first_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/quiesce.db"
    with closing(Database(url)) as database, database.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    before = (tmp_path / "quiesce.db").read_bytes()
    with pytest.raises(StoreError, match="before the first release") as caught:
        Database(url)
    assert "--from-repository" in caught.value.hint
    assert (tmp_path / "quiesce.db").read_bytes() == before


def test_a_server_that_does_not_answer_keeps_no_thaw_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg", reason="the extra postgresql is not installed")
    monkeypatch.setattr(database_module, "SERVER_TIMEOUT_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(StoreError, match="timeout"):
        Database(f"postgresql+psycopg://quiesce@127.0.0.1:{silent.getsockname()[1]}/quiesce")


@pytest.mark.skipif(SERVER is None, reason="make test-postgresql has a server for it")
def test_every_session_misses_a_server_that_has_gone_and_keeps_what_the_url_says(database: Database) -> None:
    url = database.engine.url.update_query_dict({"keepalives_idle": "60"})
    with closing(Database(url.render_as_string(hide_password=False))) as given:
        for each, idle in ((database, "5"), (given, "60")):
            with each.read() as connection:
                told = connection.connection.driver_connection.info.get_parameters()
            assert told["tcp_user_timeout"] == "5000"
            assert told["keepalives_idle"] == idle


def test_what_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "quiesce.db").write_text("my thesis " * 500)
    with pytest.raises(StoreError, match="not a database") as caught:
        Database(f"sqlite:///{tmp_path}/quiesce.db")
    assert "--from-repository" in caught.value.hint
    assert "backups rebuild" in caught.value.hint
    assert (tmp_path / "quiesce.db").read_text() == "my thesis " * 500


def test_a_place_that_cannot_be_used_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be opened"):
        Database(f"sqlite:///{tmp_path}/file/quiesce.db")


def test_many_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def open_one() -> None:
        try:
            Database(f"sqlite:///{tmp_path}/quiesce.db").close()
        except BaseException as error:  # whatever it is, the test tells it
            errors.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def _shape(engine: sa.Engine) -> object:
    inspector = sa.inspect(engine)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)],
            inspector.get_pk_constraint(table)["constrained_columns"],
            sorted((index["name"] or "", index["column_names"]) for index in inspector.get_indexes(table)),
        )
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }
