"""The database by scripts of docs/providers/script.md, as it stands there, on a real server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/providers/script.md"
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
AS_POSTGRES = ("setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be postgres"),
    pytest.mark.skipif(not PROGRAMS, reason="PostgreSQL is missing: apt-get install postgresql"),
]


class Shop:
    """What the page describes, below a directory of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("pgdata", "run"):
            (root / name).mkdir(mode=0o700)
            shutil.chown(root / name, "postgres")
        for name, text in self._files().items():
            (root / name).write_text(text)
        self._as_postgres("initdb", "-D", root / "pgdata", "-A", "trust")

    def start(self) -> None:
        options = f"-k {self.root}/run -h ''"
        self._as_postgres(
            "pg_ctl", "-D", self.root / "pgdata", "-o", options, "-l", self.root / "run/log", "-w", "start"
        )

    def stop(self) -> None:
        self._as_postgres("pg_ctl", "-D", self.root / "pgdata", "-m", "immediate", "stop", check=False)

    def query(self, sql: str) -> str:
        command = [
            "psql",
            "-qXAt",
            "-h",
            str(self.root / "run"),
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-c",
            sql,
        ]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def quiesce(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "quiesce.cli.main", *words],
            env={**os.environ, "QUIESCE_HOME": str(self.root.parent / "home")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _files(self) -> dict[str, str]:
        section = PAGE.read_text().split("## A database by scripts")[1].split("\n## ")[0]
        blocks = re.findall(r"^```\w+\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
        names = [re.search(r"^# (\S+)$", block, re.MULTILINE) for block in blocks]
        assert all(names), "a file of the example says no name"
        return {
            name[1]: block.replace("/srv/shop", str(self.root))
            for name, block in zip(names, blocks, strict=True)
            if name is not None
        }

    def _as_postgres(self, program: str, *words: object, check: bool = True) -> None:
        command = [*AS_POSTGRES, str(PROGRAMS[-1] / program), *map(str, words)]
        subprocess.run(command, check=check, stdout=subprocess.DEVNULL, cwd="/")


@pytest.fixture
def shop() -> Iterator[Shop]:
    # not below pytest's own directory, which others may not enter
    with tempfile.TemporaryDirectory(prefix="quiesce-test-") as directory:
        base = Path(directory)
        base.chmod(0o755)
        root = base / "shop"
        root.mkdir()
        made = Shop(root)
        # scripts are believed only where nobody else can change them
        (base / "blueprint").mkdir()
        for name in ("shop.yaml", "postgresql.sh"):
            (root / name).rename(base / "blueprint" / name)
        made.start()
        yield made
        made.stop()


def test_the_example_saves_a_running_server_and_brings_it_back(shop: Shop) -> None:
    shop.query("CREATE TABLE orders AS SELECT 1 AS n")
    shop.quiesce("init", str(shop.root.parent / "blueprint/shop.yaml"), "-b", "shop")
    shop.quiesce("backup", "shop", "-p", "snapshot_name=one")
    shop.query("INSERT INTO orders VALUES (2)")
    shop.quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert shop.query("SELECT n FROM orders") == "1"


def test_the_example_brings_back_a_server_that_is_down(shop: Shop) -> None:
    shop.query("CREATE TABLE orders AS SELECT 1 AS n")
    shop.quiesce("init", str(shop.root.parent / "blueprint/shop.yaml"), "-b", "shop")
    shop.quiesce("backup", "shop", "-p", "snapshot_name=one")
    shop.stop()
    shutil.rmtree(shop.root / "pgdata/base")
    shop.quiesce("restore", "shop", "-p", "snapshot_name=one")
    assert shop.query("SELECT n FROM orders") == "1"
