"""Where root stands when it starts quiesce says nothing about which code runs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import quiesce
from quiesce.isolation.modules import own_command

PLANTED = 'import pathlib\npathlib.Path(__file__).with_name("ran").touch()\n'


def test_the_console_runs_no_code_of_the_working_directory(tmp_path: Path) -> None:
    """Another user could have put it into /tmp, where root began to serve."""
    for name in ("quiesce", "yaml", "click", "json", "sqlite3", "sqlalchemy"):
        (tmp_path / f"{name}.py").write_text(PLANTED)
    environment = {**os.environ, "QUIESCE_HOME": str(tmp_path / "home")}
    environment.pop("PYTHONSAFEPATH", None)
    command = own_command("quiesce.cli.main", "deployments", "list")
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=120)
    assert not (tmp_path / "ran").exists()


def test_nothing_runs_a_module_in_another_way() -> None:
    sources = Path(quiesce.__file__).parent
    way = re.compile(r'executable[^\]]*"-m"')
    assert [path.name for path in sources.rglob("*.py") if way.search(path.read_text())] == ["modules.py"]
