"""What runs on this machine becomes a blueprint: real daemons, and machines that are made up."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from quiesce.errors import NonRecoverableError
from quiesce.files.mounts import Mount
from quiesce.providers.host import discover as discovering
from quiesce.providers.host import survey
from quiesce.providers.host.discover import discover
from quiesce.providers.host.survey import MachineSurvey, PostgreSQLServer, Program, directories_of

#: opens what it is given for writing (databases as SQLite does), says so, and stays
DAEMON = """
import sqlite3, sys, time
opened = []
for path in sys.argv[1:]:
    if path.endswith(".db"):
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE IF NOT EXISTS t (x)")
        connection.execute("INSERT INTO t VALUES (1)")
        opened.append(connection)
    else:
        opened.append(open(path, "r" if path.endswith(".conf") else "a"))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def daemon() -> Iterator[Callable[..., int]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*paths: Path) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", DAEMON, *map(str, paths)], start_new_session=True, stdout=subprocess.PIPE
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process.pid

    yield start
    for process in started:
        process.kill()
        process.communicate()


def nodes_of(blueprint: Mapping[str, Any]) -> dict[str, tuple[str, dict[str, Any], list[str]]]:
    return {
        name: (
            each["type"].removeprefix("quiesce.nodes."),
            each["properties"],
            [link["target"] for link in each.get("relationships", [])],
        )
        for name, each in blueprint["node_templates"].items()
    }


def test_a_daemon_its_directory_and_its_database_are_found_and_related(
    daemon: Callable[..., int], tmp_path: Path
) -> None:
    data = tmp_path / "shop"
    data.mkdir()
    (data / "read.conf").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "only-read.conf").touch()
    pid = daemon(data / "orders.db", data / "log", data / "read.conf", tmp_path / "elsewhere/only-read.conf")
    nodes = nodes_of(discover({"below": str(tmp_path)}, tmp_path / "home"))
    assert nodes["shop"] == ("host.Directory", {"path": str(data)}, [])
    assert nodes["orders"] == ("host.SQLite", {"path": str(data / "orders.db")}, ["shop"])
    (process,) = [node for node in nodes.values() if node[0] == "host.Process"]
    assert process[2] == ["orders", "shop"]
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    assert re.search(process[1]["command"], command)
    assert len(nodes) == 3


def test_the_state_of_quiesce_and_files_that_are_gone_are_no_data(
    daemon: Callable[..., int], tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "gone").mkdir()
    daemon(tmp_path / "home" / "quiesce.db", tmp_path / "gone" / "file")
    (tmp_path / "gone" / "file").unlink()
    with pytest.raises(NonRecoverableError, match="writes anything"):
        discover({"below": str(tmp_path)}, tmp_path / "home")


def test_a_pipe_that_is_called_a_database_holds_nothing_up(
    daemon: Callable[..., int], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    daemon(tmp_path / "data" / "file")
    (tmp_path / "data" / "file").unlink()
    os.mkfifo(tmp_path / "data" / "file")
    daemon(tmp_path / "data" / "other")
    assert "data" in nodes_of(discover({"below": str(tmp_path)}, tmp_path / "home"))


@pytest.mark.skipif(shutil.which("systemctl") is not None and survey.SYSTEMD.is_dir(), reason="systemd runs")
def test_without_systemd_it_says_what_it_could_not_look_at(
    daemon: Callable[..., int], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    daemon(tmp_path / "data" / "file")
    said = str(discover({"below": str(tmp_path)}, tmp_path / "home")["description"])
    assert "systemd does not run here" in said


@pytest.mark.parametrize(
    ("group", "unit"),
    [
        ("0::/system.slice/shop.service\n", "shop.service"),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/till.service\n", "till.service"),
        ("12:pids:/system.slice/shop.service\n0::/init.scope\n", "shop.service"),
        ("0::/user.slice/session-1.scope\n", None),
    ],
)
def test_the_service_of_a_process_is_told_by_its_control_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, group: str, unit: str | None
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(group)
    monkeypatch.setattr(survey, "_PROC", tmp_path)
    monkeypatch.setattr(survey, "SYSTEMD", tmp_path)
    assert survey._unit(7) == unit


def test_directories_are_each_programs_own_and_never_one_in_another() -> None:
    written = [Path(each) for each in ("/var/lib/x/a/b/f", "/var/lib/x/g", "/data/a/f", "/data/a/b/c/f")]
    found = directories_of(written, [Path("/var/lib")])
    assert {str(root): len(files) for root, files in found.items()} == {"/var/lib/x": 2, "/data/a": 2}


def mount(point: str, file_system: str, device: str) -> Mount:
    return Mount(
        mount_id=1,
        parent_id=0,
        device=device.encode(),
        root=b"/",
        point=point.encode(),
        file_system=file_system.encode(),
    )


def program(name: str, *written: str, **changes: Any) -> Program:
    paths = frozenset(map(Path, written))
    given = {
        "pid": len(name),
        "command": f"/usr/bin/{name} -d",
        "unit": f"{name}.service",
        "databases": frozenset(),
    }
    return Program(name=name, written=paths, **{**given, **changes})


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """A machine with a web server, PostgreSQL, MongoDB, and a volume for the web server's files."""
    server = PostgreSQLServer(
        directory=Path("/var/lib/postgresql/15/main"), port=5433, sockets="/run/postgresql"
    )
    found = MachineSurvey(
        programs=(
            program("web", "/vol/web/uploads", "/var/log/web.log", "/tmp/session"),
            program("postgres", "/var/lib/postgresql/15/main/base/1", server=server),
            program("mongod", "/var/lib/mongodb/journal/a"),
            program("on-a-mount", "/lone/file"),
        ),
        mounts=(
            mount("/", "ext4", "8:1"),
            mount("/vol", "xfs", "8:2"),
            mount("/lone", "nfs4", "0:9"),
        ),
        systemd=True,
        unseen=3,
        contained=2,
    )
    monkeypatch.setattr(discovering, "survey_machine", lambda: found)
    return discover({}, Path("/root/.local/share/quiesce"))


def test_services_databases_and_volumes_of_a_machine(made_up: Mapping[str, Any]) -> None:
    nodes = nodes_of(made_up)
    assert nodes["web_service"] == ("host.Process", {"systemd_unit": "web.service"}, ["web"])
    assert nodes["web"] == ("host.Directory", {"path": "/vol/web"}, ["mount_vol"])
    assert nodes["mount_vol"] == ("host.FileSystem", {"path": "/vol"}, [])
    assert nodes["mongodb"] == ("host.Directory", {"path": "/var/lib/mongodb"}, [])
    assert nodes["postgresql_5433"][0] == "postgresql.Server"
    assert nodes["postgresql_5433"][1]["systemd_unit"] == "postgres.service"
    assert not any("postgresql" in str(node[1].get("path")) for node in nodes.values())
    assert not any("/var/log" in str(node) or "/tmp" in str(node) for node in nodes.values())


def test_what_could_not_be_seen_and_what_is_to_be_decided_is_said(made_up: Mapping[str, Any]) -> None:
    said = made_up["description"]
    assert "3 processes of other users" in said
    assert "2 processes run in containers" in said
    assert "mongod is a database for which there is no node type" in said
    assert "/lone is a mount point" in said
    assert "connect to it (connected_to) the processes" in said
    assert "systemd does not run" not in said


def test_a_file_system_that_holds_our_own_state_is_not_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    found = MachineSurvey(
        programs=(program("web", "/vol/web/uploads"),),
        mounts=(mount("/", "ext4", "8:1"), mount("/vol", "xfs", "8:2")),
        systemd=True,
        unseen=0,
        contained=0,
    )
    monkeypatch.setattr(discovering, "survey_machine", lambda: found)
    nodes = nodes_of(discover({}, Path("/vol/quiesce")))
    assert not any(node[0] == "host.FileSystem" for node in nodes.values())


def test_sqlite_is_told_by_its_content_and_not_by_its_name(
    daemon: Callable[..., int], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with contextlib.closing(sqlite3.connect(data / "orders")) as made:
        made.execute("CREATE TABLE t (x)")
    daemon(data / "orders")
    nodes = nodes_of(discover({"below": str(tmp_path)}, tmp_path / "home"))
    assert nodes["orders"] == ("host.SQLite", {"path": str(data / "orders")}, ["data"])
