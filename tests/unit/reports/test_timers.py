"""What root's timer runs is what was installed, whatever paths are called."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from quiesce.errors import UsageError
from quiesce.reports.timers import cron_file, systemd_service

PROGRAM = '/opt/my "tools"/100%/quiesce'


@pytest.mark.parametrize("home", ["/srv/a\nExecStart=/bin/sh", "/srv/\x1b[2J", "/srv/\u202ea"])
def test_a_path_that_would_be_a_line_of_its_own_is_refused(home: str) -> None:
    for write in (
        lambda: systemd_service("/usr/bin/quiesce", {"QUIESCE_HOME": home}),
        lambda: cron_file("/usr/bin/quiesce", 5, {"QUIESCE_HOME": home}),
        lambda: cron_file(home, 5, {}),
    ):
        with pytest.raises(UsageError):
            write()


def test_a_path_stays_one_word() -> None:
    unit = systemd_service(PROGRAM, {"QUIESCE_HOME": '/srv/a" "B=c'})
    assert 'Environment="QUIESCE_HOME=/srv/a\\" \\"B=c"\n' in unit
    assert 'ExecStart="/opt/my \\"tools\\"/100%%/quiesce" run-due' in unit
    assert "root '/opt/my \"tools\"/100\\%/quiesce' run-due" in cron_file(PROGRAM, 5, {})


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_reads_it_as_it_was_meant(tmp_path: Path) -> None:
    program = tmp_path / "my tools" / "quiesce"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "quiesce-run-due.service"
    unit.write_text(systemd_service(str(program), {"QUIESCE_HOME": '/srv/a b"c'}))
    told = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )
    assert "quiesce-run-due" not in told.stderr, told.stderr
