"""The examples for databases without a node type: planned, and run with stand-ins for their clients."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

HOOKS = Path(__file__).parents[2] / "examples/hooks"
SECRETS = {
    "QUIESCE_SECRET_MONGODB_URI": "mongodb://quiesce:hidden@localhost",
    "QUIESCE_SECRET_ELASTICSEARCH_LOGIN": "quiesce:hidden",
    "QUIESCE_SECRET_SQLSERVER_PASSWORD": "hidden",
}
#: a server that counts locks, in a file
MONGOSH = """\
locks=$(cat "$WORLD/locks" 2>/dev/null || echo 0)
case "$*" in
  *fsyncLock\\(\\).ok*) [ "$locks" -gt 0 ] || locks=1 ;;
  *fsyncUnlock*) locks=0 ;;
esac
echo "$locks" >"$WORLD/locks"
"""
#: a server whose suspension lasts as long as the session that has asked for it
SQLCMD = """\
case "$*" in
  *IsDatabaseSuspended*) [ -e "$WORLD/suspended" ] && echo 1 || echo 0; exit ;;
  *-Q*) exit ;;
esac
while read -r line; do case "$line" in *SUSPEND*ON) touch "$WORLD/suspended" ;; esac; done
rm -f "$WORLD/suspended"
"""
#: a server that keeps snapshots as files, named by the last word of their address
CURL = """\
read -r login
case "$login" in *hidden*) ;; *) exit 22 ;; esac
method=GET
for word; do
  case "$word" in
    --request) next=method ;;
    http*) url=$word ;;
    *) [ "${next:-}" != method ] || method=$word; next= ;;
  esac
done
name=${url%%\\?*}; name=${name%/_restore}; name=$WORLD/${name##*/}
case "$method" in
  PUT) echo '{"snapshot": {"state": "SUCCESS"}}' | tee "$name" ;;
  DELETE) rm "$name" ;;
  POST) case "$url" in *_close) ;; *) cat "$name" >/dev/null && echo '{"shards": {"failed": 0}}' ;; esac ;;
  GET) cat "$name" ;;
esac
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Stand-ins for the clients, and a place for what they know."""
    for name, text in (("mongosh", MONGOSH), ("sqlcmd", SQLCMD), ("curl", CURL)):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n" + text)
        program.chmod(0o755)
    return tmp_path


def run(world: Path, hook: str, operation: str, **more: str) -> str:
    """Run an example's script as quiesce does."""
    script = (HOOKS / hook / f"{hook}.sh").read_text().replace("/run/quiesce", f"{world}/quiesce")
    told: Mapping[str, str] = {
        "PATH": f"{world}/bin:{os.environ['PATH']}",
        "WORLD": str(world),
        "QUIESCE_OPERATION": operation,
        "QUIESCE_WORKFLOW": "backup",
        "QUIESCE_POINT": "Monday",
        "MONGODB_URI": SECRETS["QUIESCE_SECRET_MONGODB_URI"],
        "ELASTICSEARCH_URL": "http://here",
        "ELASTICSEARCH_LOGIN": SECRETS["QUIESCE_SECRET_ELASTICSEARCH_LOGIN"],
        "ELASTICSEARCH_REPOSITORY": "quiesce",
        "ELASTICSEARCH_INDICES": "shop-*",
        "DATABASE": "shop",
        **more,
    }
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh"], env=told, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("hook", sorted(path.parent.name for path in HOOKS.glob("*/shop.yaml")))
def test_each_is_planned(hook: str, tmp_path: Path) -> None:
    def quiesce(*words: object) -> str:
        return subprocess.run(
            [sys.executable, "-m", "quiesce.cli.main", *map(str, words)],
            env={**os.environ, **SECRETS, "QUIESCE_HOME": str(tmp_path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    quiesce("init", HOOKS / hook / "shop.yaml", "-b", "shop")
    told = quiesce("plan", "backup", "shop", "-p", "snapshot_incremental=false")
    assert "hidden" not in told
    reached = "crash" if hook == "elasticsearch" else "application"
    assert f"consistency that can be reached: {reached}: " in told


def test_mongodb_is_locked_once_and_unlocked_altogether(world: Path) -> None:
    for _ in range(2):
        run(world, "mongodb", "freeze")
        assert (world / "locks").read_text() == "1\n"
    for _ in range(2):
        run(world, "mongodb", "thaw")
        assert (world / "locks").read_text() == "0\n"
    run(world, "mongodb", "freeze", QUIESCE_WORKFLOW="restore")
    assert (world / "locks").read_text() == "0\n"


def test_sql_server_is_suspended_until_its_session_ends(world: Path) -> None:
    for _ in range(2):
        run(world, "sqlserver", "freeze")
        assert (world / "suspended").exists()
    for _ in range(2):
        run(world, "sqlserver", "thaw")
        assert not (world / "suspended").exists()
    run(world, "sqlserver", "freeze")
    session = int((world / "quiesce-sqlserver/session").read_text())
    os.kill(session, 15)
    ends = time.monotonic() + 20
    while (world / "suspended").exists():
        assert time.monotonic() < ends
        time.sleep(0.05)
    run(world, "sqlserver", "thaw")


def test_elasticsearch_saves_restores_and_removes_its_own(world: Path) -> None:
    for _ in range(2):
        run(world, "elasticsearch", "snapshot")
    assert (world / "monday").exists()
    run(world, "elasticsearch", "verify")
    run(world, "elasticsearch", "apply")
    for _ in range(2):
        run(world, "elasticsearch", "delete")
    assert not (world / "monday").exists()
