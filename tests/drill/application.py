"""The application of the drill: PostgreSQL under pgbench, Redis, a web process and its uploads."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: how long an application may take until it answers, in seconds
PATIENCE_S = 60.0

BLUEPRINT = """\
tosca_definitions_version: cloudify_dsl_1_3
imports: [cloudify/types/types.yaml, plugin:quiesce]
node_templates:
  pgdata: {{type: quiesce.nodes.host.Directory, properties: {{path: {base}/data/pgdata}}}}
  redis_data: {{type: quiesce.nodes.host.Directory, properties: {{path: {base}/data/redis}}}}
  uploads: {{type: quiesce.nodes.host.Directory, properties: {{path: {base}/data/uploads}}}}
  postgresql:
    type: quiesce.nodes.host.PausedProcess
    properties:
      pid_file: {base}/data/pgdata/postmaster.pid
      start: {as_postgres} {bin}/pg_ctl -w -D {base}/data/pgdata -l {base}/run/postgresql.log start
      stop: {as_postgres} {bin}/pg_ctl -w -m fast -D {base}/data/pgdata stop
      probe: psql -qXAt -h {base}/run -U postgres -d postgres -c 'SELECT 1'
    relationships: [{{type: cloudify.relationships.connected_to, target: pgdata}}]
  redis:
    type: quiesce.nodes.host.PausedProcess
    properties:
      pid_file: {base}/run/redis.pid
      start: redis-server {base}/redis.conf
      probe: redis-cli -s {base}/run/redis.sock RPUSH probes 1
    relationships: [{{type: cloudify.relationships.connected_to, target: redis_data}}]
  web:
    type: quiesce.nodes.host.PausedProcess
    properties:
      pid_file: {base}/run/web.pid
      start: {python} {program} {base}/data/uploads {base}/run/web.pid {port} >/dev/null 2>&1 &
      probe: http://127.0.0.1:{port}/
    relationships:
      - {{type: cloudify.relationships.connected_to, target: uploads}}
      - {{type: cloudify.relationships.connected_to, target: postgresql}}
      - {{type: cloudify.relationships.connected_to, target: redis}}
"""
REDIS = """\
port 0
unixsocket {base}/run/redis.sock
dir {base}/data/redis
pidfile {base}/run/redis.pid
daemonize yes
save ""
appendonly yes
appendfsync always
"""


def missing() -> str:
    """Return what this machine lacks for the drill; empty when it lacks nothing."""
    if os.geteuid() != 0:
        return "root"
    wanted = ["pgbench", "psql", "redis-server", "redis-cli", "setpriv"]
    lacking = [name for name in wanted if shutil.which(name) is None]
    if not postgresql_programs():
        lacking.insert(0, "postgresql")
    return ", ".join(lacking)


def postgresql_programs() -> Path | None:
    """Return where Debian keeps the newest server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@dataclass(frozen=True, kw_only=True)
class Application:
    """The running application, all of it below *base*."""

    base: Path
    port: int

    def begin(self) -> None:
        """Make all data, start everything, and return when it answers."""
        self._make_data()
        self._run_as_postgres(self.programs / "pg_ctl", "-w", "-D", self.pgdata, "-l", self.log, "start")
        run(["redis-server", self.base / "redis.conf"])
        command = [sys.executable, _WEB, self.base / "data/uploads", self.base / "run/web.pid", self.port]
        run(["/bin/sh", "-c", 'setsid "$@" >/dev/null 2>&1 &', "sh", *command])
        self.wait_until_it_answers()
        self.query("CREATE TABLE ledger (n bigint PRIMARY KEY)")
        run(["pgbench", "-qi", "-s", "1", *self.connection])

    @property
    def pgdata(self) -> Path:
        """The server's directory."""
        return self.base / "data/pgdata"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.base / "run/postgresql.log"

    @property
    def connection(self) -> list[str]:
        """How PostgreSQL's clients find the server."""
        return ["-h", str(self.base / "run"), "-U", "postgres", "postgres"]

    def blueprint(self) -> str:
        """Return what quiesce is told."""
        return BLUEPRINT.format(
            base=self.base,
            port=self.port,
            python=sys.executable,
            program=_WEB,
            bin=self.programs,
            as_postgres=" ".join(_AS_POSTGRES),
        )

    def query(self, sql: str) -> str:
        """Return what PostgreSQL answers."""
        return run(["psql", "-qXAt", *self.connection, "-c", sql]).strip()

    def redis(self, *words: str) -> str:
        """Return what Redis answers."""
        return run(["redis-cli", "-s", self.base / "run/redis.sock", *words]).strip()

    def why_not(self) -> str:
        """Return why it does not answer; empty when all of it does."""
        try:
            if self.query("SELECT 1") != "1" or self.redis("PING") != "PONG":
                return "a wrong answer"
            web = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            web.request("GET", "/")
            status = web.getresponse().status
            web.close()
        except (OSError, subprocess.SubprocessError, http.client.HTTPException) as error:
            return str(getattr(error, "stderr", "") or error)
        return "" if status == 200 else f"the web answers {status}"

    def wait_until_it_answers(self, patience_s: float = PATIENCE_S) -> float:
        """Return after how many seconds all of it has answered."""
        began = time.monotonic()
        while reason := self.why_not():
            waited = time.monotonic() - began
            if waited > patience_s:
                raise AssertionError(f"the application does not answer after {waited:.1f} s: {reason}")
            time.sleep(0.1)
        return time.monotonic() - began

    def end(self) -> None:
        """Stop everything, whatever state it is in."""
        for pid_file in (self.pgdata / "postmaster.pid", *(self.base / "run").glob("*.pid")):
            try:
                pid = int(pid_file.read_text().split()[0])
                if str(self.base) in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, signal.SIGQUIT if "postmaster" in pid_file.name else signal.SIGTERM)
            except (OSError, ValueError, IndexError):
                continue

    @property
    def programs(self) -> Path:
        """Where PostgreSQL's programs are."""
        found = postgresql_programs()
        assert found is not None
        return found

    def _make_data(self) -> None:
        for name in ("data", "data/redis", "data/uploads", "run"):
            (self.base / name).mkdir()
        self.base.chmod(0o755)
        (self.base / "run").chmod(0o777)
        self.pgdata.mkdir(mode=0o700)
        shutil.chown(self.pgdata, "postgres", "postgres")
        (self.base / "redis.conf").write_text(REDIS.format(base=self.base))
        self._run_as_postgres(self.programs / "initdb", "-D", self.pgdata, "-A", "trust")
        settings = {
            "unix_socket_directories": self.base / "run",
            "listen_addresses": "",
            "max_wal_size": "64MB",
            "shared_buffers": "16MB",
        }
        with (self.pgdata / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _run_as_postgres(self, *command: object) -> None:
        run([*_AS_POSTGRES, *command])


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def run(command: Sequence[object]) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        check=True,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if command[0] == "redis-server" else subprocess.PIPE,
        cwd="/",
        timeout=PATIENCE_S * 2,
    )
    return done.stdout


_WEB = Path(__file__).with_name("web_process.py")
_AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--")
